"""What the server did with a payment. It leaves with the head of the answer, before the bytes it paid for.

``charged`` is the most that these bytes will have cost. Where the answer is cut short less is charged, the client does not hear of it
here, and its next payment meets a corrective 402.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retrieval.identity import DIGEST_SIZE, EvmAddress, format_address

from .fields import Json, malformed, read_header, show_hex, show_network, write_header
from .offer import ChannelSight

PAYMENT_RESPONSE: Final = "PAYMENT-RESPONSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """The content of ``PAYMENT-RESPONSE`` where the payment was taken."""

    payer: EvmAddress
    chain_id: int
    charged: int
    transaction: bytes = b""
    """The hash of the transfer or deposit that this request caused, if it caused one."""
    channel: ChannelSight | None = None
    """In ``batch-settlement`` only: the channel with this charge in it."""
    left: int | None = None
    """In ``exact`` only: what of the payer's earlier transfers is kept for later requests."""

    def __post_init__(self) -> None:
        assert len(self.transaction) in (0, DIGEST_SIZE)

    def to_json(self) -> Json:
        extra: Json = {"chargedAmount": str(self.charged)}
        if self.channel is not None:
            extra["channelState"] = self.channel.channel_state()
        if self.left is not None:
            extra["creditLeft"] = str(self.left)
        return {
            "success": True,
            "payer": format_address(self.payer),
            "transaction": show_hex(self.transaction) if self.transaction else "",
            "network": show_network(self.chain_id),
            "amount": str(self.charged),
            "extra": extra,
        }

    def to_header(self) -> str:
        return write_header(self.to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """What a client reads out of it: how much, and how much over the channel's life. The rest is the server's word for what it can see."""

    charged: int
    charged_total: int | None

    @classmethod
    def from_header(cls, value: str) -> Charged:
        """Raises ``RemoteProtocolError(malformed_payment)``, also where the payment was not taken."""
        message = read_header(value, PAYMENT_RESPONSE)
        if not message.flag("success"):
            raise malformed("the server says that the payment failed")
        extra = message.fields("extra")
        state = extra.fields("channelState") if extra.has("channelState") else None
        return cls(
            charged=extra.amount("chargedAmount"),
            charged_total=None if state is None else state.amount("chargedCumulativeAmount"),
        )
