"""A receipt with everything that gives it meaning: what a ``*.receipt.cbor`` file holds, and what a third party can tell from it.

``verify_bundle`` needs no chain, no network and no blocks. What it proves is that the holder of the client's key says it verified these
bytes of this content at this price, that the provider made the offer, and, when countersigned, that the provider says the same. It does
not exclude a payer, a reader and a provider who are one person, nor a client who signs for bytes it never had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, PeerId, verify_peer
from retrieval.payment.channel import (
    ChannelConfig,
    ChannelId,
    SessionKey,
    channel_id,
    session_domain,
    settlement_domain,
    verify_session_key,
)
from retrieval.payment.rate import Rate
from retrieval.payment.voucher import Voucher, verify_voucher
from retrieval.units import KIB
from retrieval.wire import shape
from retrieval.wire.messages import (
    CHANNEL_CONFIG_SIZE,
    PEER_ID_SIZE,
    Acceptance,
    Completion,
    DealId,
    Quote,
    Scope,
    Selection,
    SessionKeyFields,
    Settlement,
    Signed,
    SignedReceipt,
    VoucherFields,
    deal_id,
    quote_digest,
)
from retrieval.wire.receipt import Receipt, receipt_digest
from retrieval.wire.shape import blob, nested, uint, wire

BUNDLE_SIZE_MAX: Final = 64 * KIB  # a long path makes the largest; most are below 2 KiB
BUNDLE_SUFFIX: Final = ".receipt.cbor"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelProof:
    """The channel a deal was paid from: what its id follows from, who may spend from it, and the voucher that covers the receipt."""

    config: bytes = wire(1, blob(CHANNEL_CONFIG_SIZE))
    chain_id: int = wire(2, uint())
    contract: bytes = wire(3, blob(20))
    session_key: SessionKeyFields = wire(4, nested(SessionKeyFields))
    voucher: VoucherFields = wire(5, nested(VoucherFields))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptBundle:
    """One deal, from the offer to its last receipt: a deterministic-CBOR map (``retrieval.wire.cbor``) of the fields declared here."""

    version: int = wire(1, uint(1, least=1))
    provider: bytes = wire(2, blob(PEER_ID_SIZE))
    client: bytes = wire(3, blob(PEER_ID_SIZE))
    selection: Selection = wire(4, nested(Selection))
    quote: Signed = wire(5, nested(Signed))
    accept: Signed = wire(6, nested(Signed))
    receipt: SignedReceipt = wire(7, nested(SignedReceipt))
    done: Signed | None = wire(8, nested(Signed), optional=True)
    """The countersignature, once the provider gave it."""
    channel: ChannelProof | None = wire(9, nested(ChannelProof), optional=True)
    """Absent where the deal was free."""

    def encode(self) -> bytes:
        """What the file holds."""
        encoded = shape.encode(self)
        assert len(encoded) <= BUNDLE_SIZE_MAX
        return encoded

    @classmethod
    def decode(cls, encoded: bytes) -> ReceiptBundle:
        """Read a file; nothing in it is believed yet. Raises ``RemoteProtocolError(malformed_receipt)``."""
        if len(encoded) > BUNDLE_SIZE_MAX:
            raise RemoteProtocolError(ErrorCode.MALFORMED_RECEIPT, f"a receipt file has at most {BUNDLE_SIZE_MAX} bytes")
        return _well_formed(lambda: shape.decode(cls, encoded))


class ReceiptStatus(Enum):
    VERIFIED = "verified"
    CLIENT_SIGNED_ONLY = "client_signed_only"
    """Everything fits, and the provider has not confirmed the last receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """What a bundle proves. Sizes in bytes, amounts in the smallest unit of the token that ``settlement`` names."""

    status: ReceiptStatus
    deal_id: DealId
    provider: PeerId
    client: PeerId
    root: Cid
    path: tuple[str, ...]
    scope: Scope
    cursor: int
    """Blocks at the start of the selection that the client had before the deal, and that this receipt does not cover."""
    n_bytes: int
    n_blocks: int
    complete: bool
    """Whether both sides say that the whole selection was delivered."""
    rate: Rate
    deal_amount: int
    channel_id: ChannelId | None
    channel_amount: int
    settlement: Settlement | None
    time: int
    """Unix seconds, by the client's clock."""

    @property
    def countersigned(self) -> bool:
        return self.status is ReceiptStatus.VERIFIED


def verify_bundle(bundle: ReceiptBundle) -> VerifiedReceipt:
    """Check every signature over the bytes it was given for, and that each part speaks of the same deal.

    Raises ``RemoteProtocolError``: ``bad_signature`` or ``unsupported_key``, ``malformed_receipt`` when a signed body cannot be read,
    ``session_key_invalid``, ``bad_voucher``, and ``bad_receipt`` when the parts do not belong together.
    """
    provider, client = PeerId(bundle.provider), PeerId(bundle.client)
    verify_peer(provider, "quote", bundle.quote.body, bundle.quote.signature)
    verify_peer(client, "accept", bundle.accept.body, bundle.accept.signature)
    quote = _well_formed(lambda: shape.decode(Quote, bundle.quote.body))
    acceptance = _well_formed(lambda: shape.decode(Acceptance, bundle.accept.body))
    receipt = _signed_receipt(client, bundle.receipt)
    rate = Rate(price_per_gib=quote.price_per_gib, flat_fee=quote.flat_fee)
    _require(quote.client_peer == client, "the quote was made for another client")
    _require(quote.selection_digest == bundle.selection.digest, "the quote was made for another selection")
    _require(acceptance.quote_digest == quote_digest(bundle.quote.body), "another quote was accepted")
    _require(receipt.deal_id == deal_id(bundle.quote.body, client), "the receipt is of another deal")
    _require(receipt.n_bytes <= quote.n_bytes and receipt.n_blocks <= quote.n_blocks, "it counts more than was quoted")
    _require(receipt.deal_amount == rate.owed(receipt.n_bytes), "its amount is not what its bytes cost")
    _require(receipt.deal_amount <= acceptance.spend_max, "its amount is above what the client accepted")
    if bundle.channel is None:
        unpaid = receipt.deal_amount == receipt.channel_amount == 0 and acceptance.channel_id is None
        _require(unpaid, "the deal had a price, and the channel is missing")
    else:
        _verify_channel(bundle.channel, client, quote, acceptance, receipt)
    completion = _verify_done(bundle.done, provider, bundle.receipt, receipt) if bundle.done else None
    return VerifiedReceipt(
        status=ReceiptStatus.VERIFIED if completion else ReceiptStatus.CLIENT_SIGNED_ONLY,
        deal_id=DealId(receipt.deal_id),
        provider=provider,
        client=client,
        root=Cid(bundle.selection.root),
        path=bundle.selection.path,
        scope=Scope(bundle.selection.scope),
        cursor=quote.cursor,
        n_bytes=receipt.n_bytes,
        n_blocks=receipt.n_blocks,
        complete=completion is not None and completion.complete,
        rate=rate,
        deal_amount=receipt.deal_amount,
        channel_id=ChannelId(acceptance.channel_id) if acceptance.channel_id else None,
        channel_amount=receipt.channel_amount,
        settlement=quote.settlement,
        time=receipt.time,
    )


def is_equivocation(client: PeerId, first: SignedReceipt, second: SignedReceipt) -> bool:
    """Whether a client signed two different receipts under one sequence number of one deal. Kept together, the two prove it.

    Raises ``RemoteProtocolError`` when either is no receipt of this client's: then they prove nothing.
    """
    one, other = _signed_receipt(client, first), _signed_receipt(client, second)
    return (one.deal_id, one.sequence) == (other.deal_id, other.sequence) and one != other


def _signed_receipt(client: PeerId, signed: SignedReceipt) -> Receipt:
    verify_peer(client, "receipt", signed.body, signed.signature)
    return _well_formed(lambda: Receipt.decode(signed.body))


def _verify_channel(proof: ChannelProof, client: PeerId, quote: Quote, acceptance: Acceptance, receipt: Receipt) -> None:
    """Check that this channel is the one that was agreed, that the client might spend from it, and that it paid."""
    settlement, contract = quote.settlement, EvmAddress(proof.contract)
    config = _well_formed(lambda: ChannelConfig.from_bytes(proof.config))
    channel = channel_id(config, proof.chain_id, contract)
    _require(acceptance.channel_id == channel, "the channel is not the one that was accepted")
    _require(settlement is not None, "the quote names no chain")
    assert settlement is not None
    _require((settlement.chain_id, settlement.contract) == (proof.chain_id, contract), "the channel is on another chain or contract")
    _require(settlement.token == config.token, "the channel holds another token than was quoted")
    _require(settlement.receiver == config.receiver, "the channel pays another receiver than was quoted")
    _require(settlement.receiver_authorizer == config.receiver_authorizer, "the channel names another receiver authorizer than was quoted")
    key, voucher = proof.session_key, proof.voucher
    verify_session_key(
        SessionKey(channel_id=ChannelId(key.channel_id), peer_id=PeerId(key.peer_id), expires_at=key.expires_at, signature=key.signature),
        session_domain(proof.chain_id, contract),
        channel_id=channel,
        peer_id=client,
        authorizer=config.payer_authorizer,
        now_s=acceptance.time,  # a deal may outlive the key it was accepted under
    )
    verify_voucher(
        Voucher(channel_id=ChannelId(voucher.channel_id), amount=voucher.amount, signature=voucher.signature),
        config.payer_authorizer,
        settlement_domain(proof.chain_id, contract),
    )
    _require(voucher.channel_id == channel, "the voucher is of another channel")
    _require(receipt.channel_amount >= receipt.deal_amount, "the deal's amount is above that of its channel")
    _require(voucher.amount >= receipt.channel_amount, "the voucher does not cover the receipt")


def _verify_done(done: Signed, provider: PeerId, signed: SignedReceipt, receipt: Receipt) -> Completion:
    """Check that the provider confirmed exactly this receipt."""
    verify_peer(provider, "done", done.body, done.signature)
    completion = _well_formed(lambda: shape.decode(Completion, done.body))
    _require(completion.deal_id == receipt.deal_id, "the countersignature is of another deal")
    _require(completion.receipt_digest == receipt_digest(signed.body), "the countersignature is of another receipt")
    totals = (completion.n_bytes, completion.n_blocks)
    _require(totals == (receipt.n_bytes, receipt.n_blocks), "the provider counted otherwise than the client")
    return completion


def _well_formed(read: Callable[[], T]) -> T:
    """What ``read`` returns; any way in which it cannot be read is a malformed receipt to whoever holds the file."""
    try:
        return read()
    except RemoteProtocolError as error:
        raise RemoteProtocolError(ErrorCode.MALFORMED_RECEIPT, error.detail) from error


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, why)
