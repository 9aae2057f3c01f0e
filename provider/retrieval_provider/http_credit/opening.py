"""The counter of a node, put together from what the node has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..config import ProviderSettings
from ..ledger import Ledger
from ..operator.metrics import VOUCHERS
from ..operator.tally import Tally
from ..serving import Service
from .ask import Ask
from .counter import Counter, Grant, Refusal
from .facilitator import ByUrl, Facilitator, OwnGas
from .tariff import Tariff
from .transfers import Transfers

if TYPE_CHECKING:
    from retrieval.payment.evm import EvmChain


def open_counter(chain: EvmChain, ledger: Ledger, service: Service, settings: ProviderSettings) -> Counter:
    """For a provider that is paid on ``chain``."""
    books, x402 = ledger.books, settings.x402
    assert books.channel_terms is not None
    assert ledger.receiver is not None
    assert service.lookout is not None
    facilitator: Facilitator = ByUrl(x402.facilitator) if x402.facilitator else OwnGas(chain, ledger.receiver)
    return _CountedCounter(
        service.tally,
        books=books,
        prices=service.prices,
        writer=service.writer,
        lookout=service.lookout,
        facilitator=facilitator,
        state=service.state,
        transfers=Transfers(books, service.state, service.writer, chain, facilitator),
        tariff=Tariff(deployment=chain.deployment, terms=books.channel_terms, exact_min=x402.transfer_min, deposit_min=x402.deposit_min),
        free_per_day=x402.free_per_day,
        clock=service.clock,
    )


class _CountedCounter(Counter):
    """Counts what becomes of payments."""

    def __init__(self, tally: Tally, **parts: Any) -> None:
        """``parts`` are the counter's."""
        super().__init__(**parts)
        self._tally: Final = tally

    async def open(self, ask: Ask) -> Grant:
        try:
            grant = await super().open(ask)
        except Refusal as refusal:
            if ask.payment is not None:
                self._tally.count(VOUCHERS, "http", refusal.error.code.label)
            raise
        if ask.payment is not None and grant.order_id is not None:
            self._tally.count(VOUCHERS, "http", "taken")
        return grant
