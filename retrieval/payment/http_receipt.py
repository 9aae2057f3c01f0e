"""The receipt of one answer over HTTP: what was sold to whom at which price, signed by the provider, and the voucher that covers it.

It leaves with the head of the answer, so it says what the answer was sold as. A client whose answer was cut holds a receipt for more than
it was charged, by the provider's own word; what it was charged shows in the next. ``verify_sale`` needs no chain, no network and no
blocks.

A ``*.receipt.cbor`` file may hold it, as it may hold the receipt of a deal (``retrieval.payment.receipt``): both are deterministic-CBOR
maps whose key 1 is the version, 1 there and 2 here. In the header ``Retrieval-Receipt`` it is base64.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from retrieval.cid import Cid
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, PeerId, PeerKey, verify_peer
from retrieval.payment.channel import ChannelConfig, ChannelId, channel_id, settlement_domain
from retrieval.payment.rate import Rate
from retrieval.payment.voucher import Voucher, verify_voucher
from retrieval.units import KIB, SIZE_BYTES_MAX
from retrieval.wire import cbor, shape
from retrieval.wire.messages import CHANNEL_CONFIG_SIZE, PEER_ID_SIZE, Scope, Selection, Signed, VoucherFields
from retrieval.wire.receipt import TIME_MAX_S
from retrieval.wire.shape import blob, nested, uint, wire

SALE_RECEIPT: Final = "Retrieval-Receipt"
SALE_RECEIPT_SIZE_MAX: Final = 64 * KIB
HEADER_MAX: Final = 6 * KIB
"""Characters in a header, which clients read up to 8 KiB; a receipt takes one, and only a path of thousands of letters takes more."""
VERSION: Final = 2

_KIND: Final = "http-sale"
_address = blob(20)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleStatement:
    """What the provider signs, as ``retrieval/http-sale/1 ‖ 0x00 ‖ body``. Amounts in the token's smallest unit."""

    order_id: bytes = wire(1, blob(16))
    selection: Selection = wire(2, nested(Selection))
    n_bytes: int = wire(3, uint(SIZE_BYTES_MAX))
    """Of the answer's body, or the most it can have where its size is not known before."""
    price_per_gib: int = wire(4, shape.amount)
    flat_fee: int = wire(5, shape.amount)
    amount: int = wire(6, shape.amount)
    """What these bytes cost: rounded up on the payer's running total, so one unit less at times than they would alone."""
    payer: bytes = wire(7, _address)
    receiver: bytes = wire(8, _address)
    chain_id: int = wire(9, uint())
    token: bytes = wire(10, _address)
    channel_id: bytes | None = wire(11, blob(32), optional=True)
    """Absent where a single transfer paid for it."""
    channel_amount: int | None = wire(12, shape.amount, optional=True)
    """Charged over the channel's life, this included."""
    transaction: bytes = wire(13, blob(0, 32))
    """The transfer or deposit that this request caused; empty where it caused none."""
    time: int = wire(14, uint(TIME_MAX_S))
    """Unix seconds, by the provider's clock."""

    def __post_init__(self) -> None:
        if (self.channel_id is None) != (self.channel_amount is None):
            raise ValueError("a channel comes with its amount")
        if len(self.transaction) not in (0, 32):
            raise ValueError("a transaction's hash has 32 bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherProof:
    """The channel that paid: what its id follows from, and a voucher that covers what was charged."""

    config: bytes = wire(1, blob(CHANNEL_CONFIG_SIZE))
    contract: bytes = wire(2, _address)
    voucher: VoucherFields = wire(3, nested(VoucherFields))


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleReceipt:
    """One answer, with everything that a third party needs."""

    version: int = wire(1, uint(VERSION, least=VERSION))
    provider: bytes = wire(2, blob(PEER_ID_SIZE))
    statement: Signed = wire(3, nested(Signed))
    channel: VoucherProof | None = wire(4, nested(VoucherProof), optional=True)

    def encode(self) -> bytes:
        """What a file holds."""
        encoded = shape.encode(self)
        assert len(encoded) <= SALE_RECEIPT_SIZE_MAX
        return encoded

    def to_header(self) -> str | None:
        """A header's value; None where it is too long for one."""
        value = base64.b64encode(self.encode()).decode("ascii")
        return value if len(value) <= HEADER_MAX else None

    @classmethod
    def decode(cls, encoded: bytes) -> SaleReceipt:
        """Read a file; nothing in it is believed yet. Raises ``RemoteProtocolError(malformed_receipt)``."""
        if len(encoded) > SALE_RECEIPT_SIZE_MAX:
            raise _malformed(f"a receipt has at most {SALE_RECEIPT_SIZE_MAX} bytes")
        try:
            return shape.decode(cls, encoded)
        except RemoteProtocolError as error:
            raise _malformed(error.detail) from error


def is_sale_receipt(encoded: bytes) -> bool:
    """Whether the content of a receipt file is one of these, going by its version alone."""
    if len(encoded) > SALE_RECEIPT_SIZE_MAX:
        return False
    try:
        members = cbor.decode(encoded)
    except RemoteProtocolError:
        return False
    return isinstance(members, dict) and members.get(1) == VERSION


def sign_sale(key: PeerKey, statement: SaleStatement, channel: VoucherProof | None) -> SaleReceipt:
    """The provider's word for an answer."""
    assert (channel is None) == (statement.channel_id is None)
    body = shape.encode(statement)
    signed = Signed(body=body, signature=key.sign(_KIND, body))
    return SaleReceipt(version=VERSION, provider=key.peer_id, statement=signed, channel=channel)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSale:
    """What a receipt proves. Amounts in the token's smallest unit."""

    provider: PeerId
    statement: SaleStatement

    @property
    def root(self) -> Cid:
        return Cid(self.statement.selection.root)

    @property
    def scope(self) -> Scope:
        return Scope(self.statement.selection.scope)


def verify_sale(receipt: SaleReceipt) -> VerifiedSale:
    """Check every signature, and that the channel, its voucher and the statement speak of the same sale.

    Raises ``RemoteProtocolError``: ``bad_signature`` or ``unsupported_key``, ``malformed_receipt`` when the signed body cannot be read,
    ``bad_voucher``, and ``bad_receipt`` when the parts do not belong together.
    """
    provider = PeerId(receipt.provider)
    verify_peer(provider, _KIND, receipt.statement.body, receipt.statement.signature)
    try:
        statement = shape.decode(SaleStatement, receipt.statement.body)
    except RemoteProtocolError as error:
        raise _malformed(error.detail) from error
    rate = Rate(price_per_gib=statement.price_per_gib, flat_fee=statement.flat_fee)
    _require(statement.amount <= rate.owed(statement.n_bytes), "its amount is above what its bytes cost")
    _require((receipt.channel is None) == (statement.channel_id is None), "it names a channel and does not show it, or the reverse")
    if receipt.channel is not None:
        _verify_channel(receipt.channel, statement)
    return VerifiedSale(provider=provider, statement=statement)


def _verify_channel(proof: VoucherProof, statement: SaleStatement) -> None:
    assert statement.channel_id is not None
    assert statement.channel_amount is not None
    try:
        config = ChannelConfig.from_bytes(proof.config)
    except RemoteProtocolError as error:
        raise _malformed(error.detail) from error
    contract = EvmAddress(proof.contract)
    channel = channel_id(config, statement.chain_id, contract)
    _require(channel == statement.channel_id, "the channel is not the one that was paid from")
    parties = (config.payer, config.receiver, config.token)
    _require(parties == (statement.payer, statement.receiver, statement.token), "the channel is between others, or holds another token")
    _require(statement.amount <= statement.channel_amount, "the sale's amount is above that of its channel")
    voucher = proof.voucher
    _require(voucher.channel_id == channel, "the voucher is of another channel")
    verify_voucher(
        Voucher(channel_id=ChannelId(voucher.channel_id), amount=voucher.amount, signature=voucher.signature),
        config.payer_authorizer,
        settlement_domain(statement.chain_id, contract),
    )
    _require(voucher.amount >= statement.channel_amount, "the voucher does not cover what was charged")


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, why)


def _malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_RECEIPT, why)
