"""Tokens: shown once, kept as a digest, and nothing else passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval_client.gateway.tokens import PREFIX, Scope, Token, TokenId, find_token, new_token, parse_origin, parse_scopes

from retrieval.deal.records import TokenRecord
from retrieval.errors import ErrorCode, LocalProtocolError

NOW_MS = 1_800_000_000_000


def make(secret: bytes = bytes(32), *, scopes: Scope = Scope.READ, cap: int = 0, per_request: int = 0) -> tuple[str, TokenId, TokenRecord]:
    return new_token(secret, name="n", scopes=scopes, cap=cap, per_request=per_request, origins=(), now_ms=NOW_MS, expires_ms=NOW_MS + 1)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_token_is_found_by_its_own_text_only(secret: bytes, other: bytes) -> None:
    text, token_id, kept = make(secret)
    tokens = {token_id: Token.of(token_id, kept)}
    found = find_token(tokens, text, now_ms=NOW_MS)
    assert found is not None
    assert found.id == token_id
    assert (find_token(tokens, make(other)[0], now_ms=NOW_MS) is None) == (secret != other)


@given(
    st.text(max_size=64).map(lambda text: PREFIX + text) | st.text(alphabet="abcXYZ019-_=", min_size=43, max_size=43).map(PREFIX.__add__)
)
def test_texts_of_any_kind_find_nothing(text: str) -> None:
    _, token_id, kept = make(b"\xff" * 32)
    assert find_token({token_id: Token.of(token_id, kept)}, text, now_ms=NOW_MS) is None


def test_what_is_kept_does_not_hold_the_token() -> None:
    secret = bytes(range(32))
    text, token_id, kept = make(secret)
    assert secret not in (kept.digest, bytes(token_id))
    assert text not in repr(kept)
    assert kept.digest.startswith(token_id)


def test_two_digests_that_begin_alike_are_two_tokens() -> None:
    text, token_id, kept = make(b"\x01" * 32)
    forged = Token.of(token_id, TokenRecord(**{**_fields(kept), "digest": kept.digest[:8] + bytes(24)}))
    assert find_token({token_id: forged}, text, now_ms=NOW_MS) is None


def _fields(kept: TokenRecord) -> dict[str, object]:
    return {name: getattr(kept, name) for name in TokenRecord.__dataclass_fields__}


@pytest.mark.parametrize(("scopes", "cap"), [(Scope.SPEND, 0), (Scope.READ, 1), (Scope.RETRIEVE | Scope.READ, 5)])
def test_a_cap_and_the_scope_to_spend_go_together(scopes: Scope, cap: int) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        make(scopes=scopes, cap=cap)
    assert refused.value.code is ErrorCode.USAGE


def test_a_request_spends_no_more_than_the_token_may() -> None:
    _, _, kept = make(scopes=Scope.SPEND, cap=5, per_request=100)
    assert kept.per_request == 5


def test_scopes_are_read_as_they_are_written() -> None:
    assert parse_scopes("read, SPEND") == Scope.READ | Scope.SPEND
    assert (Scope.READ | Scope.RETRIEVE | Scope.SPEND).words == ["read", "retrieve", "spend"]
    for text in ("", "admin", "read,", "read;spend"):
        with pytest.raises(LocalProtocolError):
            parse_scopes(text)


def test_origins_are_as_browsers_write_them() -> None:
    assert parse_origin("https://App.example/") == "https://app.example"
    assert parse_origin("http://localhost:5173") == "http://localhost:5173"
    assert parse_origin("https://app.example:443") == "https://app.example"
    assert parse_origin("http://[::1]:80/") == "http://[::1]"
    assert parse_origin("https://app.example:80") == "https://app.example:80"
    for text in ("app.example", "*", "null", "https://app.example/path", "javascript://x", "https://a b", "https://" + "a" * 300):
        with pytest.raises(LocalProtocolError):
            parse_origin(text)
