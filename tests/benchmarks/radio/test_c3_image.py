"""What ROM would refuse is refused, bit by bit."""

from __future__ import annotations

import hashlib
import struct
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.radio.c3_image import CODE_START, DATA_START, ROM_OWN, BadImage, parse


def image_of(segments: list[tuple[int, bytes]], *, entry: int = CODE_START, chip: int = 5, has_hash: bool = True) -> bytes:
    image = struct.pack("<BBBBI4xH9xB", 0xE9, len(segments), 2, 0x20, entry, chip, has_hash)
    for address, content in segments:
        image += struct.pack("<II", address, len(content)) + content
    image += bytes(15 - len(image) % 16) + bytes((reduce(xor, b"".join(content for _, content in segments), 0xEF),))
    return image + hashlib.sha256(image).digest() if has_hash else image


CODE = (CODE_START, b"\x13\0\0\0" * 5)
DATA = (DATA_START + 0x10000, b"data")


@given(st.binary(min_size=4, max_size=64), st.binary(max_size=64))
def test_a_sound_image_gives_its_segments(code: bytes, data: bytes) -> None:
    image = parse(image_of([(CODE_START, code), (DATA_START + 0x10000, data)]))
    assert image.entry == CODE_START
    assert [segment.content for segment in image.segments] == [code, data]


@given(st.data())
def test_any_bit_that_flips_is_noticed(data: st.DataObject) -> None:
    image = bytearray(image_of([CODE, DATA]))
    image[data.draw(st.integers(0, len(image) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadImage):
        parse(bytes(image))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "shorter than its header"),
        (image_of([CODE], chip=9), "chip 9"),
        (image_of([]), "0 segments"),
        (image_of([CODE], has_hash=False), "SHA-256 is missing"),
        (image_of([CODE, (0x3C000000, b"mapped")]), "not RAM"),
        (image_of([CODE, (DATA_START + ROM_OWN - 2, b"rom!")]), "not RAM"),
        (image_of([CODE], entry=CODE_START + 20), "no code was loaded"),
        (image_of([DATA], entry=DATA[0]), "no code was loaded"),
        (image_of([CODE])[:40], "is cut off"),
    ],
)
def test_what_rom_would_not_start_is_refused(image: bytes, words: str) -> None:
    with pytest.raises(BadImage, match=words):
        parse(image)


@given(st.binary(max_size=120))
def test_no_bytes_break_the_reader(garbage: bytes) -> None:
    for image in (garbage, b"\xe9\x01\x02\x20" + garbage):
        with pytest.raises(BadImage):
            parse(image)
