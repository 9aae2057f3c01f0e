"""Places to wait: strangers, whom any web page can send, leave some for who has a token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from retrieval_client.gateway.errands import Permit
from retrieval_client.gateway.tokens import Scope, Token, TokenId
from retrieval_client.gateway.visit import RETRY_AFTER_S, Waiters

from retrieval.errors import ErrorCode, RemoteProtocolError

TOKEN = Token(id=TokenId(bytes(8)), digest=bytes(32), name="", scopes=Scope.READ, cap=0, per_request=0, origins=(), expires_ms=1 << 50)
STRANGER = Permit(token=None, origin="https://page.example", spend_max=0, providers=())
KNOWN = Permit(token=TOKEN, origin="", spend_max=0, providers=())


@pytest.fixture
def waiters() -> Iterator[Waiters]:
    waiters = Waiters(3, n_reserved=1)
    with closing(waiters.threads):
        yield waiters


def is_turned_away(waiters: Waiters, permit: Permit) -> bool:
    try:
        waiters.take(permit)
    except RemoteProtocolError as error:
        return (error.code, error.retry_after_s) == (ErrorCode.RATE_LIMITED, RETRY_AFTER_S)
    return False


def test_strangers_that_wait_leave_places_for_who_has_a_token(waiters: Waiters) -> None:
    assert [is_turned_away(waiters, STRANGER) for _ in range(3)] == [False, False, True]
    assert not is_turned_away(waiters, KNOWN)
    assert is_turned_away(waiters, KNOWN)


def test_who_has_a_token_may_have_every_place_and_gives_it_back_to_all(waiters: Waiters) -> None:
    assert not any(is_turned_away(waiters, KNOWN) for _ in range(3))
    waiters.give_back()
    assert is_turned_away(waiters, STRANGER), "the last one is reserved"
    waiters.give_back()
    assert not is_turned_away(waiters, STRANGER)
