"""A voucher, a cumulative promise of money, and the typed data that settles it on chain.

The payer's authorizer signs ``Voucher``, the receiver's authorizer ``ClaimBatch`` and ``Refund``, the payer's wallet an EIP-3009
``ReceiveWithAuthorization`` to deposit. A voucher replaces all before it in its channel: what may be claimed is the largest amount
ever signed. Type strings are those of the x402 ``batch-settlement`` scheme for EVM; signatures are byte-identical to those of its
reference packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import DIGEST_SIZE, EVM_SIGNATURE_SIZE, EvmAddress, EvmKey, keccak256, recover_address
from retrieval.payment.channel import ChannelId, settlement_domain
from retrieval.payment.typed_data import Domain, address_word, type_hash, uint_word
from retrieval.units import AMOUNT_MAX

CLAIMS_MAX: Final = 100  # entries of one claim transaction, the size x402's own servers batch them in

_VOUCHER_TYPE: Final = "Voucher(bytes32 channelId,uint128 maxClaimableAmount)"
_REFUND_TYPE: Final = "Refund(bytes32 channelId,uint256 nonce,uint128 amount)"
_CLAIM_ENTRY_TYPE: Final = "ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
_CLAIM_BATCH_TYPE: Final = f"ClaimBatch(ClaimEntry[] claims){_CLAIM_ENTRY_TYPE}"
_RECEIVE_TYPE: Final = (
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """All of the channel up to ``amount`` (the token's smallest unit, over the channel's life) may be claimed."""

    channel_id: ChannelId
    amount: int
    signature: bytes

    def __post_init__(self) -> None:
        assert len(self.channel_id) == DIGEST_SIZE
        assert 0 <= self.amount <= AMOUNT_MAX
        assert len(self.signature) == EVM_SIGNATURE_SIZE


class VoucherSigner:
    """The authorizer's pen on one chain. It signs what it is told; the arithmetic above it decides the amount."""

    __slots__ = ("_domain", "_key")

    def __init__(self, key: EvmKey, chain_id: int, contract: EvmAddress) -> None:
        self._key: Final = key
        self._domain: Final = settlement_domain(chain_id, contract)

    @property
    def address(self) -> EvmAddress:
        return self._key.address

    def sign(self, channel_id: ChannelId, amount: int) -> Voucher:
        """Promise ``amount`` in total on this channel."""
        assert len(channel_id) == DIGEST_SIZE
        assert 0 <= amount <= AMOUNT_MAX
        signature = self._key.sign_digest(_voucher_digest(channel_id, amount, self._domain))
        return Voucher(channel_id=channel_id, amount=amount, signature=signature)


def verify_voucher(voucher: Voucher, authorizer: EvmAddress, domain: Domain) -> None:
    """Check that the channel's ``payer_authorizer`` signed this voucher for the contract of this settlement domain.

    Raises ``RemoteProtocolError(bad_voucher)``. Whether the amount is the right one is not judged here.
    """
    try:
        signer = recover_address(_voucher_digest(voucher.channel_id, voucher.amount, domain), voucher.signature)
    except RemoteProtocolError as error:
        raise RemoteProtocolError(ErrorCode.BAD_VOUCHER, error.detail) from error
    if signer != authorizer:
        raise RemoteProtocolError(ErrorCode.BAD_VOUCHER, "another key, channel or amount was signed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimEntry:
    """One channel's line in a batch of claims: of at most ``max_claimable``, ``total_claimed`` is taken over the channel's life."""

    channel_id: ChannelId
    max_claimable: int
    total_claimed: int

    def __post_init__(self) -> None:
        assert len(self.channel_id) == DIGEST_SIZE
        assert 0 <= self.total_claimed <= self.max_claimable <= AMOUNT_MAX


def claim_batch_digest(claims: Sequence[ClaimEntry], domain: Domain) -> bytes:
    """What the ``receiver_authorizer`` signs so that anybody may submit these claims (``claimWithSignature``)."""
    assert 0 < len(claims) <= CLAIMS_MAX
    entry_type = type_hash(_CLAIM_ENTRY_TYPE)
    entries = (
        keccak256(entry_type + claim.channel_id + uint_word(claim.max_claimable) + uint_word(claim.total_claimed)) for claim in claims
    )
    return domain.digest(type_hash(_CLAIM_BATCH_TYPE) + keccak256(b"".join(entries)))


def refund_digest(channel_id: ChannelId, nonce: int, amount: int, domain: Domain) -> bytes:
    """What the ``receiver_authorizer`` signs to give ``amount`` back to the payer without the withdraw delay."""
    assert len(channel_id) == DIGEST_SIZE
    assert 0 <= amount <= AMOUNT_MAX
    return domain.digest(type_hash(_REFUND_TYPE) + channel_id + uint_word(nonce) + uint_word(amount))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveAuthorization:
    """EIP-3009: ``payee`` may pull ``amount`` from ``payer`` once, after ``valid_after`` and before ``valid_before`` (Unix seconds)."""

    payer: EvmAddress
    payee: EvmAddress
    amount: int
    valid_after: int
    valid_before: int
    nonce: bytes

    def __post_init__(self) -> None:
        assert len(self.nonce) == DIGEST_SIZE
        assert self.valid_after < self.valid_before


def receive_with_authorization_digest(authorization: ReceiveAuthorization, token_domain: Domain) -> bytes:
    """What the payer signs so that the deposit collector may take the money. ``token_domain`` is the token's own."""
    words = (
        type_hash(_RECEIVE_TYPE),
        address_word(authorization.payer),
        address_word(authorization.payee),
        uint_word(authorization.amount),
        uint_word(authorization.valid_after),
        uint_word(authorization.valid_before),
        authorization.nonce,
    )
    return token_domain.digest(b"".join(words))


def _voucher_digest(channel_id: ChannelId, amount: int, domain: Domain) -> bytes:
    return domain.digest(type_hash(_VOUCHER_TYPE) + channel_id + uint_word(amount))
