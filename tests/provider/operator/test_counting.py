"""What a node counts of its sessions."""

from __future__ import annotations

import logging

import pytest
from retrieval_provider.operator import metrics
from retrieval_provider.operator.counting import PAYMENT_CODES, count_answer, count_commit, count_event, count_turned_away, count_word
from retrieval_provider.operator.recent import KEPT_MAX, Recent
from retrieval_provider.operator.tally import Tally

from retrieval.deal.events import DealEnded, PaymentTaken, SaleAccepted, SessionFailed, SessionReady
from retrieval.deal.records import Outcome, PriceRecord, record
from retrieval.deal.step import Step
from retrieval.errors import DETAIL_MAX, ErrorCode, RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.wire.messages import DealId, Error, Message, Ping, Refuse, SignedDone, SignedQuote

DEAL = DealId(bytes(16))
PEER = PeerKey.generate().peer_id


@pytest.fixture
def tally() -> Tally:
    return Tally()


def refuse(code: ErrorCode) -> Refuse:
    return Refuse(code=code, detail="", retry_after_s=None, query_id=None, deal_id=bytes(16), channel_id=None, quote_digest=None)


def ended(outcome: Outcome, code: ErrorCode | None = None) -> DealEnded:
    return DealEnded(deal_id=DEAL, outcome=outcome, code=code, n_bytes=1, n_blocks=1, amount=1, detail="why")


def failed(code: ErrorCode, detail: str = "how") -> SessionFailed:
    return SessionFailed(code=code, detail=detail, retry_after_s=None, by_peer=False)


def test_events_are_counted_as_what_they_are(tally: Tally) -> None:
    paid = PaymentTaken(line_key=b"", deal_id=DEAL, n_bytes=5, amount=1, receipted_bytes=5)
    free = PaymentTaken(line_key=b"", deal_id=DEAL, n_bytes=5, amount=0, receipted_bytes=5)
    ready = SessionReady(capabilities=frozenset(), agent="")
    for event in (ready, SaleAccepted(deal_id=DEAL), paid, free, ended(Outcome.DONE), ended(Outcome.FAILED), failed(ErrorCode.CANCELLED)):
        count_event(tally, event)
    assert tally.values == {
        ("rm_sessions_total", ("served",)): 1,
        ("rm_offers_total", ("accepted",)): 1,
        ("rm_receipts_total", ("taken",)): 2,
        ("rm_vouchers_total", ("libp2p", "taken")): 1,
        ("rm_deals_total", ("done",)): 1,
        ("rm_deals_total", ("failed",)): 1,
    }


@pytest.mark.parametrize(
    ("message", "result"),
    [
        (SignedQuote(body=b"", signature=bytes(64)), "quoted"),
        (SignedDone(body=b"", signature=bytes(64)), "answered"),
        (refuse(ErrorCode.NOT_FOUND), "refused"),
        (refuse(ErrorCode.RATE_LIMITED), "refused"),
    ],
)
def test_an_answer_to_a_query_is_counted_and_timed(tally: Tally, message: Message, result: str) -> None:
    count_answer(tally, Step(messages=(message,)), 0.02)
    assert tally.sum_of(metrics.QUERIES, result) == tally.sum_of(metrics.QUERIES) == 1
    assert tally.sum_of(metrics.OFFERS, "made") == (result == "quoted")
    is_limited = isinstance(message, Refuse) and message.code == ErrorCode.RATE_LIMITED
    assert tally.sum_of(metrics.RATE_LIMITED, "query") == is_limited
    assert tally.histograms["rm_offer_seconds", ()].total == 0.02


@pytest.mark.parametrize("code", [ErrorCode.BAD_VOUCHER, ErrorCode.NOT_FOUND, ErrorCode.CHANNEL_CLOSING])
def test_a_refusal_is_counted_by_its_label_and_one_of_a_payment_as_that_too(tally: Tally, code: ErrorCode) -> None:
    count_word(tally, refuse(code))
    count_word(tally, Ping(nonce=b"12345678"))
    assert tally.sum_of(metrics.ERRORS, "libp2p", code.label) == tally.sum_of(metrics.ERRORS) == 1
    assert tally.sum_of(metrics.VOUCHERS, "libp2p", code.label) == (code in PAYMENT_CODES)


def test_a_clients_farewell_is_no_error(tally: Tally) -> None:
    count_word(tally, Error(code=0, detail="", retry_after_s=None))
    assert not tally.values


def test_who_is_turned_away_is_counted(tally: Tally) -> None:
    count_turned_away(tally, RemoteProtocolError(ErrorCode.TOO_MANY_SESSIONS))
    assert tally.sum_of(metrics.SESSIONS, "turned_away") == tally.sum_of(metrics.RATE_LIMITED, "session") == 1


def test_a_commit_is_timed_and_its_records_counted(tally: Tally) -> None:
    price = record(b"*", PriceRecord(price_per_gib=1, flat_fee=0))
    count_commit(tally, [price, price], 0.004)
    assert tally.sum_of(metrics.JOURNAL_RECORDS, "price") == 2
    assert sum(tally.histograms["rm_journal_commit_seconds", ()].buckets) == 1


def test_what_went_wrong_lately_is_remembered_and_bounded() -> None:
    recent = Recent()
    with recent.listening():
        logging.getLogger("retrieval.provider").warning("the disk of %s is slow", "x")
        logging.getLogger("retrieval.provider").info("nothing of note")
    logging.getLogger("retrieval.provider").warning("nobody listens any more")
    recent.tell(PEER, failed(ErrorCode.TRANSFER_TRUNCATED))
    recent.tell(PEER, failed(ErrorCode.BAD_SIGNATURE))
    recent.tell(PEER, ended(Outcome.DONE))
    recent.tell(PEER, ended(Outcome.FAILED, ErrorCode.NOT_FOUND))
    assert [each["kind"] for each in recent.found] == ["warning", "session", "deal"]
    assert recent.found[0]["says"] == "the disk of x is slow"
    for _ in range(2 * KEPT_MAX):
        recent.tell(PEER, failed(ErrorCode.BAD_SIGNATURE, "x" * 10_000))
    assert len(recent.found) == KEPT_MAX
    assert all(len(each["says"]) <= 2 * DETAIL_MAX for each in recent.found)
