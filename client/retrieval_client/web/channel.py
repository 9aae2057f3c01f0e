"""Trio. A channel from which gateways are paid: what may be signed next, and what of it is on disk.

The rule: what a payment promises is committed before the payment leaves, and one payment is on its way at a time (``turn``), whoever it is
for. A channel belongs to a receiver, not to a URL: two gateways of one receiver are paid from one channel.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import trio

from retrieval.deal.outlay import Outlay
from retrieval.deal.records import HttpChannelRecord
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import ZERO_ADDRESS, EvmAddress
from retrieval.ledger.journal import Record
from retrieval.payment.chain import ChannelState, Deployment
from retrieval.payment.channel import WITHDRAW_DELAY_FLOOR_S, WITHDRAW_DELAY_MAX_S, ChannelConfig
from retrieval.payment.voucher import VoucherSigner
from retrieval.payment.x402.answer import Charged
from retrieval.payment.x402.offer import PaymentRequired, Requirements, Scheme
from retrieval.payment.x402.payment import Payment
from retrieval.payment.x402.purse import Count, Purse
from retrieval.wire.messages import DealId

BOUGHT_MAX: Final = 64
"""Purchases whose sums a correction may still lower: as many answers as can be under way on a channel, and a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a 402 that met a payment changes."""

    rise: int = 0
    """By how much the server's count is above ours."""
    is_proven: bool = False
    """Whether the count was shown with our own signature under it."""
    records: tuple[Record, ...] = ()


class WebChannel:
    """One of a wallet's. Its verbs give what is to be committed, and are called with ``turn`` held."""

    def __init__(self, outlay: Outlay, signer: VoucherSigner) -> None:
        self.outlay: Final = outlay
        self.config: Final = ChannelConfig.from_bytes(outlay.channel.config)
        self.turn: Final = trio.Lock()
        """Held from a payment's signature to the head of its answer."""
        self.bought: Final = deque[tuple[dict[DealId, int], DealId]](maxlen=BOUGHT_MAX)
        """What was last paid for from here, each in the sums of its fetch."""
        self._let_go = 0
        """What the server no longer counts, and sums that are out of reach still do: counted again, it is nothing new."""
        count = Count(charged=outlay.charged, signed=outlay.signed) if outlay.is_counted else None
        contract = EvmAddress(outlay.channel.contract)
        self._purse: Final = Purse(signer, self.config, chain_id=outlay.channel.chain_id, contract=contract, count=count)

    def fits(self, offer: Requirements) -> bool:
        """Whether this is a channel that an offer would take."""
        config, channel = self.config, self.outlay.channel
        return (
            not channel.closing
            and offer.chain_id == channel.chain_id
            and (offer.token, offer.pay_to, offer.receiver_authorizer) == (config.token, config.receiver, config.receiver_authorizer)
            and offer.withdraw_delay_s <= config.withdraw_delay_s
        )

    def covers(self, amount: int) -> bool:
        """Whether the deposit holds a payment of ``amount`` more."""
        return self.outlay.credit >= amount

    def pay(self, offer: Requirements, *, amount_max: int, now: float) -> tuple[Payment, list[Record]]:
        """Sign for a request. Raises as ``Purse.pay``, and ``RemoteProtocolError(voucher_over_deposit)``."""
        if not self.covers(offer.amount):
            raise RemoteProtocolError(ErrorCode.VOUCHER_OVER_DEPOSIT, f"{offer.amount} is asked, and {self.outlay.credit} is left")
        payment = self._purse.pay(offer, amount_max=amount_max)
        return payment, self.outlay.sign(self.outlay.charged + offer.amount, now)

    def answered(self, header: str, now: float) -> tuple[Charged, list[Record]]:
        """The head of the answer is here. Raises as ``Purse.answered``."""
        charged = self._purse.answered(header)
        return charged, self.outlay.charge(charged.charged, now)

    def unanswered(self) -> None:
        """No answer came, or one that says nothing of the payment."""
        self._purse.unanswered()

    def correct(self, required: PaymentRequired, now: float) -> Correction:
        """Adopt the server's count where it has shown it.

        Raises as ``Purse.correct`` and ``Outlay.correct``, with nothing adopted.
        """
        sight = self._purse.look(required)
        if sight is None:
            return Correction()
        is_proven = sight.signed is not None
        if sight.charged == self._purse.count.charged:
            return Correction(is_proven=is_proven)
        before = self.outlay.charged
        records = self.outlay.correct(sight.charged, max(self._purse.count.signed, sight.signed or 0), now)
        self._purse.adopt(sight)  # not before the books took it: a count that they refuse is none to remember
        return Correction(rise=sight.charged - before, is_proven=is_proven, records=tuple(records))

    def give_back(self, amount: int) -> None:
        """The server counts less than it said: take it off what was paid for last, which answers that were cut belong to."""
        for sums, purchase_id in reversed(self.bought):
            given_back = min(amount, sums[purchase_id])
            sums[purchase_id] -= given_back
            amount -= given_back
        self._let_go += amount

    def take_again(self, rise: int) -> int:
        """The server counts more than it said: how much of that was accounted for before."""
        again = min(rise, self._let_go)
        self._let_go -= again
        return again

    def seen(self, state: ChannelState, now: float) -> list[Record]:
        """Adopt what the chain says of it. A channel that we began to leave stays closed for us."""
        channel = self.outlay.channel
        seen = replace(
            channel,
            balance=state.balance,
            total_claimed=state.total_claimed,
            closing=channel.closing or state.withdraw_pending,
            withdraw_at=state.withdraw_finalizes_at(self.config) or 0,
        )
        return self.outlay.channel_seen(seen, now)


def check_offer(offer: Requirements, deployment: Deployment, ours: EvmAddress) -> None:
    """Judge the terms of a channel that a gateway asks for. Raises ``RemoteProtocolError``: ``wrong_chain``, ``channel_unacceptable``."""
    if (offer.chain_id, offer.token) != (deployment.chain_id, deployment.token):
        raise RemoteProtocolError(ErrorCode.WRONG_CHAIN, f"it is paid on chain {offer.chain_id} in a token that this wallet does not use")
    assert offer.scheme is Scheme.BATCH
    if offer.withdraw_delay_s > WITHDRAW_DELAY_MAX_S:
        raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, f"no channel can have a withdraw delay of {offer.withdraw_delay_s} s")
    if offer.pay_to in (ZERO_ADDRESS, ours):
        raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "it is paid to nobody, or to ourselves")


def new_config(offer: Requirements, payer: EvmAddress, withdraw_delay_s: int) -> ChannelConfig:
    """A channel that the offer's receiver takes; its delay is ours, or the one that is asked where that is longer."""
    assert offer.receiver_authorizer is not None
    return ChannelConfig(
        payer=payer,
        payer_authorizer=payer,
        receiver=offer.pay_to,
        receiver_authorizer=offer.receiver_authorizer,
        token=offer.token,
        withdraw_delay_s=min(max(withdraw_delay_s, offer.withdraw_delay_s, WITHDRAW_DELAY_FLOOR_S), WITHDRAW_DELAY_MAX_S),
        salt=secrets.token_bytes(32),
    )


def new_record(config: ChannelConfig, deployment: Deployment) -> HttpChannelRecord:
    """A channel before anything was deposited."""
    return HttpChannelRecord(
        config=config.to_bytes(),
        chain_id=deployment.chain_id,
        contract=deployment.contract,
        balance=0,
        total_claimed=0,
        closing=False,
        withdraw_at=0,
    )
