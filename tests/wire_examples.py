"""One example of every message and signed body, with real keys, and the vectors made from them.

After a deliberate change of the format, ``python tests/wire_examples.py`` writes ``tests/vectors/messages.json`` anew; the diff is what
other implementations must follow.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any, Final

import golden

from retrieval.cid import RAW, cid_of
from retrieval.identity import EvmAddress, EvmKey, PeerKey
from retrieval.payment.channel import ChannelConfig, channel_id, session_domain, sign_session_key
from retrieval.payment.rate import Rate
from retrieval.payment.voucher import VoucherSigner
from retrieval.units import MIB
from retrieval.wire import messages as m
from retrieval.wire import shape
from retrieval.wire.framing import encode_frame
from retrieval.wire.receipt import NO_RECEIPT, Receipt, receipt_digest

CHAIN_ID: Final = 31337
CONTRACT: Final = EvmAddress(b"\x40" * 20)
NOW: Final = 1_800_000_000
PROVIDER: Final = PeerKey.from_seed(b"\x01" * 32)
CLIENT: Final = PeerKey.from_seed(b"\x02" * 32)
PAYER: Final = EvmKey.from_secret(b"\x03" * 32)
RECEIVER: Final = EvmKey.from_secret(b"\x04" * 32)

CONFIG: Final = ChannelConfig(
    payer=EvmAddress(b"\x11" * 20), payer_authorizer=PAYER.address, receiver=EvmAddress(b"\x12" * 20),
    receiver_authorizer=RECEIVER.address, token=EvmAddress(b"\x70" * 20), withdraw_delay_s=86_400, salt=bytes(32),
)  # fmt: skip
CHANNEL: Final = channel_id(CONFIG, CHAIN_ID, CONTRACT)
RATE: Final = Rate(price_per_gib=10_000)

CLIENT_HELLO: Final = m.Hello(
    minor_version=0,
    required=("xfer.blocks", "rcpt.1"),
    optional=("xfer.resume", "pay.free", "pay.evm-channel"),
    deals_max=16,
    agent="client/1",
)
PROVIDER_HELLO: Final = m.Hello(
    minor_version=0, required=("xfer.blocks", "rcpt.1"), optional=("xfer.resume",), deals_max=4, agent="provider/1 é"
)
SELECTION: Final = m.Selection(root=cid_of(RAW, b"content"), path=("docs", "Übersicht.txt"), scope=m.Scope.ALL)
VOUCHER: Final = m.VoucherFields(
    channel_id=CHANNEL, amount=1032, signature=VoucherSigner(PAYER, CHAIN_ID, CONTRACT).sign(CHANNEL, 1032).signature
)
KNOWN: Final = m.KnownChannel(channel_id=CHANNEL, balance=5_000_000, best=VOUCHER, reserved=40)
QUOTE: Final = m.Quote(
    version=1, query_id=7, selection_digest=SELECTION.digest,
    hellos_digest=m.hellos_digest(shape.encode(CLIENT_HELLO), shape.encode(PROVIDER_HELLO)), nonce=bytes(range(16)),
    client_peer=CLIENT.peer_id, cursor=0, price_per_gib=RATE.price_per_gib, flat_fee=RATE.flat_fee, n_bytes=100 * MIB, n_blocks=101,
    exact=True, amount_max=RATE.owed(100 * MIB), window_first=4 * MIB, window_max=64 * MIB, pay_interval=MIB, lifetime_s=3600,
    settlement=m.Settlement(
        chain_id=CHAIN_ID, contract=CONTRACT, token=CONFIG.token, collector=EvmAddress(b"\x50" * 20), receiver=CONFIG.receiver,
        receiver_authorizer=CONFIG.receiver_authorizer, withdraw_delay_min_s=3600, withdraw_delay_max_s=2_592_000, deposit_min=1,
        confirmations=12, decimals=6, symbol="USD",
    ),
    channel=KNOWN, block_size_max=MIB,
)  # fmt: skip
QUOTE_BODY: Final = shape.encode(QUOTE)
DEAL: Final = m.deal_id(QUOTE_BODY, CLIENT.peer_id)
ACCEPTANCE: Final = m.Acceptance(
    version=1, quote_digest=m.quote_digest(QUOTE_BODY), channel_id=CHANNEL, spend_max=QUOTE.amount_max, cursor=0, time=NOW
)
RECEIPT: Final = Receipt(
    deal_id=DEAL, root=bytes(range(32)), prev=NO_RECEIPT, n_bytes=100 * MIB, n_blocks=101, deal_amount=RATE.owed(100 * MIB),
    channel_amount=VOUCHER.amount, sequence=25, time=NOW + 60,
)  # fmt: skip
COMPLETION: Final = m.Completion(
    version=1,
    deal_id=DEAL,
    n_bytes=RECEIPT.n_bytes,
    n_blocks=RECEIPT.n_blocks,
    receipt_digest=receipt_digest(RECEIPT.encode()),
    complete=True,
)
SESSION_KEY: Final = m.SessionKeyFields(
    channel_id=CHANNEL, peer_id=CLIENT.peer_id, expires_at=NOW + 2_592_000,
    signature=sign_session_key(
        PAYER, session_domain(CHAIN_ID, CONTRACT), channel_id=CHANNEL, peer_id=CLIENT.peer_id, expires_at=NOW + 2_592_000
    ).signature,
)  # fmt: skip


def _signed(cls: type[Any], key: PeerKey, kind: str, body: bytes) -> Any:
    return cls(body=body, signature=key.sign(kind, body))


SIGNED_RECEIPT: Final = _signed(m.SignedReceipt, CLIENT, "receipt", RECEIPT.encode())

BODIES: Final[tuple[Any, ...]] = (SELECTION, QUOTE, ACCEPTANCE, COMPLETION)
"""What is named by digest or stands inside a signed message."""

MESSAGES: Final[tuple[m.Message, ...]] = (
    CLIENT_HELLO,
    PROVIDER_HELLO,
    m.Query(query_id=7, selection=SELECTION, cursor=0, price_per_gib_max=2**64),
    m.Query(query_id=8, cursor=0, deal_id=DEAL),
    _signed(m.SignedQuote, PROVIDER, "quote", QUOTE_BODY),
    _signed(m.Accept, CLIENT, "accept", shape.encode(ACCEPTANCE)),
    m.Payment(voucher=VOUCHER, receipts=(SIGNED_RECEIPT,)),
    m.Payment(receipts=(SIGNED_RECEIPT,)),
    _signed(m.SignedDone, PROVIDER, "done", shape.encode(COMPLETION)),
    m.Refuse(code=201, detail="", query_id=7),
    m.Refuse(code=403, detail="0 of 5 is free, a window costs 40", retry_after_s=30, deal_id=DEAL),
    m.Refuse(code=404, detail="its withdrawal has begun on chain", channel_id=CHANNEL),
    m.Refuse(code=302, detail="", quote_digest=m.quote_digest(QUOTE_BODY)),
    m.Cancel(deal_id=DEAL, code=511),
    m.Pause(deal_id=DEAL),
    m.Resume(deal_id=DEAL),
    m.Ping(nonce=0),
    m.Pong(nonce=2**53 - 1),
    m.Error(code=704, detail="", retry_after_s=60),
    m.Present(config=CONFIG.to_bytes(), session_key=SESSION_KEY),
    m.ChannelStatus(channel=KNOWN),
    m.ChannelStatus(channel=m.KnownChannel(channel_id=CHANNEL, balance=2**128 - 1, reserved=0)),
    m.TermsQuery(),
    m.Terms(settlement=QUOTE.settlement),
    m.Terms(),
)


def plain(message: Any) -> dict[str, Any]:
    """A message as JSON has it: bytes in hex, amounts in decimal strings, what is absent left out."""
    shown = {declared.name: (declared.metadata["kind"], getattr(message, declared.name)) for declared in fields(message)}
    return {name: str(value) if kind is shape.amount else _plain(value) for name, (kind, value) in shown.items() if value is not None}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return plain(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def vectors() -> dict[str, Any]:
    return {
        "about": "Every message of /retrieval/session/1.0.0 and every signed body. Bytes are hex, amounts decimal strings. "
        "The keys are Ed25519 seeds; a signature covers 'retrieval/<kind>/1', a zero byte and the body.",
        "seeds": {"provider": PROVIDER.seed.hex(), "client": CLIENT.seed.hex()},
        "messages": [
            {
                "name": type(message).__name__,
                "type": m.TYPE_OF_MESSAGE[type(message)],
                "fields": plain(message),
                "frame": encode_frame(message).hex(),
            }
            for message in MESSAGES
        ],
        "bodies": [{"name": type(body).__name__, "fields": plain(body), "encoded": shape.encode(body).hex()} for body in BODIES],
        "digests": {
            "selection": SELECTION.digest.hex(),
            "hellos": QUOTE.hellos_digest.hex(),
            "quote": m.quote_digest(QUOTE_BODY).hex(),
            "deal_id": DEAL.hex(),
        },
    }


if __name__ == "__main__":
    (golden.VECTORS / "messages.json").write_text(json.dumps(vectors(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
