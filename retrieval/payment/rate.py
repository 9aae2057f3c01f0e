"""What the bytes of one deal cost."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.units import GIB, ceil_div


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The two prices of a deal, in the token's smallest unit."""

    price_per_gib: int
    flat_fee: int = 0

    def owed(self, n_bytes: int) -> int:
        """What ``n_bytes`` of one deal cost in all.

        Rounded up once, on the running total: rounding each 256 KiB chunk up would overcharge 14 % at a cent per GB. The flat fee
        falls due with the first verified byte.
        """
        if n_bytes == 0:
            return 0
        return self.flat_fee + ceil_div(n_bytes * self.price_per_gib, GIB)

    @property
    def is_free(self) -> bool:
        return self.price_per_gib == 0 and self.flat_fee == 0
