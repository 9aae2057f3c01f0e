"""What a 402 offers: the ways to pay for one request, and what was wrong with the payment that came with it.

A *corrective* 402 is one whose ``batch-settlement`` entry also says where the server sees the channel, and proves it with the client's
own signature: a client that lost count, or whose last answer was cut short, adopts that and pays on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from retrieval.identity import EVM_SIGNATURE_SIZE, EvmAddress, format_address
from retrieval.payment.channel import ChannelId
from retrieval.units import AMOUNT_MAX

from .fields import NAME_MAX, TEXT_MAX, Fields, Json, malformed, read_header, show_hex, show_network, write_header

VERSION: Final = 2
PAYMENT_REQUIRED: Final = "PAYMENT-REQUIRED"
ACCEPTS_MAX: Final = 16
TIMEOUT_MAX_S: Final = 86_400
_CHANNEL_ID_SIZE: Final = 32


class Scheme(Enum):
    """How the money moves."""

    BATCH = "batch-settlement"
    EXACT = "exact"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSight:
    """A channel as the server sees it, for a corrective 402 and beside a charge. Amounts over the channel's life."""

    channel_id: ChannelId
    balance: int
    total_claimed: int
    withdraw_requested_at: int
    refund_nonce: int
    charged: int
    signed: int | None = None
    """The best voucher's amount, and the client's ``signature`` under it; None where there is none yet."""
    signature: bytes | None = None

    def __post_init__(self) -> None:
        assert (self.signed is None) == (self.signature is None)
        assert self.signed is None or self.charged <= self.signed
        assert self.signature is None or len(self.signature) == EVM_SIGNATURE_SIZE

    def channel_state(self) -> Json:
        return {
            "channelId": show_hex(self.channel_id),
            "balance": str(self.balance),
            "totalClaimed": str(self.total_claimed),
            "withdrawRequestedAt": self.withdraw_requested_at,
            "refundNonce": str(self.refund_nonce),
            "chargedCumulativeAmount": str(self.charged),
        }

    def voucher_state(self) -> Json | None:
        if self.signed is None or self.signature is None:
            return None
        return {"signedMaxClaimable": str(self.signed), "signature": show_hex(self.signature)}

    @classmethod
    def read(cls, extra: Fields) -> ChannelSight:
        """Raises ``RemoteProtocolError(malformed_payment)``."""
        state = extra.fields("channelState")
        voucher = extra.fields("voucherState") if extra.has("voucherState") else None
        charged = state.amount("chargedCumulativeAmount")
        signed = None if voucher is None else voucher.amount("signedMaxClaimable")
        if signed is not None and charged > signed:
            raise malformed("the server says it charged more than was signed")
        return cls(
            channel_id=ChannelId(state.blob("channelId", _CHANNEL_ID_SIZE)),
            balance=state.amount("balance"),
            total_claimed=state.amount("totalClaimed"),
            withdraw_requested_at=state.integer("withdrawRequestedAt"),
            refund_nonce=state.decimal("refundNonce"),
            charged=charged,
            signed=signed,
            signature=None if voucher is None else voucher.blob("signature", EVM_SIGNATURE_SIZE),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """One way to pay: an entry of ``accepts``, and what a payment repeats as ``accepted``."""

    scheme: Scheme
    chain_id: int
    token: EvmAddress
    token_name: str
    """With ``token_version`` the token's EIP-712 domain, which deposits and transfers are signed under."""
    token_version: str
    amount: int
    """The most that this request costs."""
    pay_to: EvmAddress
    timeout_s: int
    """How long an authorization for it should stay valid."""
    receiver_authorizer: EvmAddress | None = None
    """With ``withdraw_delay_s`` and ``deposit_min`` what a channel has to be; in ``batch-settlement`` only."""
    withdraw_delay_s: int = 0
    deposit_min: int = 0
    channel: ChannelSight | None = None
    """In a corrective 402 only."""

    def __post_init__(self) -> None:
        assert 0 <= self.amount <= AMOUNT_MAX
        assert 0 <= self.deposit_min <= AMOUNT_MAX
        assert 0 < self.timeout_s <= TIMEOUT_MAX_S
        assert (self.scheme is Scheme.BATCH) == (self.receiver_authorizer is not None)
        assert self.channel is None or self.scheme is Scheme.BATCH

    def to_json(self) -> Json:
        extra: Json = {"name": self.token_name, "version": self.token_version, "assetTransferMethod": "eip3009"}
        if self.receiver_authorizer is not None:
            extra |= {
                "receiverAuthorizer": format_address(self.receiver_authorizer),
                "withdrawDelay": self.withdraw_delay_s,
                "minDeposit": str(self.deposit_min),
            }
        if self.channel is not None:
            extra["channelState"] = self.channel.channel_state()
            if (voucher := self.channel.voucher_state()) is not None:
                extra["voucherState"] = voucher
        return {
            "scheme": self.scheme.value,
            "network": show_network(self.chain_id),
            "asset": format_address(self.token),
            "amount": str(self.amount),
            "payTo": format_address(self.pay_to),
            "maxTimeoutSeconds": self.timeout_s,
            "extra": extra,
        }

    @classmethod
    def read(cls, entry: Fields) -> Requirements:
        """Raises ``RemoteProtocolError(malformed_payment)``, also for a scheme, network or transfer method this project does not speak."""
        scheme, extra = _scheme_of(entry), entry.fields("extra")
        if extra.has("assetTransferMethod") and extra.text("assetTransferMethod") != "eip3009":
            raise malformed("only assetTransferMethod eip3009 is spoken here")
        timeout_s = entry.integer("maxTimeoutSeconds", TIMEOUT_MAX_S)
        if timeout_s == 0:
            raise malformed("maxTimeoutSeconds is 0")
        is_batch = scheme is Scheme.BATCH
        return cls(
            scheme=scheme,
            chain_id=entry.chain_id("network"),
            token=entry.address("asset"),
            token_name=extra.text("name"),
            token_version=extra.text("version"),
            amount=entry.amount("amount"),
            pay_to=entry.address("payTo"),
            timeout_s=timeout_s,
            receiver_authorizer=extra.address("receiverAuthorizer") if is_batch else None,
            withdraw_delay_s=extra.integer("withdrawDelay") if is_batch else 0,
            deposit_min=extra.amount("minDeposit") if is_batch and extra.has("minDeposit") else 0,
            channel=ChannelSight.read(extra) if is_batch and extra.has("channelState") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequired:
    """The content of ``PAYMENT-REQUIRED``, and of a 402's body beside the problem it names."""

    url: str
    description: str
    accepts: tuple[Requirements, ...]
    """The one we would rather have first: x402 clients take the first they can."""
    error: str
    """Why there is no answer, in x402's words (``retrieval.payment.x402.reasons``)."""

    def __post_init__(self) -> None:
        assert len(self.accepts) <= ACCEPTS_MAX
        assert len(self.url) <= TEXT_MAX
        assert len(self.error) <= NAME_MAX

    def to_json(self) -> Json:
        return {
            "x402Version": VERSION,
            "error": self.error,
            "resource": {"url": self.url, "description": self.description},
            "accepts": [requirements.to_json() for requirements in self.accepts],
        }

    def to_header(self) -> str:
        return write_header(self.to_json())

    @classmethod
    def from_header(cls, value: str) -> PaymentRequired:
        """Read an offer; entries in schemes or on networks that this project does not speak are left out.

        Raises ``RemoteProtocolError(malformed_payment)``.
        """
        offer = read_header(value, PAYMENT_REQUIRED)
        if offer.integer("x402Version") != VERSION:
            raise malformed(f"x402Version is not {VERSION}")
        spoken = [entry for entry in offer.many("accepts", ACCEPTS_MAX) if _is_spoken(entry)]
        resource = offer.fields("resource") if offer.has("resource") else None
        return cls(
            url=resource.text("url", TEXT_MAX) if resource is not None else "",
            description=resource.text("description", TEXT_MAX) if resource is not None and resource.has("description") else "",
            accepts=tuple(map(Requirements.read, spoken)),
            error=offer.text("error") if offer.has("error") else "",
        )


def _scheme_of(entry: Fields) -> Scheme:
    name = entry.text("scheme")
    try:
        return Scheme(name)
    except ValueError as error:
        raise malformed(f"the scheme {name[:32]!r} is not spoken here") from error


def _is_spoken(entry: Fields) -> bool:
    if entry.text("scheme") not in _SCHEMES or not entry.text("network").startswith("eip155:"):
        return False
    extra = entry.fields("extra")
    return not extra.has("assetTransferMethod") or extra.text("assetTransferMethod") == "eip3009"


_SCHEMES: Final = frozenset(scheme.value for scheme in Scheme)
