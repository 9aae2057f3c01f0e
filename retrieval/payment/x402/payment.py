"""The header by which a client pays: the way it chose out of ``accepts``, and that scheme's payload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from .batch import BatchPayment
from .exact import ExactPayment
from .fields import Json, malformed, read_header, write_header
from .offer import VERSION, Requirements, Scheme

PAYMENT_SIGNATURE: Final = "PAYMENT-SIGNATURE"

Payload: TypeAlias = BatchPayment | ExactPayment


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """The content of ``PAYMENT-SIGNATURE``. Nothing in it is believed yet, least of all what it says it was asked for."""

    accepted: Requirements
    payload: Payload

    def __post_init__(self) -> None:
        assert (self.accepted.scheme is Scheme.BATCH) == isinstance(self.payload, BatchPayment)

    def to_json(self) -> Json:
        return {"x402Version": VERSION, "accepted": self.accepted.to_json(), "payload": self.payload.to_json()}

    def to_header(self) -> str:
        return write_header(self.to_json())

    @classmethod
    def from_header(cls, value: str) -> Payment:
        """Raises ``RemoteProtocolError(malformed_payment)``."""
        message = read_header(value, PAYMENT_SIGNATURE)
        if message.integer("x402Version") != VERSION:
            raise malformed(f"x402Version is not {VERSION}")
        accepted, payload = Requirements.read(message.fields("accepted")), message.fields("payload")
        match accepted.scheme:
            case Scheme.BATCH:
                return cls(accepted=accepted, payload=BatchPayment.read(payload))
            case Scheme.EXACT:
                return cls(accepted=accepted, payload=ExactPayment.read(payload))
