"""What the machines tell the program, once it is committed and released. Past tense, immutable."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.deal.records import Outcome
from retrieval.errors import ErrorCode
from retrieval.payment.channel import ChannelConfig, ChannelId
from retrieval.wire.messages import DealId, KnownChannel, Query, Quote, SessionKeyFields, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReady:
    """Both hellos are in and agree."""

    capabilities: frozenset[str]
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFailed:
    """The session is over. What was agreed on it can be taken up on another."""

    code: ErrorCode
    detail: str
    retry_after_s: int | None
    by_peer: bool


# the provider's


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReceived:
    """The program looks the content up, then calls ``ProviderSession.quote`` or ``refuse_query``."""

    query: Query


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPresented:
    """The program reads the channel from the chain, then calls ``ProviderSession.channel_seen`` or ``refuse_channel``."""

    channel_id: ChannelId
    config: ChannelConfig
    session_key: SessionKeyFields


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleAccepted:
    """Blocks may leave: the program pulls them with ``ProviderSession.wanted`` and ``supply``."""

    deal_id: DealId


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTaken:
    """A payment is on disk; the windows it opens are open."""

    line_key: bytes
    deal_id: DealId
    n_bytes: int
    amount: int
    receipted_bytes: int
    """Of the deal in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DealEnded:
    """A deal has its outcome."""

    deal_id: DealId
    outcome: Outcome
    code: ErrorCode | None
    n_bytes: int
    n_blocks: int
    amount: int
    detail: str


# the client's


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """An offer that answers our query and whose signature and arithmetic are right."""

    query_id: int
    deal_id: DealId
    quote: Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsLearned:
    """What a channel with the provider must be; None where it takes no payment."""

    settlement: Settlement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The provider will not serve a query or a channel."""

    code: ErrorCode
    detail: str
    retry_after_s: int | None
    query_id: int | None
    deal_id: DealId | None
    channel_id: ChannelId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfirmed:
    """The provider has seen the channel's deposit."""

    channel: KnownChannel


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksVerified:
    """Blocks matched their CIDs and their places, and are in the store."""

    deal_id: DealId
    n_bytes: int
    n_blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """A payment left."""

    deal_ids: tuple[DealId, ...]
    amount: int
    voucher_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionVerified:
    """All of the selection is here, verified and paid for. The client's success; Done only adds the countersignature."""

    deal_id: DealId


Event = (
    SessionReady
    | SessionFailed
    | QueryReceived
    | ChannelPresented
    | SaleAccepted
    | PaymentTaken
    | DealEnded
    | Quoted
    | TermsLearned
    | Refused
    | ChannelConfirmed
    | BlocksVerified
    | Paid
    | SelectionVerified
)
