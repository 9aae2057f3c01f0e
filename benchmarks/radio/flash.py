"""NOR flash as a chip wears it: erasing sets bits by the sector, writing only clears them, and power may go in the middle of either.

The rule: what the real one would not do is refused here, and written down.
"""

from __future__ import annotations

from typing import Final

SECTOR_SIZE: Final = 4096
PAGE_SIZE: Final = 256
ERASED: Final = 0xFF


class Flash:
    """Some sectors. ``findings`` holds what a driver did that the real one punishes."""

    def __init__(self, size: int) -> None:
        assert size % SECTOR_SIZE == 0
        self.image: Final = bytearray([ERASED]) * size
        self.findings: Final[list[str]] = []
        self.n_erased = 0
        self._left: int | None = None

    def cut_after(self, n_writes: int) -> None:
        """Power goes after so many more bytes written or sectors erased; from then on nothing works."""
        self._left = n_writes

    def read(self, at: int, size: int) -> bytes | None:
        """None where there is no flash."""
        return bytes(self.image[at : at + size]) if self._holds(at, size) else None

    def erase(self, at: int) -> bool:
        """The sector that begins at ``at``."""
        if at % SECTOR_SIZE or not self._holds(at, SECTOR_SIZE):
            self.findings.append(f"erased at {at:#x}, where no sector begins")
            return False
        if not self._spend():
            return False
        self.image[at : at + SECTOR_SIZE] = bytes([ERASED]) * SECTOR_SIZE
        self.n_erased += 1
        return True

    def write(self, at: int, written: bytes) -> bool:
        """Within one page of 256 bytes; what a page cannot hold wraps to its beginning on a real chip, so it is refused here."""
        if not self._holds(at, len(written)) or at // PAGE_SIZE != (at + max(len(written), 1) - 1) // PAGE_SIZE:
            self.findings.append(f"wrote {len(written)} bytes at {at:#x}, past a page")
            return False
        for place, byte in enumerate(written, at):
            if not self._spend():
                return False
            if byte & ~self.image[place]:
                self.findings.append(f"wrote {byte:02x} over {self.image[place]:02x} at {place:#x}, which only an erasure can")
            self.image[place] &= byte
        return True

    def _holds(self, at: int, size: int) -> bool:
        return at >= 0 and size >= 0 and at + size <= len(self.image)

    def _spend(self) -> bool:
        if self._left is None:
            return True
        self._left -= self._left > 0
        return self._left > 0
