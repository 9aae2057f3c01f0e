"""The firmware compiled for this computer, many nodes in one process: the same portable sources, called through ``ctypes``.

The rule: the library holds no globals, so a node is a pointer, and everything else of the board is answered from here.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.processes import ROOT
from benchmarks.radio.chip import Sx1262

LIBRARY: Final = ROOT / "firmware" / "build" / "libhost.so"
FLASH_SIZE: Final = 8192
NEVER: Final = (1 << 64) - 1
OUTPUT_ROOM: Final = 4096
_BYTES: Final = ctypes.POINTER(ctypes.c_uint8)
_TRANSFER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_RESET: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def missing() -> str | None:
    """Why the library cannot be used here."""
    return None if LIBRARY.exists() else "firmware/build/libhost.so is not built (make -C firmware host)"


@cache
def load(path: Path = LIBRARY) -> ctypes.CDLL:
    """The library with its signatures. Raises ``OSError`` where it was not built."""
    library = ctypes.CDLL(str(path))
    for name, result, arguments in (
        ("host_new", ctypes.c_void_p, (ctypes.c_void_p, _TRANSFER, _RESET, ctypes.c_uint32)),
        ("host_free", None, (ctypes.c_void_p,)),
        ("host_step", ctypes.c_uint64, (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)),
        ("host_feed", None, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)),
        ("host_take", ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("host_flash", _BYTES, (ctypes.c_void_p,)),
        ("host_cut_flash", None, (ctypes.c_void_p, ctypes.c_uint32)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class HostMachine:
    """One board inside the library."""

    def __init__(self, chip: Sx1262, *, seed: int, library: ctypes.CDLL | None = None, busy: bool = False) -> None:
        """``busy`` holds BUSY high for ever, as a broken radio does. Raises ``OSError`` where the library was not built."""
        self._library: Final = library or load()
        self._chip: Final = chip
        self._pins: Final = 2 if busy else 0
        self._transfer: Final = _TRANSFER(self._on_transfer)  # kept: the library calls them until the board is freed
        self._reset: Final = _RESET(self._on_reset)
        self._failure: BaseException | None = None
        self._room: Final = ctypes.create_string_buffer(OUTPUT_ROOM)
        self._board: int | None = self._library.host_new(None, self._transfer, self._reset, seed)
        if self._board is None:
            raise MemoryError("no memory for a board")

    def step(self, now_us: int, *, dio1: bool) -> int | None:
        next_us: int = self._library.host_step(self._board, now_us, self._pins | dio1)
        self._check()
        return None if next_us == NEVER else next_us

    def feed(self, sent: bytes) -> None:
        self._library.host_feed(self._board, sent, len(sent))
        self._check()

    def take(self) -> bytes:
        taken = b""
        while n_bytes := self._library.host_take(self._board, self._room, OUTPUT_ROOM):
            taken += self._room.raw[:n_bytes]
        return taken

    def read_flash(self) -> bytes:
        return ctypes.string_at(self._library.host_flash(self._board), FLASH_SIZE)

    def write_flash(self, image: bytes) -> None:
        assert len(image) == FLASH_SIZE
        ctypes.memmove(self._library.host_flash(self._board), image, FLASH_SIZE)

    def cut_flash(self, after: int) -> None:
        """After so many more bytes written or sectors erased, the flash fails, as it does when power goes."""
        self._library.host_cut_flash(self._board, after)

    def close(self) -> None:
        if self._board is not None:
            self._library.host_free(self._board)
            self._board = None

    def _on_transfer(self, _: int, out: int, into: int, n_bytes: int) -> None:
        try:
            ctypes.memmove(into, self._chip.transfer(ctypes.string_at(out, n_bytes)), n_bytes)
        except BaseException as failure:  # noqa: BLE001 - it must not pass through C; `_check` raises it again
            self._failure = failure

    def _on_reset(self, _: int) -> None:
        self._chip.reset()

    def _check(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
