"""Receipt files: what they prove, that no part can be altered or exchanged, and that two receipts of one sequence convict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pair import Pair

from retrieval.cid import RAW, cid_of
from retrieval.deal import fold
from retrieval.deal.records import ChannelRecord, DealRecord, LineRecord, OutcomeRecord, ReceiptRecord
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, EvmKey, PeerKey
from retrieval.payment.channel import ChannelConfig, ChannelId, channel_id, session_domain, sign_session_key
from retrieval.payment.rate import Rate
from retrieval.payment.receipt import (
    BUNDLE_SIZE_MAX,
    ChannelProof,
    ReceiptBundle,
    ReceiptStatus,
    VerifiedReceipt,
    is_equivocation,
    verify_bundle,
)
from retrieval.payment.voucher import VoucherSigner
from retrieval.units import GIB, MIB
from retrieval.wire import shape
from retrieval.wire.messages import (
    PATH_SEGMENT_MAX,
    PATH_SEGMENTS_MAX,
    Acceptance,
    Completion,
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
from retrieval.wire.receipt import NO_RECEIPT, Receipt, receipt_digest

CHAIN_ID = 31337
CONTRACT = EvmAddress(b"\x40" * 20)
NOW = 1_800_000_000
PROVIDER, CLIENT, STRANGER = (PeerKey.from_seed(bytes((n,)) * 32) for n in (1, 2, 3))
PAYER, RECEIVER, THIEF = (EvmKey.from_secret(bytes((n,)) * 32) for n in (4, 5, 6))
SELECTION = Selection(root=cid_of(RAW, b"content"), path=("docs", "letter.txt"), scope=Scope.ALL)
CONFIG = ChannelConfig(
    payer=PAYER.address, payer_authorizer=PAYER.address, receiver=RECEIVER.address, receiver_authorizer=RECEIVER.address,
    token=EvmAddress(b"\x70" * 20), withdraw_delay_s=86_400, salt=bytes(32),
)  # fmt: skip
CHANNEL = channel_id(CONFIG, CHAIN_ID, CONTRACT)
SETTLEMENT = Settlement(
    chain_id=CHAIN_ID, contract=CONTRACT, token=CONFIG.token, collector=EvmAddress(b"\x50" * 20), receiver=CONFIG.receiver,
    receiver_authorizer=CONFIG.receiver_authorizer, withdraw_delay_min_s=3600, withdraw_delay_max_s=2_592_000, deposit_min=1,
    confirmations=0, decimals=6, symbol="USD",
)  # fmt: skip
RATE = Rate(price_per_gib=10_000, flat_fee=7)
FREE = {"price_per_gib": 0, "flat_fee": 0, "amount_max": 0, "settlement": None}


@dataclass
class Pens:
    """Who signs what; a test hands one to somebody else."""

    quote: PeerKey = PROVIDER
    accept: PeerKey = CLIENT
    receipt: PeerKey = CLIENT
    done: PeerKey = PROVIDER
    session_key: EvmKey = PAYER
    voucher: EvmKey = PAYER


def bundle_of(
    *, pens: Pens | None = None, quote: dict[str, Any] | None = None, accept: dict[str, Any] | None = None,
    receipt: dict[str, Any] | None = None, done: dict[str, Any] | None = None, config: ChannelConfig = CONFIG,
    voucher: dict[str, Any] | None = None, key: dict[str, Any] | None = None, chain_id: int = CHAIN_ID,
) -> ReceiptBundle:  # fmt: skip
    """A deal over 64 of 100 MiB that everybody signed; each dict changes fields before they are signed."""
    pens = pens or Pens()
    channel = channel_id(config, chain_id, CONTRACT)
    offer = Quote(**{
        "version": 1, "query_id": 1, "selection_digest": SELECTION.digest, "hellos_digest": bytes(32), "nonce": bytes(16),
        "client_peer": CLIENT.peer_id, "cursor": 2, "price_per_gib": RATE.price_per_gib, "flat_fee": RATE.flat_fee,
        "n_bytes": 100 * MIB, "n_blocks": 100, "exact": True, "amount_max": RATE.owed(100 * MIB), "window_first": 4 * MIB,
        "window_max": 64 * MIB, "pay_interval": MIB, "lifetime_s": 3600, "settlement": SETTLEMENT, "block_size_max": MIB, **(quote or {}),
    })  # fmt: skip
    quote_body = shape.encode(offer)
    is_free = offer.settlement is None
    yes = Acceptance(**{
        "version": 1, "quote_digest": quote_digest(quote_body), "channel_id": None if is_free else channel, "spend_max": offer.amount_max,
        "cursor": 0, "time": NOW, **(accept or {}),
    })  # fmt: skip
    accept_body = shape.encode(yes)
    owed = Rate(price_per_gib=offer.price_per_gib, flat_fee=offer.flat_fee).owed(64 * MIB)
    word = Receipt(**{
        "deal_id": deal_id(quote_body, CLIENT.peer_id), "root": bytes(range(32)), "prev": NO_RECEIPT, "n_bytes": 64 * MIB, "n_blocks": 64,
        "deal_amount": owed, "channel_amount": owed + (0 if is_free else 1000), "sequence": 9, "time": NOW + 60, **(receipt or {}),
    })  # fmt: skip
    receipt_body = word.encode()
    completion = Completion(**{
        "version": 1, "deal_id": word.deal_id, "n_bytes": word.n_bytes, "n_blocks": word.n_blocks,
        "receipt_digest": receipt_digest(receipt_body), "complete": True, **(done or {}),
    })  # fmt: skip
    done_body = shape.encode(completion)
    proof = None
    if not is_free:
        domain = session_domain(chain_id, CONTRACT)
        fields = {"channel_id": channel, "peer_id": CLIENT.peer_id, "expires_at": NOW + 1, **(key or {})}
        session_key = sign_session_key(pens.session_key, domain, **fields)
        promise = {"channel_id": channel, "amount": word.channel_amount, **(voucher or {})}
        signed = VoucherSigner(pens.voucher, chain_id, CONTRACT).sign(**promise)
        proof = ChannelProof(
            config=config.to_bytes(), chain_id=chain_id, contract=CONTRACT,
            session_key=SessionKeyFields(**fields, signature=session_key.signature),
            voucher=VoucherFields(**promise, signature=signed.signature),
        )  # fmt: skip
    return ReceiptBundle(
        version=1, provider=PROVIDER.peer_id, client=CLIENT.peer_id, selection=SELECTION,
        quote=Signed(body=quote_body, signature=pens.quote.sign("quote", quote_body)),
        accept=Signed(body=accept_body, signature=pens.accept.sign("accept", accept_body)),
        receipt=SignedReceipt(body=receipt_body, signature=pens.receipt.sign("receipt", receipt_body)),
        done=Signed(body=done_body, signature=pens.done.sign("done", done_body)), channel=proof,
    )  # fmt: skip


BUNDLE = bundle_of()
ENCODED = BUNDLE.encode()
PROVEN = verify_bundle(BUNDLE)


def refusal(bundle: ReceiptBundle) -> tuple[ErrorCode, str]:
    with pytest.raises(RemoteProtocolError) as refused:
        verify_bundle(bundle)
    return refused.value.code, refused.value.detail


# what is proven


def test_a_whole_bundle_proves_what_its_parts_say():
    assert verify_bundle(BUNDLE) == VerifiedReceipt(
        status=ReceiptStatus.VERIFIED, deal_id=deal_id(BUNDLE.quote.body, CLIENT.peer_id), provider=PROVIDER.peer_id,
        client=CLIENT.peer_id, root=SELECTION.root, path=("docs", "letter.txt"), scope=Scope.ALL, cursor=2, n_bytes=64 * MIB, n_blocks=64,
        complete=True, rate=RATE, deal_amount=632, channel_id=CHANNEL, channel_amount=1632, settlement=SETTLEMENT, time=NOW + 60,
    )  # fmt: skip
    assert PROVEN.countersigned


def test_a_bundle_reads_back_from_its_file():
    assert ReceiptBundle.decode(ENCODED) == BUNDLE
    assert len(ENCODED) < 2048


def test_without_the_countersignature_only_the_client_signed():
    proven = verify_bundle(replace(BUNDLE, done=None))
    assert proven == replace(PROVEN, status=ReceiptStatus.CLIENT_SIGNED_ONLY, complete=False)
    assert proven.status.value == "client_signed_only"
    assert not proven.countersigned


def test_a_cancelled_deal_never_looks_complete():
    proven = verify_bundle(bundle_of(done={"complete": False}))
    assert proven.countersigned
    assert not proven.complete


def test_a_free_deal_needs_no_channel():
    proven = verify_bundle(ReceiptBundle.decode(bundle_of(quote=FREE).encode()))
    assert (proven.deal_amount, proven.channel_amount, proven.channel_id, proven.settlement) == (0, 0, None, None)


def test_a_later_voucher_covers_an_earlier_receipt():
    assert verify_bundle(bundle_of(voucher={"amount": 9_999})) == PROVEN


def test_the_longest_path_fits_a_file():
    selection = replace(SELECTION, path=("n" * PATH_SEGMENT_MAX,) * PATH_SEGMENTS_MAX)
    bundle = bundle_of(quote={"selection_digest": selection.digest})
    bundle = replace(bundle, selection=selection)
    assert verify_bundle(ReceiptBundle.decode(bundle.encode())).path == selection.path


def test_what_two_machines_agreed_is_proven_by_what_the_client_kept():
    pair = Pair()
    root, payload = cid_of(RAW, b"letter"), b"letter"
    pair.provider.store.put_many([(root, payload)])
    pair.run()
    pair.present()
    purchase = pair.accept(pair.query(root))
    pair.run()
    kept = {kind: fold.get(pair.client.storage, kind, purchase.deal_id) for kind in (DealRecord, ReceiptRecord, OutcomeRecord)}
    deal, channel = kept[DealRecord], fold.get(pair.client.storage, ChannelRecord, pair.channel_id)
    bundle = ReceiptBundle(
        version=1, provider=deal.peer, client=pair.client.key.peer_id, selection=deal.selection, quote=deal.quote, accept=deal.accept,
        receipt=kept[ReceiptRecord].receipt, done=kept[OutcomeRecord].done,
        channel=ChannelProof(
            config=channel.config, chain_id=channel.chain_id, contract=channel.contract, session_key=channel.session_key,
            voucher=fold.get(pair.client.storage, LineRecord, pair.channel_id).best,
        ),
    )  # fmt: skip
    proven = verify_bundle(ReceiptBundle.decode(bundle.encode()))
    assert (proven.root, proven.n_bytes, proven.complete, proven.countersigned) == (root, len(payload), True, True)


# what is refused


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_refused(bit):
    for at in range(len(ENCODED)):
        flipped = bytearray(ENCODED)
        flipped[at] ^= 1 << bit
        with pytest.raises(RemoteProtocolError):
            verify_bundle(ReceiptBundle.decode(bytes(flipped)))


@given(st.data())
def test_cut_or_overwritten_files_are_refused_with_a_registered_error(data):
    start = data.draw(st.integers(0, len(ENCODED) - 1))
    end = data.draw(st.integers(start, len(ENCODED)))
    encoded = ENCODED[:start] + data.draw(st.binary(max_size=64)) + ENCODED[end:]
    if encoded != ENCODED:
        with pytest.raises(RemoteProtocolError):
            verify_bundle(ReceiptBundle.decode(encoded))


@pytest.mark.parametrize(
    "encoded", [b"", b"\xff", ENCODED + b"\0", bytes(BUNDLE_SIZE_MAX + 1)], ids=["empty", "junk", "longer", "too long"]
)
def test_what_is_no_bundle_is_malformed(encoded):
    with pytest.raises(RemoteProtocolError) as refused:
        ReceiptBundle.decode(encoded)
    assert refused.value.code is ErrorCode.MALFORMED_RECEIPT


@pytest.mark.parametrize("field", ["quote", "accept", "receipt", "done"])
def test_each_body_is_signed_by_the_party_it_binds(field):
    assert refusal(bundle_of(pens=Pens(**{field: STRANGER})))[0] is ErrorCode.BAD_SIGNATURE


@pytest.mark.parametrize("field", ["quote", "accept", "receipt", "done"])
def test_a_signed_body_that_cannot_be_read_is_malformed(field):
    pen, body = getattr(Pens(), field), b"\xa0" * 90
    signed = replace(getattr(BUNDLE, field), body=body, signature=pen.sign(field, body))
    assert refusal(replace(BUNDLE, **{field: signed}))[0] is ErrorCode.MALFORMED_RECEIPT


@pytest.mark.parametrize(
    ("bundle", "why"),
    [
        (bundle_of(quote={"client_peer": STRANGER.peer_id}), "the quote was made for another client"),
        (replace(BUNDLE, selection=replace(SELECTION, path=())), "the quote was made for another selection"),
        (bundle_of(accept={"quote_digest": bytes(32)}), "another quote was accepted"),
        (bundle_of(receipt={"deal_id": bytes(16)}), "the receipt is of another deal"),
        (bundle_of(quote={"nonce": b"\1" * 16}, receipt={"deal_id": PROVEN.deal_id}), "the receipt is of another deal"),
        (bundle_of(receipt={"n_bytes": 100 * MIB + 1}), "it counts more than was quoted"),
        (bundle_of(receipt={"n_blocks": 101}), "it counts more than was quoted"),
        (bundle_of(receipt={"deal_amount": 631}), "its amount is not what its bytes cost"),
        (bundle_of(receipt={"deal_amount": 633}), "its amount is not what its bytes cost"),
        (bundle_of(accept={"spend_max": 631}), "its amount is above what the client accepted"),
        (replace(BUNDLE, channel=None), "the deal had a price, and the channel is missing"),
        (bundle_of(quote=FREE, receipt={"channel_amount": 1}), "the deal had a price, and the channel is missing"),
        (bundle_of(quote=FREE, accept={"channel_id": CHANNEL}), "the deal had a price, and the channel is missing"),
        (bundle_of(accept={"channel_id": bytes(32)}), "the channel is not the one that was accepted"),
        (bundle_of(accept={"channel_id": None}), "the channel is not the one that was accepted"),
        (replace(bundle_of(quote=FREE, accept={"channel_id": CHANNEL}), channel=BUNDLE.channel), "the quote names no chain"),
        (bundle_of(chain_id=1), "the channel is on another chain or contract"),
        (bundle_of(config=replace(CONFIG, token=EvmAddress(bytes(20)))), "the channel holds another token than was quoted"),
        (bundle_of(config=replace(CONFIG, receiver=THIEF.address)), "the channel pays another receiver than was quoted"),
        (
            bundle_of(config=replace(CONFIG, receiver_authorizer=THIEF.address)),
            "the channel names another receiver authorizer than was quoted",
        ),
        (bundle_of(voucher={"channel_id": ChannelId(bytes(32))}), "the voucher is of another channel"),
        (bundle_of(voucher={"amount": 1631}), "the voucher does not cover the receipt"),
        (bundle_of(receipt={"channel_amount": 631}), "the deal's amount is above that of its channel"),
        (bundle_of(done={"deal_id": bytes(16)}), "the countersignature is of another deal"),
        (bundle_of(done={"receipt_digest": bytes(32)}), "the countersignature is of another receipt"),
        (bundle_of(done={"n_bytes": 64 * MIB - 1}), "the provider counted otherwise than the client"),
        (bundle_of(done={"n_blocks": 65}), "the provider counted otherwise than the client"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parts_that_do_not_belong_together_are_refused_though_all_are_signed(bundle, why):
    assert refusal(bundle) == (ErrorCode.BAD_RECEIPT, why)


@pytest.mark.parametrize(
    "bundle",
    [
        bundle_of(pens=Pens(session_key=THIEF)),
        bundle_of(key={"peer_id": STRANGER.peer_id}),
        bundle_of(key={"channel_id": ChannelId(bytes(32))}),
        bundle_of(key={"expires_at": NOW}),
    ],
    ids=["another key", "another peer", "another channel", "expired when the deal was accepted"],
)
def test_the_client_must_have_been_let_spend_from_the_channel(bundle):
    assert refusal(bundle)[0] is ErrorCode.SESSION_KEY_INVALID


def test_a_voucher_of_another_key_is_refused():
    assert refusal(bundle_of(pens=Pens(voucher=THIEF)))[0] is ErrorCode.BAD_VOUCHER


def test_a_config_that_no_channel_can_have_is_malformed():
    assert BUNDLE.channel is not None
    config = CONFIG.to_bytes()
    broken = replace(BUNDLE.channel, config=config[:100] + bytes(5) + config[105:])
    assert refusal(replace(BUNDLE, channel=broken))[0] is ErrorCode.MALFORMED_RECEIPT


@given(price=st.integers(1, 2**100), fee=st.integers(0, 2**100), n_bytes=st.integers(1, 100 * MIB))
def test_every_price_is_checked_to_the_last_unit(price, fee, n_bytes):
    rate = Rate(price_per_gib=price, flat_fee=fee)
    owed = rate.owed(n_bytes)
    assert owed == fee + (n_bytes * price + GIB - 1) // GIB
    prices = {"price_per_gib": price, "flat_fee": fee, "amount_max": rate.owed(100 * MIB)}
    amounts = {"n_bytes": n_bytes, "deal_amount": owed, "channel_amount": owed}
    assert verify_bundle(bundle_of(quote=prices, receipt=amounts)).deal_amount == owed
    assert refusal(bundle_of(quote=prices, receipt={**amounts, "deal_amount": owed - 1}))[0] is ErrorCode.BAD_RECEIPT


# equivocation


def test_two_receipts_of_one_sequence_convict_their_signer():
    other = bundle_of(receipt={"n_blocks": 63}).receipt
    assert is_equivocation(CLIENT.peer_id, BUNDLE.receipt, other)


@pytest.mark.parametrize(
    "other",
    [BUNDLE.receipt, bundle_of(receipt={"sequence": 10}).receipt, bundle_of(receipt={"deal_id": bytes(16)}).receipt],
    ids=["the same receipt", "the next receipt", "another deal"],
)
def test_receipts_that_may_both_be_true_convict_nobody(other):
    assert not is_equivocation(CLIENT.peer_id, BUNDLE.receipt, other)


def test_a_receipt_of_somebody_else_convicts_nobody():
    forged = bundle_of(pens=Pens(receipt=STRANGER), receipt={"n_blocks": 63}).receipt
    with pytest.raises(RemoteProtocolError) as refused:
        is_equivocation(CLIENT.peer_id, BUNDLE.receipt, forged)
    assert refused.value.code is ErrorCode.BAD_SIGNATURE
