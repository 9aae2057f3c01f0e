"""What a 402 offers of one request: a channel first, since it settles for almost nothing, then a single transfer, for strangers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retrieval.deal.tab import Tab
from retrieval.errors import RetrievalError
from retrieval.payment.chain import Deployment
from retrieval.payment.channel import ChannelConfig, ChannelId, ChannelTerms
from retrieval.payment.x402.offer import ChannelSight, PaymentRequired, Requirements, Scheme
from retrieval.payment.x402.reasons import RESYNC, reason_of

TARGET_SHOWN_MAX: Final = 1_024
"""Characters of an address in a 402: the header must stay below the 8 KiB that clients read."""
TIMEOUT_S: Final = 300
"""How long what a client signs should stay valid: for us to have it mined, and no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """How this provider is paid over HTTP. Amounts in the token's smallest unit."""

    deployment: Deployment
    terms: ChannelTerms
    exact_min: int
    """The least that a single transfer moves, since each costs us gas; what the answer does not use is credit."""
    deposit_min: int
    """The least that a deposit moves, for the same reason."""

    def exact_amount(self, amount: int) -> int:
        return max(amount, self.exact_min)

    def accepts(self, amount: int, sight: ChannelSight | None = None) -> tuple[Requirements, ...]:
        """The ways to pay for an answer that costs at most ``amount``."""
        token = self.deployment
        batch = Requirements(
            scheme=Scheme.BATCH,
            chain_id=token.chain_id,
            token=token.token,
            token_name=token.token_name,
            token_version=token.token_version,
            amount=amount,
            pay_to=self.terms.receiver,
            timeout_s=TIMEOUT_S,
            receiver_authorizer=self.terms.receiver_authorizer,
            withdraw_delay_s=self.terms.withdraw_delay_min_s,
            deposit_min=max(amount, self.deposit_min),
            channel=sight,
        )
        exact = Requirements(
            scheme=Scheme.EXACT,
            chain_id=token.chain_id,
            token=token.token,
            token_name=token.token_name,
            token_version=token.token_version,
            amount=self.exact_amount(amount),
            pay_to=self.terms.receiver,
            timeout_s=TIMEOUT_S,
        )
        return batch, exact

    def required(
        self, target: str, amount: int, error: RetrievalError, *, scheme: Scheme | None, tab: Tab | None = None
    ) -> PaymentRequired:
        """The whole 402; a corrective one where the client counts otherwise than we do on a channel we know."""
        reason = reason_of(error.code, scheme)
        sight = sight_of(tab) if tab is not None and reason == RESYNC else None
        return PaymentRequired(
            url=target[:TARGET_SHOWN_MAX], description="content by its CID", accepts=self.accepts(amount, sight), error=reason
        )


def sight_of(tab: Tab, *, charged: int | None = None) -> ChannelSight:
    """A channel as we see it; ``charged`` is what the client's next voucher counts on from, all that is due unless it is given."""
    channel = tab.channel
    assert channel is not None
    delay_s = ChannelConfig.from_bytes(channel.config).withdraw_delay_s
    assert tab.best is None or tab.best.amount >= tab.due, "each answer under way came with a voucher"
    return ChannelSight(
        channel_id=ChannelId(tab.key),
        balance=channel.balance,
        total_claimed=channel.total_claimed,
        withdraw_requested_at=channel.withdraw_at - delay_s if channel.closing else 0,
        refund_nonce=0,  # refunds are not offered over HTTP, and nothing else asks for it
        charged=tab.due if charged is None else charged,
        signed=tab.best.amount if tab.best else None,
        signature=tab.best.signature if tab.best else None,
    )
