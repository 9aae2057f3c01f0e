"""Prices: what content costs, from the journal's price records over the configured default."""

from __future__ import annotations

from retrieval.cid import Cid
from retrieval.deal import fold
from retrieval.deal.records import DEFAULT_PRICE, PriceRecord
from retrieval.ledger.state import StateView
from retrieval.units import Amount

from .config import Pricing


class PriceList:
    """Reads the newest price of a root each time, so that a change counts from the next quote on. Agreed deals keep theirs."""

    def __init__(self, state: StateView, defaults: Pricing) -> None:
        self._state = state
        self._default = PriceRecord(price_per_gib=defaults.default, flat_fee=defaults.flat_fee)

    def of(self, root: Cid) -> PriceRecord:
        """The price of a root: its own, else the one set for all, else the configured one."""
        return fold.get(self._state, PriceRecord, root) or fold.get(self._state, PriceRecord, DEFAULT_PRICE) or self._default

    @property
    def is_all_free(self) -> bool:
        """Whether nothing here can cost anything, so that no chain is needed."""
        prices = [price for _, price in fold.scan(self._state, PriceRecord)]
        if not any(subject == DEFAULT_PRICE for subject, _ in fold.scan(self._state, PriceRecord)):
            prices.append(self._default)
        return all(price.price_per_gib == 0 and price.flat_fee == Amount(0) for price in prices)
