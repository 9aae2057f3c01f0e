"""Hold a board against its budget: ``budget.py BOARD.elf OBJECTS REPORT``.

Flash is what the image holds, RAM is what changes plus the deepest stack, and the stack is the longest way through the call graph that GCC
wrote beside every object. Functions of libgcc have no entry there and count as ``LIBGCC_FRAME`` each. Ends with an error when a budget is
exceeded, when a function calls itself, or when something is called that nobody knows.
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

FLASH_MAX = 64 * 1024
RAM_MAX = 16 * 1024
LIBGCC_FRAME = 96  # bytes; 64-bit division, the deepest of it, has 48
ROOTS = ("board_run", "lockstep_run")
POINTED_TO = {"rmn_sha256_plain"}  # what is called through a pointer: the widths of SHA-256, of which firmware has one
KNOWN_WITHOUT_FRAME = re.compile(r"__(u?(div|mod|mul|ashl|ashr|lshr)\w*|aeabi_\w+)")
SECTIONS = struct.Struct("<32xI10xHHH")  # of an ELF32 header: where the section headers are, their size, how many, the one with names
SECTION = struct.Struct("<IIIIII16x")  # name, type, flags, address, offset, size
ALLOCATED = 2
NOBITS = 8
NODE = re.compile(r'node: \{ title: "([^"]+)" label: "([^"]*)"')
EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
FRAME = re.compile(r"(\d+) bytes \((static|dynamic|dynamic,bounded)\)")


def sizes(elf: bytes) -> tuple[int, int]:
    """Bytes in flash, and bytes in RAM without the stack."""
    sections_at, section_size, n_sections, names = SECTIONS.unpack_from(elf)
    rows = [SECTION.unpack_from(elf, sections_at + number * section_size) for number in range(n_sections)]
    names_at = rows[names][4]
    flash = ram = 0
    for name, kind, flags, _, _, size in rows:
        if flags & ALLOCATED:
            title = elf[names_at + name : elf.index(b"\0", names_at + name)].decode()
            flash += 0 if kind == NOBITS else size
            ram += size if title in (".data", ".bss") else 0
    return flash, ram


class CallGraph:
    """Who calls whom, and how large each frame is."""

    def __init__(self, folder: Path) -> None:
        self.frames: dict[str, int] = {}
        self.calls: dict[str, set[str]] = {}
        self._known: dict[str, tuple[int, tuple[str, ...]]] = {}
        for path in sorted(folder.rglob("*.ci")):
            text = path.read_text()
            for title, label in NODE.findall(text):
                frame = FRAME.search(label)
                if frame is not None:
                    if frame[2] == "dynamic":
                        sys.exit(f"[budget] {title} has a stack of no known size")
                    self.frames[title] = int(frame[1])
            for caller, callee in EDGE.findall(text):
                self.calls.setdefault(caller, set()).update(POINTED_TO if callee == "__indirect_call" else {callee})

    def deepest(self, function: str, above: tuple[str, ...] = ()) -> tuple[int, tuple[str, ...]]:
        """Bytes of stack below and with a function, and the way there."""
        if function in above:
            sys.exit(f"[budget] {' > '.join((*above, function))}: a call of itself")
        if function not in self.frames:
            if not KNOWN_WITHOUT_FRAME.fullmatch(function):
                sys.exit(f"[budget] {function}, which {above[-1]} calls, has no known frame")
            return LIBGCC_FRAME, (function,)
        known = self._known.get(function)
        if known is None:
            ways = [self.deepest(callee, (*above, function)) for callee in sorted(self.calls.get(function, ()))]
            depth, way = max(ways, default=(0, ()))
            known = self._known[function] = self.frames[function] + depth, (function, *way)
        return known


def main() -> None:
    elf, folder, report = map(Path, sys.argv[1:])
    flash, ram = sizes(elf.read_bytes())
    graph = CallGraph(folder)
    stack, way = max(graph.deepest(root) for root in ROOTS if root in graph.frames)
    lines = [
        f"{elf.stem}: flash {flash} of {FLASH_MAX} bytes, RAM {ram + stack} of {RAM_MAX} ({ram} and {stack} of stack)",
        "deepest: " + " > ".join(name.split(":")[-1] for name in way),
    ]
    report.write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"  budget   {lines[0]}\n")
    if flash > FLASH_MAX or ram + stack > RAM_MAX:
        sys.exit(f"[budget] {elf.stem} exceeds its budget")


if __name__ == "__main__":
    main()
