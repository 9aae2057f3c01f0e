"""Every message of the session protocol, ``/retrieval/session/1.0.0``, version 1.0.

This module is the specification of the bytes; ``tests/vectors/messages.json`` holds an example of each. A control message is a
deterministic-CBOR map with the keys declared here (``retrieval.wire.cbor`` says what may stand in it), carried in a frame
(``retrieval.wire.framing``). A *signed* message is the map ``{1: body, 2: signature}``: ``body`` is the encoded map as a byte string,
and the Ed25519 signature covers ``retrieval/<kind>/1 ‖ 0x00 ‖ body``, always the bytes that were received.

Amounts are minimal big-endian byte strings in the token's smallest unit. Sizes are bytes. Times are Unix seconds. Durations are
seconds and end in ``_s``.

=== ===================== ============ =========================================================================================
no. message               from         says
=== ===================== ============ =========================================================================================
1   Hello                 both, first  minor version, capabilities, limits
2   Query                 client       what is wanted, and what of it is already held; or the id of a past deal
3   SignedQuote           provider     the all-in offer for this query and this client
4   Accept                client       yes to a quote, or once more to a deal that was cut off
5   Block                 provider     one block, not CBOR: see ``retrieval.wire.framing``
6   Payment               client       a cumulative voucher and the receipts it pays for
7   SignedDone            provider     the deal's totals and last receipt, signed: this is the countersignature
8   Refuse                either       this query, deal or channel will not be served; the session goes on
9   Cancel                client       stop this deal
10  Pause                 client       send no further blocks of this deal
11  Resume                client       go on
12  Ping                  either
13  Pong                  either
14  Error                 either, last the session is over
15  Present               client       a channel: its config and the SessionKey that lets this client spend from it
16  ChannelStatus         provider     what the provider knows of a channel
17  TermsQuery            client       what a channel with this provider must be
18  Terms                 provider     exactly that; or that nothing here is paid for on a chain
=== ===================== ============ =========================================================================================

``Present`` and ``ChannelStatus`` are not in the first sketch of the protocol, where the first Accept carried the channel. Apart, the
provider can look at the chain before there is a deal, and no chain call ever stands between an Accept and its first block. Nor are
``TermsQuery`` and ``Terms``: quotes say the same, but a quote needs content, and a channel can be funded before anything is wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NewType

from retrieval.units import GIB, SIZE_BYTES_MAX
from retrieval.wire import receipt, shape
from retrieval.wire.shape import blob, flag, integer, many, nested, text, uint, wire

QuoteDigest = NewType("QuoteDigest", bytes)
DealId = NewType("DealId", bytes)

MINOR_VERSION: Final = 0
CAPABILITY_MAX: Final = 64  # characters
CAPABILITIES_MAX: Final = 64
AGENT_MAX: Final = 128
PATH_SEGMENTS_MAX: Final = 128  # so that the longest path of names with 255 bytes fits a control frame
PATH_SEGMENT_MAX: Final = 255  # characters; also the bytes of a name on most file systems
DETAIL_MAX: Final = 256
RECEIPTS_PER_PAYMENT_MAX: Final = 16
LIFETIME_MAX_S: Final = 7 * 24 * 3600
DELAY_MAX_S: Final = 2_592_000
BLOCK_SIZE_MAX: Final = 2 << 20
WINDOW_BYTES_MAX: Final = GIB  # no window is larger, whatever was paid
DEAL_ID_SIZE: Final = 16
PEER_ID_SIZE: Final = 38  # the identity multihash of an Ed25519 public key
SIGNATURE_SIZE: Final = 64
CHANNEL_CONFIG_SIZE: Final = 137  # five addresses, uint40, bytes32

_cid = blob(4, 128)
_count = uint(SIZE_BYTES_MAX)
_position = integer(-SIZE_BYTES_MAX, SIZE_BYTES_MAX)
_digest = blob(32)
_deal_id = blob(DEAL_ID_SIZE)
_address = blob(20)
_time = uint(receipt.TIME_MAX_S)
_code = uint(999)
_seconds = uint(LIFETIME_MAX_S)


class Scope(IntEnum):
    """How much of the selected DAG is wanted (IPIP-402 ``dag-scope``)."""

    BLOCK = 0
    ENTITY = 1
    ALL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message of both sides. The session speaks the lower of the two minor versions and the capabilities of both."""

    minor_version: int = wire(1, uint(255))
    required: tuple[str, ...] = wire(2, many(text(CAPABILITY_MAX), CAPABILITIES_MAX))
    optional: tuple[str, ...] = wire(3, many(text(CAPABILITY_MAX), CAPABILITIES_MAX))
    deals_max: int = wire(4, uint(1024, least=1))
    """Deals that this side keeps open on one session."""
    agent: str = wire(5, text(AGENT_MAX))
    """Name and version of the program, for logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is wanted. ``digest`` names it: a flat fee is due once a digest and channel in 24 hours."""

    root: bytes = wire(1, _cid)
    path: tuple[str, ...] = wire(2, many(text(PATH_SEGMENT_MAX), PATH_SEGMENTS_MAX))
    """Names below the root, the outermost first."""
    scope: int = wire(3, uint(2))
    """A ``Scope``."""
    range_start: int | None = wire(4, _position, optional=True)
    """With ``range_end`` the first and last byte of a file that are wanted, as ``entity-bytes`` of IPIP-402, in the scope ``entity`` only.

    Below zero it counts from the end of the file; absent it is the beginning, and ``range_end`` the end.
    """
    range_end: int | None = wire(5, _position, optional=True)

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(b"retrieval/selection/1\0" + shape.encode(self)).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A request for a quote, or with ``deal_id`` for the Done of a past deal."""

    query_id: int = wire(1, uint())
    selection: Selection | None = wire(2, nested(Selection), optional=True)
    cursor: int = wire(3, _count)
    """Blocks at the start of the selection's order that the client already holds."""
    price_per_gib_max: int | None = wire(4, shape.amount, optional=True)
    deal_id: bytes | None = wire(5, _deal_id, optional=True)

    def __post_init__(self) -> None:
        if (self.selection is None) == (self.deal_id is None):
            raise ValueError("a Query names either a selection or a deal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How a paid quote is paid: what a ChannelConfig must say, and on which chain."""

    chain_id: int = wire(1, uint())
    contract: bytes = wire(2, _address)
    token: bytes = wire(3, _address)
    collector: bytes = wire(4, _address)
    """The contract that moves a deposit by the payer's signature (ERC-3009)."""
    receiver: bytes = wire(5, _address)
    receiver_authorizer: bytes = wire(6, _address)
    withdraw_delay_min_s: int = wire(7, uint(DELAY_MAX_S))
    withdraw_delay_max_s: int = wire(8, uint(DELAY_MAX_S))
    deposit_min: int = wire(9, shape.amount)
    confirmations: int = wire(10, uint(10_000))
    """Blocks on top of a deposit's before it counts."""
    decimals: int = wire(11, uint(36))
    symbol: str = wire(12, text(16))


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherFields:
    """A voucher of the x402 ``batch-settlement`` scheme: all of ``channel_id`` up to ``amount`` may be claimed."""

    channel_id: bytes = wire(1, _digest)
    amount: int = wire(2, shape.amount)
    signature: bytes = wire(3, blob(65))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownChannel:
    """What the provider knows of a channel of this client: a client that lost its state adopts the voucher, which it signed itself."""

    channel_id: bytes = wire(1, _digest)
    balance: int = wire(2, shape.amount)
    """Deposits the contract holds for it; claims do not reduce it."""
    best: VoucherFields | None = wire(3, nested(VoucherFields), optional=True)
    reserved: int = wire(4, shape.amount)
    """Prices of the windows that are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The body of a SignedQuote: an all-in offer."""

    version: int = wire(1, uint(1, least=1))
    query_id: int = wire(2, uint())
    selection_digest: bytes = wire(3, _digest)
    hellos_digest: bytes = wire(4, _digest)
    """SHA-256 of the client's Hello body and the provider's, so that nobody in the middle can strip a flag unnoticed."""
    nonce: bytes = wire(5, blob(16))
    """Random, so that no two deals have one id."""
    client_peer: bytes = wire(6, blob(PEER_ID_SIZE))
    cursor: int = wire(7, _count)
    """As in the Query: the deal begins behind these blocks."""
    price_per_gib: int = wire(8, shape.amount)
    flat_fee: int = wire(9, shape.amount)
    n_bytes: int = wire(10, _count)
    n_blocks: int = wire(11, _count)
    exact: bool = wire(12, flag)
    """Whether ``n_bytes`` and ``n_blocks`` are the totals, or an upper bound."""
    amount_max: int = wire(13, shape.amount)
    """What ``n_bytes`` cost, all in."""
    window_first: int = wire(14, uint(WINDOW_BYTES_MAX, least=1))
    """Bytes that may be unpaid on a line that has paid nothing yet."""
    window_max: int = wire(15, uint(WINDOW_BYTES_MAX, least=1))
    """Bytes that may ever be unpaid."""
    pay_interval: int = wire(16, uint(WINDOW_BYTES_MAX, least=1))
    """Verified unpaid bytes that call for a payment, until paid bytes have opened the window to more than four times as much."""
    lifetime_s: int = wire(17, _seconds)
    settlement: Settlement | None = wire(18, nested(Settlement), optional=True)
    """None where the deal is free."""
    channel: KnownChannel | None = wire(19, nested(KnownChannel), optional=True)
    block_size_max: int = wire(20, uint(BLOCK_SIZE_MAX, least=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A body and the Ed25519 signature over it."""

    body: bytes = wire(1, blob(1, 8192))
    signature: bytes = wire(2, blob(SIGNATURE_SIZE))


class SignedQuote(Signed):
    """Carries a Quote, kind ``quote``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The body of an Accept."""

    version: int = wire(1, uint(1, least=1))
    quote_digest: bytes = wire(2, _digest)
    channel_id: bytes | None = wire(3, _digest, optional=True)
    spend_max: int = wire(4, shape.amount)
    """The most the client will sign for on this deal; the provider stops there."""
    cursor: int = wire(5, _count)
    """Blocks of this deal the client has verified: 0 at first, more when a deal is taken up again."""
    time: int = wire(6, _time)


class Accept(Signed):
    """Carries an Acceptance, kind ``accept``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReceipt:
    """A receipt's bytes (``retrieval.wire.receipt``) and the client's signature, kind ``receipt``."""

    body: bytes = wire(1, blob(receipt.BODY_SIZE_MIN, receipt.BODY_SIZE_MAX))
    signature: bytes = wire(2, blob(SIGNATURE_SIZE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One voucher and the receipts it pays for; receipts alone where the price is zero."""

    voucher: VoucherFields | None = wire(1, nested(VoucherFields), optional=True)
    receipts: tuple[SignedReceipt, ...] = wire(2, many(nested(SignedReceipt), RECEIPTS_PER_PAYMENT_MAX, least=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The body of a SignedDone. Signing it countersigns the last receipt."""

    version: int = wire(1, uint(1, least=1))
    deal_id: bytes = wire(2, _deal_id)
    n_bytes: int = wire(3, _count)
    n_blocks: int = wire(4, _count)
    receipt_digest: bytes = wire(5, _digest)
    """SHA-256 of the last receipt's body."""
    complete: bool = wire(6, flag)
    """Whether the whole selection was delivered; false when the deal was cancelled."""


class SignedDone(Signed):
    """Carries a Completion, kind ``done``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """This query, deal or channel will not be served. At most one of the last four fields says which."""

    code: int = wire(1, _code)
    detail: str = wire(2, text(DETAIL_MAX))
    retry_after_s: int | None = wire(3, _seconds, optional=True)
    query_id: int | None = wire(4, uint(), optional=True)
    deal_id: bytes | None = wire(5, _deal_id, optional=True)
    channel_id: bytes | None = wire(6, _digest, optional=True)
    quote_digest: bytes | None = wire(7, _digest, optional=True)
    """What an Accept named that the provider does not know: it cannot tell which deal that would have been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    deal_id: bytes = wire(1, _deal_id)
    code: int = wire(2, _code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    deal_id: bytes = wire(1, _deal_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    deal_id: bytes = wire(1, _deal_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    nonce: int = wire(1, uint())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    nonce: int = wire(1, uint())


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """The session ends here."""

    code: int = wire(1, _code)
    detail: str = wire(2, text(DETAIL_MAX))
    retry_after_s: int | None = wire(3, _seconds, optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKeyFields:
    """The EIP-712 ``SessionKey(bytes32 channelId,bytes peerId,uint64 expiresAt)`` that lets a peer spend from a channel."""

    channel_id: bytes = wire(1, _digest)
    peer_id: bytes = wire(2, blob(PEER_ID_SIZE))
    expires_at: int = wire(3, _time)
    signature: bytes = wire(4, blob(65))


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A channel the client means to spend from."""

    config: bytes = wire(1, blob(CHANNEL_CONFIG_SIZE))
    session_key: SessionKeyFields = wire(2, nested(SessionKeyFields))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatus:
    """Answer to Present, once the deposit has been seen."""

    channel: KnownChannel = wire(1, nested(KnownChannel))


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsQuery:
    """Asks for Terms. Empty: there is one answer, whoever asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Answer to TermsQuery. Not signed: the session says who speaks, and a channel that turns out unusable gives its deposit back."""

    settlement: Settlement | None = wire(1, nested(Settlement), optional=True)
    """None where the provider is on no chain and sells nothing."""


Message = (
    Hello | Query | SignedQuote | Accept | Payment | SignedDone | Refuse | Cancel
    | Pause | Resume | Ping | Pong | Error | Present | ChannelStatus | TermsQuery | Terms
)  # fmt: skip


class FrameType(IntEnum):
    """Type byte of a frame."""

    HELLO = 1
    QUERY = 2
    QUOTE = 3
    ACCEPT = 4
    BLOCK = 5
    PAYMENT = 6
    DONE = 7
    REFUSE = 8
    CANCEL = 9
    PAUSE = 10
    RESUME = 11
    PING = 12
    PONG = 13
    ERROR = 14
    PRESENT = 15
    CHANNEL_STATUS = 16
    TERMS_QUERY = 17
    TERMS = 18


MESSAGE_OF_TYPE: Final[Mapping[int, type[Message]]] = {
    FrameType.HELLO: Hello,
    FrameType.QUERY: Query,
    FrameType.QUOTE: SignedQuote,
    FrameType.ACCEPT: Accept,
    FrameType.PAYMENT: Payment,
    FrameType.DONE: SignedDone,
    FrameType.REFUSE: Refuse,
    FrameType.CANCEL: Cancel,
    FrameType.PAUSE: Pause,
    FrameType.RESUME: Resume,
    FrameType.PING: Ping,
    FrameType.PONG: Pong,
    FrameType.ERROR: Error,
    FrameType.PRESENT: Present,
    FrameType.CHANNEL_STATUS: ChannelStatus,
    FrameType.TERMS_QUERY: TermsQuery,
    FrameType.TERMS: Terms,
}
TYPE_OF_MESSAGE: Final = {message: frame_type for frame_type, message in MESSAGE_OF_TYPE.items()}


def quote_digest(body: bytes) -> QuoteDigest:
    """What an Accept names: SHA-256 of the quote's body."""
    return QuoteDigest(hashlib.sha256(body).digest())


def deal_id(quote_body: bytes, client_peer: bytes) -> DealId:
    """The name of a deal, known to both sides as soon as there is a quote."""
    return DealId(hashlib.sha256(quote_body + client_peer).digest()[:DEAL_ID_SIZE])


def hellos_digest(client_hello: bytes, provider_hello: bytes) -> bytes:
    """Digest of both hello bodies, so that nobody in the middle can strip a flag unnoticed."""
    return hashlib.sha256(client_hello + provider_hello).digest()
