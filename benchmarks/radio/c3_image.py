"""An ESP32-C3 firmware image, read as its ROM reads it from flash: checked first, then copied into RAM segment by segment.

The rule: what ROM would refuse is refused (``BadImage``); the layout is that of Espressif's "Firmware Image Format".
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

HEADER: Final = struct.Struct("<BBBBI4xH9xB")  # magic, segments, flash mode, flash size, entry, -, chip, -, hash appended
HEADER_SIZE: Final = 24
MAGIC: Final = 0xE9
CHIP_ESP32_C3: Final = 5
ELF_SECTIONS: Final = struct.Struct("<32xI10xHHH")  # of an ELF32 header: where the section headers are, their size, how many
ELF_SECTION: Final = struct.Struct("<4xI8xIII12x")  # type, offset, size, linked section
ELF_SYMBOL: Final = struct.Struct("<II8x")  # name, value
ELF_SYMBOL_TABLE: Final = 2
SEGMENTS_MAX: Final = 16
CHECKSUM_SEED: Final = 0xEF
LINE: Final = 16  # the checksum is the last byte of one
HASH_SIZE: Final = 32

DATA_START: Final = 0x3FC80000
CODE_START: Final = 0x40380000
"""Two views of one SRAM: what is written at one can be run at the other."""
RAM_SIZE: Final = 0x60000
ROM_OWN: Final = 0x50000
"""From this offset on RAM is ROM's own while it loads."""


class BadImage(Exception):
    """ROM would not start this image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of RAM as it is before the first instruction."""

    address: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What ROM would start."""

    entry: int
    segments: tuple[Segment, ...]


def parse(image: bytes) -> Image:
    """Read an image as it lies at flash offset 0. Raises ``BadImage``."""
    if len(image) < HEADER_SIZE:
        raise BadImage("it is shorter than its header")
    magic, n_segments, _, _, entry, chip, has_hash = HEADER.unpack_from(image)
    if magic != MAGIC or chip != CHIP_ESP32_C3 or not 1 <= n_segments <= SEGMENTS_MAX:
        raise BadImage(f"magic {magic:02x}, chip {chip}, {n_segments} segments")
    at, segments = HEADER_SIZE, []
    for _ in range(n_segments):
        if at + 8 > len(image):
            raise BadImage("a segment's header is cut off")
        address, size = struct.unpack_from("<II", image, at)
        content = image[at + 8 : at + 8 + size]
        if len(content) != size:
            raise BadImage(f"the segment for {address:#x} is cut off")
        if offset_in_ram(address, size) is None:
            raise BadImage(f"a segment of {size} bytes for {address:#x}, which is not RAM that ROM leaves free")
        segments.append(Segment(address=address, content=content))
        at += 8 + size
    end = at + LINE - at % LINE
    checksum = reduce(xor, b"".join(segment.content for segment in segments), CHECKSUM_SEED)
    if len(image) < end or image[end - 1] != checksum:
        raise BadImage("its checksum is wrong")
    if not has_hash or image[end : end + HASH_SIZE] != hashlib.sha256(image[:end]).digest():
        raise BadImage("its SHA-256 is missing or wrong")
    if not any(segment.address <= entry < segment.address + len(segment.content) for segment in segments) or entry < CODE_START:
        raise BadImage(f"it begins at {entry:#x}, where no code was loaded")
    return Image(entry=entry, segments=tuple(segments))


def offset_in_ram(address: int, size: int) -> int | None:
    """Where in SRAM that lies, seen from either side; None where ROM could not put it."""
    for start in (DATA_START, CODE_START):
        if start <= address and address + size <= start + ROM_OWN:
            return address - start
    return None


def symbols(elf: bytes) -> dict[str, int]:
    """Name to address, of everything in the symbol table of a 32-bit little-endian ELF file of our own making."""
    sections_at, section_size, n_sections, _ = ELF_SECTIONS.unpack_from(elf)
    sections = [ELF_SECTION.unpack_from(elf, sections_at + number * section_size) for number in range(n_sections)]
    found = {}
    for kind, at, size, names in sections:
        if kind == ELF_SYMBOL_TABLE:
            names_at = sections[names][1]
            for place in range(at, at + size, ELF_SYMBOL.size):
                name, value = ELF_SYMBOL.unpack_from(elf, place)
                found[elf[names_at + name : elf.index(b"\0", names_at + name)].decode()] = value
    return found
