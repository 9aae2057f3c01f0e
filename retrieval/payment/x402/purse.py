"""A payer's side of one channel over HTTP: what to sign for the next request, and what to believe of a server's count.

Sans IO: it is given offers and answers, and gives payments; who keeps it on disk does so before a payment leaves. One payment is on its way
at a time, until the head of its answer is here: the head says what was charged, and the next request may leave while the body still comes.

The rule: a server can make us count at most what we have signed ourselves. Whatever it says beyond that is an error, never a bill.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import EvmAddress
from retrieval.payment.channel import ChannelConfig, ChannelId, channel_id, settlement_domain
from retrieval.payment.voucher import Voucher, VoucherSigner, verify_voucher

from .answer import Charged
from .batch import BatchPayment, Deposit
from .offer import ChannelSight, PaymentRequired, Requirements, Scheme
from .payment import Payment
from .reasons import RESYNC


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What is kept of a channel between runs. Amounts over its life."""

    charged: int = 0
    signed: int = 0
    """The largest amount that ever left here under our signature: what the server can take at most."""

    def __post_init__(self) -> None:
        assert 0 <= self.charged <= self.signed or self.signed == 0


class Purse:
    """One channel with one server."""

    def __init__(
        self, signer: VoucherSigner, config: ChannelConfig, *, chain_id: int, contract: EvmAddress, count: Count | None = None
    ) -> None:
        """``count`` is None for a channel that nothing is remembered of: then the server's word counts, under our own signature."""
        assert signer.address == config.payer_authorizer
        self.channel_id: ChannelId = channel_id(config, chain_id, contract)
        self.count = count or Count()
        self._is_remembered = count is not None
        """Whether we know ourselves what was signed at most."""
        self._signer = signer
        self._config = config
        self._chain_id = chain_id
        self._contract = contract
        self._offered: Requirements | None = None
        """Of the payment that is on its way."""

    def pay(self, offer: Requirements, *, amount_max: int, deposit: Deposit | None = None) -> Payment:
        """Sign for a request. ``self.count`` is to be on disk before the payment leaves.

        Raises ``LocalProtocolError(over_budget)`` above ``amount_max``, and ``RemoteProtocolError(channel_unacceptable)`` where the offer
        is not one that this channel can take.
        """
        assert self._offered is None, "the answer to the last payment is not here"
        config = self._config
        if offer.scheme is not Scheme.BATCH or offer.chain_id != self._chain_id:
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "the offer is of another scheme or chain")
        if (offer.token, offer.pay_to, offer.receiver_authorizer) != (config.token, config.receiver, config.receiver_authorizer):
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "the offer is for another token or receiver than the channel's")
        if offer.amount > amount_max:
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"{offer.amount} is asked, and {amount_max} is the most")
        amount = self.count.charged + offer.amount
        voucher = self._signer.sign(self.channel_id, amount)
        self.count = Count(charged=self.count.charged, signed=max(self.count.signed, amount))
        self._offered = offer
        return Payment(accepted=offer, payload=BatchPayment(config=config, voucher=voucher, deposit=deposit))

    def answered(self, header: str) -> Charged:
        """Take the ``PAYMENT-RESPONSE`` of an answer that came.

        Raises ``RemoteProtocolError``: ``malformed_payment``, ``payment_mismatch``.
        """
        assert self._offered is not None, "nothing was paid"
        offered, self._offered = self._offered, None
        charged = Charged.from_header(header)
        if charged.charged > offered.amount:
            raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, f"{charged.charged} was charged, and {offered.amount} was agreed")
        total = self.count.charged + charged.charged
        if charged.charged_total is not None and charged.charged_total != total:
            raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, f"{charged.charged_total} is charged in all, and it should be {total}")
        self.count, self._is_remembered = Count(charged=total, signed=self.count.signed), True
        return charged

    def unanswered(self) -> None:
        """No answer came, or one without a charge: the server may have counted this payment or not, and its next 402 says which."""
        self._offered = None

    def correct(self, required: PaymentRequired) -> bool:
        """Adopt the count of a corrective 402, where it is one; returns whether it is worth asking again.

        Raises ``RemoteProtocolError``: ``bad_voucher`` where the signature it shows is not ours, ``payment_mismatch`` where it counts more
        than we signed.
        """
        sight = self.look(required)
        if sight is None or sight.charged == self.count.charged:
            return False
        self.adopt(sight)
        return True

    def look(self, required: PaymentRequired) -> ChannelSight | None:
        """What a corrective 402 shows of this channel, checked, with nothing adopted; None where it is none. Raises as ``correct``."""
        self._offered = None
        sight = next((each.channel for each in required.accepts if each.channel is not None), None)
        if required.error != RESYNC or sight is None or sight.channel_id != self.channel_id:
            return None
        self._check(sight)
        return sight

    def adopt(self, sight: ChannelSight) -> None:
        """Go on from what ``look`` gave."""
        self.count, self._is_remembered = Count(charged=sight.charged, signed=max(self.count.signed, sight.signed or 0)), True

    def _check(self, sight: ChannelSight) -> None:
        if sight.signed is not None and sight.signature is not None:
            voucher = Voucher(channel_id=self.channel_id, amount=sight.signed, signature=sight.signature)
            verify_voucher(voucher, self._signer.address, settlement_domain(self._chain_id, self._contract))
        provable = sight.signed or 0
        signed_max = min(provable, self.count.signed) if self._is_remembered else provable
        if sight.charged > signed_max:
            raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, f"the server counts {sight.charged}, and {signed_max} was signed")
