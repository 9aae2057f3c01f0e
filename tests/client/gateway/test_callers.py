"""What is believed of a request before anything is done for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval_client.gateway.callers import (
    Caller,
    allowed_hosts,
    check_host,
    read_caller,
    read_permit,
    require_loopback,
    split_providers,
)
from retrieval_client.gateway.tokens import Scope, Token, TokenId, new_token
from retrieval_client.web.address import provider_of

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.gateway.ask import QUERY_FIELDS_MAX

NOW_MS = 1_800_000_000_000
HOSTS = allowed_hosts(["127.0.0.1", "localhost", "[::1]"], 4803)
PEER = "/ip4/192.0.2.1/tcp/4801/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"
OTHER = "https://gateway.example"


def issued(
    scopes: Scope = Scope.READ | Scope.RETRIEVE | Scope.SPEND,
    *,
    origins: tuple[str, ...] = (),
    lifetime_ms: int = 1000,
    per_request: int = 50,
) -> tuple[str, dict[TokenId, Token]]:
    cap = 100 if Scope.SPEND in scopes else 0
    text, token_id, kept = new_token(
        bytes(32), name="", scopes=scopes, cap=cap, per_request=per_request, origins=origins, now_ms=NOW_MS, expires_ms=NOW_MS + lifetime_ms
    )
    return text, {token_id: Token.of(token_id, kept)}


def caller(scopes: Scope | None) -> Caller:
    if scopes is None:
        return Caller(token=None, origin="")
    text, tokens = issued(scopes)
    return read_caller({"authorization": f"Bearer {text}"}, tokens, now_ms=NOW_MS)


@pytest.mark.parametrize("host", ["127.0.0.1:4803", "localhost:4803", "LOCALHOST:4803", "[::1]:4803"])
def test_a_loopback_name_with_our_port_is_answered(host: str) -> None:
    check_host([host], HOSTS)


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["127.0.0.1"],
        ["127.0.0.1:4804"],
        ["127.0.0.1:4803", "127.0.0.1:4803"],
        ["evil.example:4803"],
        ["127.0.0.1.evil.example:4803"],
        ["localhost:4803.evil.example"],
        ["evil.example@127.0.0.1:4803"],
        ["127.1:4803"],
        ["2130706433:4803"],
        ["0.0.0.0:4803"],
        ["[::ffff:127.0.0.1]:4803"],
    ],
)
def test_any_other_host_is_misdirected(hosts: list[str]) -> None:
    """A page whose name was made to lead here after it was loaded sends its own name."""
    with pytest.raises(RemoteProtocolError) as refused:
        check_host(hosts, HOSTS)
    assert refused.value.code is ErrorCode.MISDIRECTED_REQUEST


def test_the_port_that_browsers_leave_out_may_be_left_out() -> None:
    assert "localhost" in allowed_hosts(["localhost"], 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_addresses_need_no_leave(host: str) -> None:
    require_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
def test_other_addresses_are_listened_on_only_if_said_so(host: str) -> None:
    with pytest.raises(LocalProtocolError, match="allow-remote"):
        require_loopback(host)


def test_a_token_is_known_by_its_text() -> None:
    text, tokens = issued()
    for said in (f"Bearer {text}", f"bearer  {text}", f" Bearer {text} "):
        assert read_caller({"authorization": said}, tokens, now_ms=NOW_MS).token is not None


@pytest.mark.parametrize("said", ["", "Bearer", "Bearer ", "Basic abc", "Bearer rmt_", "Bearer rmt_" + "A" * 42, "Bearer rmt_" + "é" * 43])
def test_what_is_no_token_is_refused_and_not_taken_for_none(said: str) -> None:
    _, tokens = issued()
    with pytest.raises(RemoteProtocolError) as refused:
        read_caller({"authorization": said}, tokens, now_ms=NOW_MS)
    assert refused.value.code is ErrorCode.UNAUTHORIZED


@given(st.text(max_size=600))
def test_whatever_is_said_in_place_of_a_token_gets_the_registered_error(said: str) -> None:
    _, tokens = issued()
    with pytest.raises(RemoteProtocolError):
        read_caller({"authorization": said}, tokens, now_ms=NOW_MS)


def test_a_token_ends() -> None:
    text, tokens = issued(lifetime_ms=1000)
    with pytest.raises(RemoteProtocolError):
        read_caller({"authorization": f"Bearer {text}"}, tokens, now_ms=NOW_MS + 1000)
    with pytest.raises(RemoteProtocolError):
        read_caller({"authorization": f"Bearer {text}"}, {}, now_ms=NOW_MS)


def test_a_token_for_one_page_is_good_for_no_other() -> None:
    text, tokens = issued(origins=("https://app.example",))
    said = {"authorization": f"Bearer {text}"}
    assert read_caller({**said, "origin": "https://app.example"}, tokens, now_ms=NOW_MS).token is not None
    for origin in ("https://evil.example", "http://app.example", "null", "https://app.example.evil.example"):
        with pytest.raises(RemoteProtocolError) as refused:
            read_caller({**said, "origin": origin}, tokens, now_ms=NOW_MS)
        assert refused.value.code is ErrorCode.FORBIDDEN
    with pytest.raises(RemoteProtocolError):
        read_caller(said, tokens, now_ms=NOW_MS)


@pytest.mark.parametrize("written", ["https://app.example", "HTTPS://App.Example", "https://app.example:443", " https://app.example "])
def test_one_page_has_one_origin_however_it_is_written(written: str) -> None:
    assert read_caller({"origin": written}, {}, now_ms=NOW_MS).origin == "https://app.example"


def test_an_origin_alone_grants_nothing() -> None:
    _, tokens = issued(origins=("https://app.example",))
    assert read_caller({"origin": "https://app.example"}, tokens, now_ms=NOW_MS).token is None


def test_a_scope_that_is_lacking_is_named() -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        caller(Scope.RETRIEVE).require(Scope.READ)
    assert (refused.value.code, "read" in refused.value.detail) == (ErrorCode.FORBIDDEN, True)
    with pytest.raises(RemoteProtocolError) as refused:
        caller(None).require(Scope.READ)
    assert refused.value.code is ErrorCode.UNAUTHORIZED


def test_providers_are_taken_out_of_the_address() -> None:
    target, named = split_providers("/ipfs/bafy?format=car&provider=%2Fip4%2F1&x=1&provider=https://a")
    assert (target, named) == ("/ipfs/bafy?format=car&x=1", ("/ip4/1", "https://a"))
    assert split_providers("/ipfs/bafy?provider=a&provider=a") == ("/ipfs/bafy", ("a",))
    assert split_providers("/ipfs/bafy") == ("/ipfs/bafy", ())


@pytest.mark.parametrize("query", ["&".join(["provider=a"] * 5), "&".join(["x=1"] * (QUERY_FIELDS_MAX + 1)), "provider=%ff"])
def test_too_many_of_them_are_refused(query: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        split_providers(f"/ipfs/bafy?{query}")
    assert refused.value.code is ErrorCode.MALFORMED_REQUEST


@given(st.text(max_size=200))
def test_whatever_stands_in_the_query_is_split_or_refused(query: str) -> None:
    try:
        target, _ = split_providers(f"/ipfs/bafy?{query}")
    except RemoteProtocolError:
        return
    assert target.startswith("/ipfs/bafy")


def test_a_page_has_nobody_dialled_that_the_configuration_does_not_name() -> None:
    configured = [provider_of(PEER)]
    assert read_permit(caller(None), {}, [PEER], configured, 10).providers == (provider_of(PEER),)
    for named in (OTHER, "http://169.254.169.254", "http://127.0.0.1:8545"):
        with pytest.raises(RemoteProtocolError) as refused:
            read_permit(caller(None), {}, [named], configured, 10)
        assert refused.value.code is ErrorCode.UNAUTHORIZED
    with pytest.raises(RemoteProtocolError) as refused:
        read_permit(caller(Scope.READ), {}, [OTHER], configured, 10)
    assert refused.value.code is ErrorCode.FORBIDDEN
    assert read_permit(caller(Scope.RETRIEVE), {}, [OTHER], configured, 10).providers == (provider_of(OTHER),)


@pytest.mark.parametrize("named", ["", "x", "/ip4/1", "file:///etc/passwd", "http://user@host", "http://host:0", "/" * 9000])
def test_what_is_no_provider_is_refused(named: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        read_permit(caller(Scope.RETRIEVE), {}, [named], [], 10)
    assert refused.value.code is ErrorCode.MALFORMED_REQUEST


def test_a_request_can_lower_its_limit_and_not_raise_it() -> None:
    buyer = caller(Scope.SPEND)  # at most 50 a request
    assert read_permit(buyer, {}, [], [], 1000).spend_max == 50
    assert read_permit(buyer, {}, [], [], 40).spend_max == 40
    assert read_permit(buyer, {"retrieval-max-spend": "30"}, [], [], 40).spend_max == 30
    assert read_permit(buyer, {"retrieval-max-spend": "9999"}, [], [], 40).spend_max == 40
    assert read_permit(buyer, {"retrieval-max-spend": "0"}, [], [], 40).spend_max == 0
    assert read_permit(caller(None), {"retrieval-max-spend": "9999"}, [], [], 40).spend_max == 0
    assert read_permit(caller(Scope.READ), {"retrieval-max-spend": "9999"}, [], [], 40).spend_max == 0
    for said in ("-1", "1.5", "", "0x10", "1 USD", "٣", "9" * 40):
        with pytest.raises(RemoteProtocolError):
            read_permit(buyer, {"retrieval-max-spend": said}, [], [], 40)
