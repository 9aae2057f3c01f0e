"""A board on a pty: set, talked to, gone in the middle of a frame, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from pty_board import PtyBoard

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.radio.airtime import Modulation
from retrieval.radio.kiss import Command, encode_kiss
from retrieval.radio.modem import FrameHeard, ModemSettings, Online
from retrieval.radio.packet import RadioId
from retrieval.transport.serial import SerialRadio, open_serial

SETTINGS = ModemSettings(frequency_hz=869_525_000, power_dbm=14, modulation=Modulation(), station=RadioId(b"station!"))
DUE_S = 20.0


async def heard(radio: SerialRadio) -> list[bytes]:
    """The next frame that comes in, alone."""
    while True:
        event = await radio.events.receive()
        if isinstance(event, FrameHeard):
            return [event.frame]


def test_frames_cross_a_pty(tmp_path: Path) -> None:
    async def main() -> None:
        board = PtyBoard(tmp_path / "port")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.run)
            async with open_serial(str(board.link), SETTINGS, trio.current_time) as radio:
                assert isinstance(await radio.events.receive(), Online)
                radio.send(b"\xc0\xdbframe")
                while not radio.has_room:
                    await radio.moved()
                board.say(encode_kiss(Command.DATA, bytes(range(255))))
                assert await heard(radio) == [bytes(range(255))]
            assert board.sent == [b"\xc0\xdbframe"]
            nursery.cancel_scope.cancel()

    trio.run(_bounded, main)


def test_a_board_that_goes_in_the_middle_of_a_frame_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        board = PtyBoard(tmp_path / "port")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.run)
            async with open_serial(str(board.link), SETTINGS, trio.current_time) as radio:
                await radio.events.receive()
                board.say(encode_kiss(Command.DATA, b"half of a frame")[:7])
                board.pull_out()
                while radio.is_online:
                    await radio.moved()
                board.plug_in()
                nursery.start_soon(board.run)
                assert isinstance(await radio.events.receive(), Online)
                board.say(encode_kiss(Command.DATA, b"whole"))
                assert await heard(radio) == [b"whole"]
            nursery.cancel_scope.cancel()

    trio.run(_bounded, main)


@pytest.mark.parametrize("what", ["missing", "file"])
def test_what_is_no_port_is_named_at_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / "port"
    if what == "file":
        path.write_text("")

    async def main() -> None:
        async with open_serial(str(path), SETTINGS, trio.current_time):
            pass

    with pytest.raises(LocalProtocolError) as refused:
        trio.run(main)
    assert refused.value.code is ErrorCode.RADIO_UNAVAILABLE
    assert str(path) in refused.value.detail


async def _bounded(main) -> None:
    with trio.fail_after(DUE_S):
        await main()
