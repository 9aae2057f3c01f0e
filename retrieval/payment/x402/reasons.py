"""The registry's errors in x402's words: clients of other makes act on these strings, above all on the one that asks them to resync."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from retrieval.errors import ErrorCode

from .offer import Scheme

_BATCH: Final = "invalid_batch_settlement_evm"
RESYNC: Final = f"{_BATCH}_cumulative_amount_mismatch"
"""What a corrective 402 says."""

_OF_BATCH: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.MALFORMED_PAYMENT: f"{_BATCH}_payload_type",
    ErrorCode.CHANNEL_UNACCEPTABLE: f"{_BATCH}_channel_id_mismatch",
    ErrorCode.CHANNEL_UNFUNDED: f"{_BATCH}_insufficient_balance",
    ErrorCode.CHANNEL_CLOSING: f"{_BATCH}_insufficient_balance",
    ErrorCode.BAD_VOUCHER: f"{_BATCH}_voucher_signature",
    ErrorCode.BAD_SIGNATURE: f"{_BATCH}_receive_authorization_signature",
    ErrorCode.STALE_VOUCHER: RESYNC,
    ErrorCode.VOUCHER_OVER_DEPOSIT: f"{_BATCH}_cumulative_exceeds_balance",
    ErrorCode.PAYMENT_IN_FLIGHT: f"{_BATCH}_channel_busy",
    ErrorCode.TRANSACTION_FAILED: f"{_BATCH}_deposit_transaction_failed",
    ErrorCode.RPC_UNAVAILABLE: f"{_BATCH}_rpc_read_failed",
}
_OF_EXACT: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.BAD_SIGNATURE: "invalid_exact_evm_payload_signature",
    ErrorCode.PAYMENT_MISMATCH: "invalid_exact_evm_payload_authorization_value_mismatch",
    ErrorCode.PAYMENT_USED: "invalid_exact_evm_nonce_already_used",
    ErrorCode.TRANSACTION_FAILED: "transaction_failed",
}


def reason_of(code: ErrorCode, scheme: Scheme | None) -> str:
    """What x402 calls an error of this scheme; our own label where it has no word for it. ``scheme`` is None before a payment was read."""
    words = {None: {}, Scheme.BATCH: _OF_BATCH, Scheme.EXACT: _OF_EXACT}[scheme]
    return words.get(code, code.label)
