"""A board is believed only when it echoes what it was given; one frame at a time; noise on the line is noise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.radio.airtime import Modulation
from retrieval.radio.kiss import Command, KissDecoder, encode_kiss
from retrieval.radio.modem import ANSWER_DUE_S, READY_DUE_S, DutyTold, FrameHeard, FrameRefused, Modem, ModemSettings, Online, ReceiptDue
from retrieval.radio.packet import RadioId

SETTINGS = ModemSettings(frequency_hz=869_525_000, power_dbm=14, modulation=Modulation(), station=RadioId(b"station!"), carries=True)
BOARD_KEY = bytes(range(32))


class Board:
    """Answers like a board: echoes, or what a test has it say instead."""

    def __init__(self, answers: dict[int, bytes] | None = None, *, is_ours: bool = True) -> None:
        self.answers = {Command.DETECT: b"\x46", Command.FIRMWARE_VERSION: b"\x01\x4a", **(answers or {})}
        if is_ours:
            self.answers[0xA0] = BOARD_KEY
        self.said: dict[int, bytes] = {}
        self.is_ours = is_ours
        self._decoder = KissDecoder()

    def answer(self, line: bytes) -> bytes:
        out = b""
        for frame in self._decoder.feed(line):
            self.said[frame.command] = frame.data
            if frame.command >= 0xA0 and not self.is_ours:
                continue
            out += encode_kiss(frame.command, self.answers.get(frame.command, frame.data))
        return out


def set_up(board: Board, now: float = 0.0) -> tuple[Modem, list]:
    modem, events = Modem(SETTINGS, now=now), []
    while line := modem.outgoing():
        events += modem.feed(board.answer(line), now)
    return modem, events


def test_a_board_that_echoes_everything_is_online():
    board = Board()
    modem, events = set_up(board)
    assert events == [Online(public_key=BOARD_KEY)]
    assert modem.has_room
    assert board.said[Command.FREQUENCY] == (869_525_000).to_bytes(4, "big")
    assert board.said[0xA1] == b"station!"
    assert board.said[0xA2][0] == 1


def test_a_modem_of_another_maker_is_online_without_our_commands():
    board = Board(is_ours=False)
    _, events = set_up(board)
    assert events == [Online(public_key=b"")]
    assert 0xA1 not in board.said


@pytest.mark.parametrize(
    ("command", "echo"),
    [
        (Command.FREQUENCY, (868_000_000).to_bytes(4, "big")),
        (Command.BANDWIDTH, (250_000).to_bytes(4, "big")),
        (Command.TX_POWER, b"\x16"),
        (Command.SPREADING_FACTOR, b"\x08"),
        (Command.CODING_RATE, b""),
        (Command.RADIO_STATE, b"\x00"),
    ],
)
def test_a_board_that_has_another_value_is_not_used(command, echo):
    with pytest.raises(LocalProtocolError) as refused:
        set_up(Board({command: echo}))
    assert refused.value.code is ErrorCode.RADIO_UNAVAILABLE


def test_a_frequency_may_be_off_by_the_step_of_a_synthesizer():
    assert set_up(Board({Command.FREQUENCY: (869_525_090).to_bytes(4, "big")}))[1]


def test_a_board_that_says_nothing_is_given_up():
    modem = Modem(SETTINGS, now=0.0)
    modem.tick(ANSWER_DUE_S - 0.1)
    with pytest.raises(LocalProtocolError, match="detect"):
        modem.tick(ANSWER_DUE_S)


def test_one_frame_is_on_its_way_until_there_is_room():
    modem, _ = set_up(Board())
    modem.send(b"frame", 1.0)
    assert KissDecoder().feed(modem.outgoing())[0].data == b"frame"
    assert not modem.has_room
    modem.feed(encode_kiss(Command.READY, b"\x01"), 1.5)
    assert modem.has_room
    modem.send(b"frame", 2.0)
    modem.tick(2.0 + READY_DUE_S)
    assert modem.has_room


def test_a_frame_comes_with_its_signal():
    modem, _ = set_up(Board())
    line = encode_kiss(Command.RSSI, bytes((157 - 90,))) + encode_kiss(Command.SNR, b"\xf8") + encode_kiss(Command.DATA, b"heard")
    heard = [FrameHeard(frame=b"heard", rssi_dbm=-90, snr_quarter_db=-8)]
    assert modem.feed(line, 1.0) == heard
    assert modem.feed(encode_kiss(Command.DATA, b"more"), 1.0) == [FrameHeard(frame=b"more", rssi_dbm=None, snr_quarter_db=None)]


def test_what_a_relay_of_ours_tells_is_told():
    modem, _ = set_up(Board())
    receipt = bytes(range(109))
    assert modem.feed(encode_kiss(0xA4, receipt), 1.0) == [ReceiptDue(signed=receipt)]
    assert modem.feed(encode_kiss(0xA6, bytes((0, 0, 0, 1, 0, 0, 0, 2))), 1.0) == [DutyTold(bands=((1, 2),))]
    assert modem.feed(encode_kiss(0xAF, b"\x00\x02"), 1.0) == [FrameRefused(reason=2)]
    modem.keep(receipt)
    assert KissDecoder().feed(modem.outgoing())[0].data == receipt[17:21]


def test_an_error_of_the_board_ends_it():
    modem, _ = set_up(Board())
    with pytest.raises(LocalProtocolError, match="error 01"):
        modem.feed(encode_kiss(Command.ERROR, b"\x01"), 1.0)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=20), st.binary(max_size=200))
def test_noise_on_the_line_raises_one_kind_of_error(frames, noise):
    modem, _ = set_up(Board())
    try:
        modem.feed(noise + b"".join(encode_kiss(command, data) for command, data in frames), 1.0)
    except LocalProtocolError as error:
        if error.code is not ErrorCode.RADIO_UNAVAILABLE:
            raise
