"""Multiaddrs: what can be dialled, what can be listened on, and what limits count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.identity import PeerKey
from retrieval.transport.libp2p import address_prefix, parse_address, parse_listen
from retrieval.transport.libp2p.address import ADDRESS_TEXT_MAX, Endpoint

PEER = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
PEER_AS_CID = "bafzaajaiaejcal72gwuz2or47oyxxn6b3rkwdmmkrxgkjxzy3rqt5kczyn7lcm3l"  # the same, as the peer-ids specification writes both
RSA_PEER = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


@pytest.mark.parametrize("host", ["/ip4/192.0.2.7", "/ip6/2001:db8::7", "/dns/example.org", "/dns4/example.org", "/dns6/example.org"])
def test_an_address_reads_back_as_it_was_written(host: str) -> None:
    text = f"{host}/tcp/4001/p2p/{PEER}"

    address = parse_address(text)

    assert str(address) == text
    assert address.endpoint == Endpoint(family=host.split("/")[1], host=host.split("/")[2], port=4001)


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("/ip6/2001:DB8:0:0::7/tcp/04001", "/ip6/2001:db8::7/tcp/4001"),
        ("/dns/xn--mnchen-3ya.de/tcp/1", "/dns/xn--mnchen-3ya.de/tcp/1"),
        ("/dns/münchen.de/tcp/1", "/dns/münchen.de/tcp/1"),
    ],
)
def test_an_address_has_one_canonical_form(spelling: str, canonical: str) -> None:
    assert str(parse_address(f"{spelling}/p2p/{PEER}/")) == f"{canonical}/p2p/{PEER}"


def test_every_spelling_of_a_peer_gives_one_address() -> None:
    plain = parse_address(f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}")

    assert parse_address(f"/ip4/127.0.0.1/tcp/1/p2p/{PEER_AS_CID}") == plain


@given(st.binary(min_size=32, max_size=32))
def test_the_peer_of_an_address_is_the_identity_multihash_of_its_key(seed: bytes) -> None:
    peer_id = PeerKey.from_seed(seed).peer_id
    address = parse_address(f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}")

    text = str(type(address)(endpoint=address.endpoint, peer_id=peer_id))

    assert parse_address(text).peer_id == peer_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        PEER,
        f"/p2p/{PEER}",
        "/ip4/127.0.0.1/tcp/4001",
        f"/ip4/127.0.0.1/udp/4001/quic-v1/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/4001/ws/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/4001/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/65536/p2p/{PEER}",
        f"/ip4/127.0.0.256/tcp/1/p2p/{PEER}",
        f"/unix/run/socket/p2p/{PEER}",
        "/ip4/127.0.0.1/tcp/4001/p2p/nonsense",
        f"/ip4/127.0.0.01/tcp/1/p2p/{PEER}",
        f"/ip6/fe80::1%eth0/tcp/1/p2p/{PEER}",
        f"/ip6/127.0.0.1/tcp/1/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/+1/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp//p2p/{PEER}",
        f"/dns4/ex ample.org/tcp/1/p2p/{PEER}",
        f"/dns4/example..org/tcp/1/p2p/{PEER}",
        f"/dns4/{'a' * 64}.org/tcp/1/p2p/{PEER}",
        f"/dns4/::1/tcp/1/p2p/{PEER}",
        f"/dns/{'a' * ADDRESS_TEXT_MAX}/tcp/1/p2p/{PEER}",
        f"/dns/{'a' * 300}/tcp/1/p2p/{PEER}",
        "http://127.0.0.1:4001",
    ],
)
def test_what_cannot_be_dialled_is_a_usage_error(text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_address(text)

    assert caught.value.code is ErrorCode.USAGE


def test_a_peer_without_an_ed25519_key_is_named_as_such() -> None:
    with pytest.raises(RetrievalError) as caught:
        parse_address(f"/ip4/127.0.0.1/tcp/4001/p2p/{RSA_PEER}")

    assert caught.value.code is ErrorCode.UNSUPPORTED_KEY


@given(st.one_of(st.text(), st.lists(st.sampled_from(["ip4", "127.0.0.1", "tcp", "1", "p2p", PEER, "", "dns"])).map("/".join)))
def test_no_text_raises_anything_but_an_error_of_the_registry(text: str) -> None:
    for parse in (parse_address, parse_listen):
        try:
            parse(text)
        except RetrievalError:
            continue


def test_listening_takes_an_ip_and_a_port() -> None:
    assert str(parse_listen("/ip6/::1/tcp/0")) == "/ip6/::1/tcp/0"


@pytest.mark.parametrize(
    "text", ["/dns/localhost/tcp/0", "/ip4/127.0.0.1", f"/ip4/127.0.0.1/tcp/0/p2p/{PEER}", "/ip4/127.0.0.1/udp/0", "/tcp/1/ip4/127.0.0.1"]
)
def test_listening_takes_nothing_else(text: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse_listen(text)

    assert caught.value.code is ErrorCode.USAGE


def test_limits_count_an_ipv4_address_and_an_ipv6_subnet() -> None:
    assert address_prefix("192.0.2.7") == "192.0.2.7"
    assert address_prefix("::ffff:192.0.2.7") == "192.0.2.7"
    assert address_prefix("2001:db8:1:2:3:4:5:6") == address_prefix("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert address_prefix("fe80::1%eth0") == "fe80::/64"
