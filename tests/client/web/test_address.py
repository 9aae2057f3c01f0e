"""Where a gateway is: what is read alike, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval_client.web.address import GatewayAddress, is_gateway, parse_gateway, provider_of

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.transport.libp2p import PeerAddress

PEER = "/ip4/127.0.0.1/tcp/4801/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"


@pytest.mark.parametrize(
    ("text", "url", "port"),
    [
        ("http://127.0.0.1:4802", "http://127.0.0.1:4802", 4802),
        ("HTTP://Gateway.Example/", "http://gateway.example", 80),
        ("https://gateway.example/ipfs-gw/", "https://gateway.example/ipfs-gw", 443),
        ("http://[::1]:8080", "http://[::1]:8080", 8080),
        ("/ip4/127.0.0.1/tcp/4802/http", "http://127.0.0.1:4802", 4802),
        ("/ip6/::1/tcp/443/tls/http", "https://[::1]", 443),
        ("/dns4/Gateway.Example/tcp/443/https", "https://gateway.example", 443),
    ],
)
def test_a_gateway_is_named_by_url_or_multiaddr(text: str, url: str, port: int) -> None:
    address = parse_gateway(text)
    assert (str(address), address.port) == (url, port)
    assert parse_gateway(url) == address


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "ftp://gateway.example",
        "http://user:word@gateway.example",
        "http://gateway.example?x=1",
        "http://gateway.example/#x",
        "http://gateway.example:0",
        "http://gateway.example:99999",
        "http://gateway.example/a b",
        "http://gateway.example/%2e%2e",
        "http://gate\r\nway.example",
        "/ip4/127.0.0.1/udp/4802/http",
        "/ip4/300.0.0.1/tcp/1/http",
        "/dns4/gateway.example/tcp/x/http",
        "/http",
        "http://" + "a" * 600,
    ],
)
def test_what_names_more_or_less_than_a_server_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_gateway(text)
    assert caught.value.code is ErrorCode.USAGE


def test_the_form_of_an_address_tells_gateways_from_peers() -> None:
    assert isinstance(provider_of(PEER), PeerAddress)
    assert isinstance(provider_of("https://gateway.example"), GatewayAddress)
    assert is_gateway("/dns4/x/tcp/443/https")
    assert not is_gateway(PEER)


@given(st.text(max_size=80) | st.text(max_size=40).map(lambda text: f"http://{text}"))
def test_any_text_is_an_address_that_says_itself_or_is_refused(text: str) -> None:
    address = None
    with suppress(LocalProtocolError):
        address = parse_gateway(text)
    assert address is None or parse_gateway(str(address)) == address
