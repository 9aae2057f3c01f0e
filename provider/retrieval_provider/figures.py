"""What a provider's books come to, in a few sums: the same for a running node and for what its last run left on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from retrieval.deal.books import ProviderBooks
from retrieval.deal.line import unpaid_total
from retrieval.deal.sale import Sale

from .settlement import Account, claimable


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Amounts in the token's smallest unit."""

    earned: int
    """What the best vouchers of all channels promise."""
    claimed: int
    """What the chain has paid out of them."""
    unclaimed: int
    """What a claim would still take."""
    at_risk: int
    """The price of what was sent and is not paid yet: lost when nobody pays for it."""
    at_risk_bytes: int
    channels: int
    closing: int
    """Channels from which a withdrawal has begun."""
    deals_open: int

    def to_json(self) -> dict[str, object]:
        """Amounts as text: JSON readers round large numbers."""
        return asdict(self) | {name: str(getattr(self, name)) for name in ("earned", "claimed", "unclaimed", "at_risk")}


def figures_of(books: ProviderBooks) -> Figures:
    accounts: tuple[Account, ...] = (*books.lines.values(), *books.tabs.values())
    lines = [(line, line.channel) for line in accounts if line.channel is not None]
    transferred = sum(tab.charged for tab in books.tabs.values() if tab.channel is None)
    return Figures(
        earned=sum(line.best_amount for line, _ in lines) + transferred,
        claimed=sum(channel.total_claimed for _, channel in lines) + transferred,
        unclaimed=sum(claimable(line) for line, _ in lines),
        at_risk=sum(_unpaid_price(sale) for sale in books.sales.values()),
        at_risk_bytes=unpaid_total(books.lines.values()),
        channels=len(lines),
        closing=sum(channel.closing for _, channel in lines),
        deals_open=len(books.sales),
    )


def _unpaid_price(sale: Sale) -> int:
    return max(0, sale.rate.owed(sale.sent_bytes + sale.presumed_bytes) - sale.position.deal_amount)
