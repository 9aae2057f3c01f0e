"""`journal check`: books that agree pass, and each way in which they do not is named."""

from __future__ import annotations

import io

import pytest
from content import content
from pair import Pair

from retrieval.dag.importer import import_stream
from retrieval.deal import fold, postings
from retrieval.deal.audit import check
from retrieval.deal.records import ChannelRecord, LineRecord, record
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.journal import Record
from retrieval.units import KIB


@pytest.fixture
def pair() -> Pair:
    """Both sides of a retrieval that was paid for."""
    pair = Pair()
    root = import_stream(pair.provider.store, io.BytesIO(content({"size": 300 * KIB, "fill": "counter"})), "file")
    pair.provider.store.pin(root)
    pair.run()
    pair.present()
    pair.accept(pair.query(root.cid))
    pair.run()
    pair.pass_time(1)
    return pair


def line_of(pair: Pair) -> LineRecord:
    line = fold.get(pair.client.storage, LineRecord, pair.channel_id)
    assert line is not None
    return line


def append(pair: Pair, *records: Record) -> None:
    pair.client.journal.append(records, 0)


def complaint(pair: Pair) -> str:
    with pytest.raises(LocalProtocolError) as broken:
        check(pair.client.storage)
    assert broken.value.code is ErrorCode.JOURNAL_BROKEN
    return broken.value.detail


def test_the_books_of_both_sides_agree_after_a_retrieval(pair: Pair) -> None:
    bought, sold = check(pair.client.storage), check(pair.provider.storage)
    assert bought.promised == sold.promised > 0
    assert (bought.n_deals, bought.n_open, bought.n_channels, bought.claimed) == (1, 0, 1, 0)


def test_a_sum_that_the_other_party_showed_to_be_another_is_right_with_its_correction(pair: Pair) -> None:
    before = line_of(pair).best
    assert before is not None
    correction = postings.correction(pair.channel_id, promised_before=before.amount, promised=0, now_ms=1)
    append(pair, correction, record(pair.channel_id, LineRecord(best=None, paid_bytes=0, written_off_bytes=0)))
    assert check(pair.client.storage).promised == 0


def test_a_voucher_that_the_deals_do_not_sum_to_is_named(pair: Pair) -> None:
    append(pair, record(pair.channel_id, LineRecord(best=None, paid_bytes=0, written_off_bytes=0)))
    assert "promises 0" in complaint(pair)


def test_a_voucher_that_somebody_else_signed_is_named(pair: Pair) -> None:
    line = line_of(pair)
    assert line.best is not None
    forged = type(line.best)(channel_id=line.best.channel_id, amount=line.best.amount, signature=bytes(65))
    append(pair, record(pair.channel_id, LineRecord(best=forged, paid_bytes=0, written_off_bytes=0)))
    assert "does not verify" in complaint(pair)


def test_more_claimed_than_was_promised_says_that_the_state_is_old(pair: Pair) -> None:
    channel = fold.get(pair.client.storage, ChannelRecord, pair.channel_id)
    assert channel is not None
    fields = {name: getattr(channel, name) for name in channel.__slots__} | {"total_claimed": channel.balance}
    append(pair, record(pair.channel_id, ChannelRecord(**fields)))
    assert "restored from an old copy" in complaint(pair)
