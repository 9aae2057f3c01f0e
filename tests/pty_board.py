"""A radio board on a pty: it answers what a host asks, and what it is given to send, others hear."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable
from pathlib import Path

import trio

from retrieval.radio.kiss import Command, KissDecoder, encode_kiss

ANSWERS = {Command.DETECT: b"\x46", 0xA0: b""}


class PtyBoard:
    """The other end of a pty, reached by a link that outlives it."""

    def __init__(self, link: Path, answers: dict[int, bytes] | None = None) -> None:
        self.link = link
        self.sent: list[bytes] = []
        self.asked: dict[int, bytes] = {}
        """The last data of each command but frames."""
        self.on_sent: Callable[[bytes], None] = lambda frame: None
        self._answers = {**ANSWERS, **(answers or {})}
        self.plug_in()

    def plug_in(self) -> None:
        self._board, ours = pty.openpty()
        self._ours = ours
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(ours))
        os.set_blocking(self._board, False)

    def pull_out(self) -> None:
        """As a board that is unplugged."""
        self.link.unlink()
        os.close(self._ours)
        trio.lowlevel.notify_closing(self._board)
        os.close(self._board)

    def say(self, line: bytes) -> None:
        os.write(self._board, line)

    def hear(self, frame: bytes) -> None:
        """A frame comes from the air."""
        signal = encode_kiss(Command.RSSI, bytes((157 - 80,))) + encode_kiss(Command.SNR, b"\x20")
        self.say(signal + encode_kiss(Command.DATA, frame))

    async def run(self) -> None:
        """Answer what is asked, until the board is pulled out."""
        decoder, board = KissDecoder(), self._board
        while True:
            try:
                await trio.lowlevel.wait_readable(board)
                data = os.read(board, 4096)
            except (OSError, trio.ClosedResourceError):
                return
            for frame in decoder.feed(data):
                if frame.command == Command.DATA:
                    self.sent.append(frame.data)
                    self.on_sent(frame.data)
                    self.say(encode_kiss(Command.READY, b"\x01"))
                else:
                    self.asked[frame.command] = frame.data
                    self.say(encode_kiss(frame.command, self._answers.get(frame.command, frame.data)))
