"""Who submits what payers signed, and pays the gas: this provider's own key, or a facilitator of the operator's choice, by its URL.

One rule: whoever submits, money counts only when the chain shows it. Calls block; use a thread.
"""

from __future__ import annotations

import http.client
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import DIGEST_SIZE, EvmKey
from retrieval.payment.x402.batch import BatchPayment
from retrieval.payment.x402.exact import ExactPayment
from retrieval.payment.x402.fields import Fields, Json
from retrieval.payment.x402.offer import VERSION
from retrieval.payment.x402.payment import Payment
from retrieval.units import KIB

if TYPE_CHECKING:
    from retrieval.payment.evm import EvmChain

log: Final = logging.getLogger("retrieval.provider.http_credit")

ANSWER_MAX: Final = 64 * KIB  # bytes; an answer takes under one
TIMEOUT_S: Final = 130.0
"""A facilitator answers when the transaction is mined, as we wait for our own."""


class Facilitator(Protocol):
    """Raises ``RemoteProtocolError(transaction_failed)`` where the payment would not go through, and ``rpc_unavailable``."""

    def check(self, payment: Payment) -> None:
        """Whether it would go through now, without submitting it."""
        ...

    def settle(self, payment: Payment) -> bytes:
        """Submit it, and return the transaction's hash once it is mined."""
        ...


class OwnGas:
    """Submits with a key of this provider's."""

    def __init__(self, chain: EvmChain, key: EvmKey) -> None:
        self._chain: Final = chain
        self._key: Final = key

    def check(self, payment: Payment) -> None:
        if isinstance(payment.payload, ExactPayment):
            self._chain.check_exact(payment.payload)

    def settle(self, payment: Payment) -> bytes:
        try:
            match payment.payload:
                case ExactPayment() as transfer:
                    return self._chain.relay_exact(transfer, sender=self._key)
                case BatchPayment(config=config, deposit=deposit):
                    assert deposit is not None
                    return self._chain.relay_deposit(config, deposit, sender=self._key)
        except LocalProtocolError as error:
            if error.code is not ErrorCode.WALLET_INSUFFICIENT:
                raise
            log.error("nothing can be submitted for those who pay over HTTP: %s", error)
            raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "the provider cannot have it mined now") from error


class ByUrl:
    """Asks a facilitator over HTTP: ``POST /verify`` and ``POST /settle`` of x402 version 2.

    It is told what the client says it was asked for; we have judged the payment ourselves, and believe the chain alone about the outcome.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url: Final = url.rstrip("/")
        self._timeout_s: Final = timeout_s

    def check(self, payment: Payment) -> None:
        self._ask("verify", payment, lambda answer: answer.flag("isValid"), "invalidReason")

    def settle(self, payment: Payment) -> bytes:
        answer = self._ask("settle", payment, lambda answer: answer.flag("success"), "errorReason")
        return answer.blob("transaction", DIGEST_SIZE)

    def _ask(self, verb: str, payment: Payment, agrees: Callable[[Fields], bool], reason: str) -> Fields:
        members: Json = {"x402Version": VERSION, "paymentPayload": payment.to_json(), "paymentRequirements": payment.accepted.to_json()}
        request = urllib.request.Request(f"{self._url}/{verb}", json.dumps(members).encode(), {"Content-Type": "application/json"})
        try:
            answer = Fields(json.loads(self._send(request)), verb)
            if not agrees(answer):
                why = answer.text(reason) if answer.has(reason) else "without a reason"
                raise RemoteProtocolError(ErrorCode.TRANSACTION_FAILED, f"the facilitator refused it: {why}")
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, f"the facilitator: {type(error).__name__}") from error
        except RemoteProtocolError as error:
            if error.code is not ErrorCode.MALFORMED_PAYMENT:
                raise
            raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, f"the facilitator's answer: {error.detail}") from error
        return answer

    def _send(self, request: urllib.request.Request) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
                answer: bytes = response.read(ANSWER_MAX + 1)
        except urllib.error.HTTPError as refusal:  # some say no by status as well
            with refusal:
                answer = refusal.read(ANSWER_MAX + 1)
        if len(answer) > ANSWER_MAX:
            raise ValueError("the answer is too long")
        return answer
