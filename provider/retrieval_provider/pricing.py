"""Prices: what content costs, from the journal's price records over the configured default."""

from __future__ import annotations

from dataclasses import replace

from retrieval.cid import Cid
from retrieval.deal import fold
from retrieval.deal.records import DEFAULT_PRICE, PriceRecord
from retrieval.ledger.state import StateView
from retrieval.units import USD_DECIMALS, parse_amount, parse_price

from .config import Pricing


class PriceList:
    """Reads the newest price of a root each time, so that a change counts from the next quote on. Agreed deals keep theirs."""

    def __init__(self, state: StateView, configured: Pricing) -> None:
        self._state = state
        self._configured = PriceRecord(price_per_gib=configured.default, flat_fee=configured.flat_fee)

    def of(self, root: Cid) -> PriceRecord:
        """The price of a root: its own, else the default."""
        return fold.get(self._state, PriceRecord, root) or self.default

    @property
    def default(self) -> PriceRecord:
        """What content without a price of its own costs: as it was last set, else as it is configured."""
        return fold.get(self._state, PriceRecord, DEFAULT_PRICE) or self._configured

    def own(self) -> dict[Cid, PriceRecord]:
        """The roots that have a price of their own."""
        return {Cid(subject): price for subject, price in fold.scan(self._state, PriceRecord) if subject != DEFAULT_PRICE}

    @property
    def is_all_free(self) -> bool:
        """Whether nothing here can cost anything, so that no chain is needed."""
        return is_free(self.default) and all(map(is_free, self.own().values()))


def is_free(price: PriceRecord) -> bool:
    return price.price_per_gib == 0 and price.flat_fee == 0


def repriced(before: PriceRecord, price: str, flat_fee: str | None) -> PriceRecord:
    """A price with what a person changed in it, as they wrote it: "0.02 USD/GiB", or "" to leave it; a fee, or None.

    Raises ``LocalProtocolError(invalid_amount)``.
    """
    after = before
    if price:
        after = replace(after, price_per_gib=parse_price(price, decimals=USD_DECIMALS))
    if flat_fee is not None:
        after = replace(after, flat_fee=parse_amount(flat_fee, decimals=USD_DECIMALS))
    return after
