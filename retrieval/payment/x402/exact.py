"""The payload of ``exact``: a transfer of the token that the payer signed and anybody may submit (EIP-3009).

The transfer's nonce is used up on chain with the transfer, so that it moves money once at most, whoever submits it and how often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import DIGEST_SIZE, EVM_SIGNATURE_SIZE, EvmAddress, EvmKey, format_address, keccak256, recover_address
from retrieval.payment.typed_data import UINT256_MAX, Domain, address_word, type_hash, uint_word
from retrieval.units import AMOUNT_MAX

from .fields import Fields, Json, malformed, show_hex

VALID_BEFORE_MARGIN_S: Final = 6  # that must be left when it is seen: x402's own margin, a few blocks of a fast chain

_TRANSFER_TYPE: Final = (
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactPayment:
    """One payload. Nothing in it is believed yet. Times in Unix seconds."""

    payer: EvmAddress
    payee: EvmAddress
    amount: int
    valid_after: int
    valid_before: int
    nonce: bytes
    signature: bytes

    def __post_init__(self) -> None:
        assert 0 < self.amount <= AMOUNT_MAX
        assert 0 <= self.valid_after < self.valid_before <= UINT256_MAX
        assert len(self.nonce) == DIGEST_SIZE
        assert len(self.signature) == EVM_SIGNATURE_SIZE

    @property
    def id(self) -> bytes:
        """32 bytes that name the transfer, as the token does: by its payer and nonce."""
        return keccak256(self.payer + self.nonce)

    def to_json(self) -> Json:
        return {
            "signature": show_hex(self.signature),
            "authorization": {
                "from": format_address(self.payer),
                "to": format_address(self.payee),
                "value": str(self.amount),
                "validAfter": str(self.valid_after),
                "validBefore": str(self.valid_before),
                "nonce": show_hex(self.nonce),
            },
        }

    @classmethod
    def read(cls, payload: Fields) -> ExactPayment:
        """Raises ``RemoteProtocolError(malformed_payment)``."""
        signed = payload.fields("authorization")
        amount = signed.amount("value")
        valid_after, valid_before = signed.decimal("validAfter"), signed.decimal("validBefore")
        if amount == 0 or valid_after >= valid_before:
            raise malformed("the transfer is of nothing, or never valid")
        return cls(
            payer=signed.address("from"),
            payee=signed.address("to"),
            amount=amount,
            valid_after=valid_after,
            valid_before=valid_before,
            nonce=signed.blob("nonce", DIGEST_SIZE),
            signature=payload.blob("signature", EVM_SIGNATURE_SIZE),
        )


def sign_exact(
    payer: EvmKey, payee: EvmAddress, amount: int, *, token_domain: Domain, nonce: bytes, valid_before: int, valid_after: int = 0
) -> ExactPayment:
    """Let anybody move ``amount`` from the payer to ``payee``, once, before ``valid_before`` (Unix seconds)."""
    digest = _digest(payer.address, payee, amount, valid_after, valid_before, nonce, token_domain)
    return ExactPayment(
        payer=payer.address,
        payee=payee,
        amount=amount,
        valid_after=valid_after,
        valid_before=valid_before,
        nonce=nonce,
        signature=payer.sign_digest(digest),
    )


def verify_exact(payment: ExactPayment, payee: EvmAddress, *, token_domain: Domain, now_s: int) -> None:
    """Check that its payer signed it for ``payee``, and that it can be submitted now.

    Raises ``RemoteProtocolError``: ``payment_mismatch``, then ``bad_signature``.
    """
    if payment.payee != payee:
        raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, "the transfer goes to another receiver")
    if payment.valid_after > now_s:
        raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, "the transfer is not valid yet")
    if payment.valid_before < now_s + VALID_BEFORE_MARGIN_S:
        raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, "the transfer is valid no longer")
    digest = _digest(payment.payer, payment.payee, payment.amount, payment.valid_after, payment.valid_before, payment.nonce, token_domain)
    if recover_address(digest, payment.signature) != payment.payer:
        raise RemoteProtocolError(ErrorCode.BAD_SIGNATURE, "its payer did not sign this transfer")


def _digest(
    payer: EvmAddress, payee: EvmAddress, amount: int, valid_after: int, valid_before: int, nonce: bytes, token_domain: Domain
) -> bytes:
    words = (type_hash(_TRANSFER_TYPE), address_word(payer), address_word(payee), uint_word(amount), uint_word(valid_after))
    return token_domain.digest(b"".join((*words, uint_word(valid_before), nonce)))
