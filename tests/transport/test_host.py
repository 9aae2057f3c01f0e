"""Hosts on loopback: dialling, serving, faults, and py-libp2p's own hosts on the other side."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pytest
import trio
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair as create_ed25519_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.rsa import create_new_key_pair as create_rsa_key_pair
from libp2p.crypto.secp256k1 import create_new_key_pair as create_secp256k1_key_pair
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr
from trio.testing import MockClock, trio_test

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.identity import PeerKey, format_peer_id
from retrieval.transport.libp2p import PROTOCOL_ID, Host, Stream, open_host, parse_address
from retrieval.transport.libp2p.connection import CLOSE_GRACE_S, IDLE_TIMEOUT_S, LINGER_S
from retrieval.transport.libp2p.host import DIALED_WINDOW, HANDSHAKE_TIMEOUT_S, HANDSHAKES_PER_PREFIX_MAX, StreamHandler
from retrieval.transport.libp2p.negotiation import confirm, proposal
from retrieval.transport.libp2p.upgrade import Identity
from retrieval.transport.libp2p.yamux import STREAMS_MAX, Muxer, Remote

SERVER_SEED = b"s" * 32
CLIENT_SEED = b"c" * 32
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
T = TypeVar("T")
PATIENCE_S = 10  # a test that waits this long has failed; none waits for it to pass


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some(64 * 1024):
        await stream.send_all(data)


async def return_at_once(stream: Stream) -> None: ...


async def ignore(stream: Stream) -> None:
    await trio.sleep_forever()


async def ask(host: Host, address: str, question: bytes = b"still there?") -> bytes:
    """One short conversation with an echoing peer."""
    stream = await host.dial(address)
    await stream.send_all(question)
    await stream.close()
    answer = bytearray()
    while part := await stream.receive_some(1024):
        answer += part
    return bytes(answer)


async def until_it_works(verb: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await verb()
        except RemoteProtocolError:
            await trio.sleep(0.01)


async def open_tcp(host: Host) -> trio.SocketStream:
    endpoint = parse_address(host.addresses[0]).endpoint
    return await trio.open_tcp_stream(endpoint.host, endpoint.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    server: Host
    client: Host
    address: str


@asynccontextmanager
async def pair_of_hosts(handler: StreamHandler) -> AsyncIterator[Pair]:
    async with open_host(SERVER_SEED, LOOPBACK) as server, open_host(CLIENT_SEED) as client:
        server.serve(handler)
        yield Pair(server=server, client=client, address=server.addresses[0])


async def dial_fails(host: Host, address: str, code: ErrorCode = ErrorCode.DIAL_FAILED, timeout_s: float = 5) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        await host.dial(address, timeout_s=timeout_s)
    assert caught.value.code is code
    return caught.value.detail


@trio_test
async def test_both_sides_know_who_the_other_is() -> None:
    seen: list[Stream] = []

    async def remember(stream: Stream) -> None:
        seen.append(stream)

    async with pair_of_hosts(remember) as pair:
        stream = await pair.client.dial(pair.address)
        assert await stream.receive_some(1) == b""

        assert stream.peer_id == pair.server.peer_id == PeerKey.from_seed(SERVER_SEED).peer_id
        assert seen[0].peer_id == pair.client.peer_id == PeerKey.from_seed(CLIENT_SEED).peer_id
        assert seen[0].address == stream.address == "127.0.0.1"


@trio_test
async def test_addresses_are_real_and_complete() -> None:
    async with open_host(SERVER_SEED, ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"]) as host, open_host(CLIENT_SEED) as client:
        host.serve(echo)
        for text in host.addresses:
            address = parse_address(text)
            assert address.endpoint.port > 0
            assert address.peer_id == host.peer_id
            assert await ask(client, text) == b"still there?"
    assert len(host.addresses) == 2


@trio_test
async def test_a_name_is_looked_up() -> None:
    async with pair_of_hosts(echo) as pair:
        port = parse_address(pair.address).endpoint.port
        for family in ("dns", "dns4"):
            assert await ask(pair.client, f"/{family}/localhost/tcp/{port}/p2p/{format_peer_id(pair.server.peer_id)}") == b"still there?"


@trio_test
async def test_a_cold_dial_waits_for_no_timer(autojump_clock: MockClock) -> None:
    """py-libp2p's own dial loop sleeps 250 ms here; this clock would show every sleep, and only sleeps."""
    async with pair_of_hosts(echo) as pair:
        started = trio.current_time()
        assert await ask(pair.client, pair.address) == b"still there?"
        assert trio.current_time() == started


@trio_test
async def test_megabytes_arrive_whole() -> None:
    data = os.urandom(3 * 1024 * 1024 + 17)
    received = bytearray()
    async with pair_of_hosts(echo) as pair:
        stream = await pair.client.dial(pair.address)

        async def send() -> None:
            await stream.send_all(data)
            await stream.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while part := await stream.receive_some(1024 * 1024):
                received += part
    assert received == data


@trio_test
async def test_a_slow_reader_blocks_the_sender_within_its_window() -> None:
    n_accepted = 0

    async def flood(stream: Stream) -> None:
        nonlocal n_accepted
        while True:
            await stream.send_all(bytes(64 * 1024))
            n_accepted += 64 * 1024

    async with pair_of_hosts(flood) as pair:
        stream = await pair.client.dial(pair.address)
        await stream.receive_some(1)  # it has begun
        before = -1
        while n_accepted != before:  # until the sender has stood still over a whole beat
            before = n_accepted
            await trio.sleep(0.1)

        assert DIALED_WINDOW // 2 < n_accepted <= DIALED_WINDOW
        await stream.reset()


@trio_test
async def test_a_dead_port_refuses() -> None:
    async with open_host(SERVER_SEED, LOOPBACK) as gone:
        address = gone.addresses[0]
    async with open_host(CLIENT_SEED) as client:
        assert "connection refused" in await dial_fails(client, address)


@trio_test
async def test_another_peer_at_the_address_is_not_talked_to() -> None:
    expected = format_peer_id(PeerKey.from_seed(b"x" * 32).peer_id)
    async with pair_of_hosts(echo) as pair:
        endpoint = parse_address(pair.address).endpoint

        assert "a peer other than" in await dial_fails(pair.client, f"{endpoint}/p2p/{expected}")
        assert await ask(pair.client, pair.address) == b"still there?"


@trio_test
async def test_silence_fails_the_dial_in_time() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with open_host(CLIENT_SEED) as client:
        address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{format_peer_id(client.peer_id)}"
        assert "no answer within 0.1 s" in await dial_fails(client, address, timeout_s=0.1)
    await listeners[0].aclose()


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 200, b"\x13/multistream/1.0.0\n\x03na\n"], ids=repr)
@trio_test
async def test_something_other_than_libp2p_fails_the_dial(reply: bytes) -> None:
    async def serve(socket: trio.SocketStream) -> None:
        await socket.receive_some()
        await socket.send_all(reply)

    async with trio.open_nursery() as nursery, open_host(CLIENT_SEED) as client:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(RemoteProtocolError):
            await client.dial(f"/ip4/127.0.0.1/tcp/{port}/p2p/{format_peer_id(client.peer_id)}")
        nursery.cancel_scope.cancel()


@trio_test
async def test_an_unreachable_address_says_why() -> None:
    async with open_host(CLIENT_SEED) as client:
        peer = format_peer_id(client.peer_id)
        assert "/ip4/255.255.255.255/tcp/1: " in await dial_fails(client, f"/ip4/255.255.255.255/tcp/1/p2p/{peer}")
        assert "/dns/no-such-host.invalid/tcp/1: " in await dial_fails(client, f"/dns/no-such-host.invalid/tcp/1/p2p/{peer}")


@trio_test
async def test_an_address_in_use_cannot_be_listened_on() -> None:
    async with open_host(SERVER_SEED, LOOPBACK) as host:
        taken = str(parse_address(host.addresses[0]).endpoint)
        with pytest.raises(LocalProtocolError) as caught:
            async with open_host(CLIENT_SEED, [taken]):
                raise AssertionError("unreachable")
    assert caught.value.code is ErrorCode.USAGE


@trio_test
async def test_what_the_block_raises_comes_out_as_it_was() -> None:
    async def fail() -> None:
        async with open_host(SERVER_SEED, LOOPBACK) as host:
            host.serve(echo)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()


@trio_test
async def test_a_failing_handler_costs_its_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(stream: Stream) -> None:
        if await stream.receive_some(4) == b"fail":
            raise ZeroDivisionError("inside")
        await stream.send_all(b"fine")

    async with pair_of_hosts(fail) as pair:
        stream = await pair.client.dial(pair.address)
        await stream.send_all(b"fail")
        with pytest.raises(RemoteProtocolError) as caught:
            await stream.receive_some(1)
        assert await ask(pair.client, pair.address, b"work") == b"fine"

    assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "session failed inside" in record.getMessage()
    assert format_peer_id(pair.client.peer_id) in record.getMessage()


@trio_test
async def test_a_client_that_vanishes_in_a_frame_is_a_truncated_transfer() -> None:
    sending, received = trio.open_memory_channel[RetrievalError](1)

    async def receive(stream: Stream) -> None:
        try:
            await echo(stream)
        except RetrievalError as error:
            sending.send_nowait(error)

    async with pair_of_hosts(receive) as pair:
        with trio.CancelScope() as scope:
            async with open_host(CLIENT_SEED) as client, trio.open_nursery() as nursery:
                stream = await client.dial(pair.address)
                nursery.start_soon(stream.send_all, bytes(64 * 1024 * 1024))
                await stream.receive_some(1)
                scope.cancel()
        with trio.fail_after(PATIENCE_S):
            error = await received.receive()
        assert await ask(pair.client, pair.address) == b"still there?"

    assert error.code is ErrorCode.TRANSFER_TRUNCATED


@trio_test
async def test_what_was_said_before_closing_arrives_though_the_host_ends_at_once() -> None:
    heard = bytearray()
    done = trio.Event()

    async def listen(stream: Stream) -> None:
        await stream.send_all(bytes(100_000))  # that nobody reads: what the client's system holds of it must not cost its last words
        while part := await stream.receive_some(1000):
            heard.extend(part)
        done.set()

    async with open_host(SERVER_SEED, LOOPBACK) as server:
        server.serve(listen)
        async with open_host(CLIENT_SEED) as client:
            stream = await client.dial(server.addresses[0])
            await stream.send_all(b"last words" * 10_000)
            await stream.close()
        with trio.fail_after(PATIENCE_S):
            await done.wait()

    assert heard == b"last words" * 10_000


@pytest.mark.parametrize("handler", [ignore, echo])
@trio_test
async def test_leaving_ends_open_streams_at_once(handler: Callable[[Stream], object]) -> None:
    async with open_host(CLIENT_SEED) as client:
        streams = []
        with trio.fail_after(2):
            async with open_host(SERVER_SEED, LOOPBACK) as server:
                server.serve(handler)  # type: ignore[arg-type]
                streams = [await client.dial(server.addresses[0]) for _ in range(5)]
        for stream in streams:
            with pytest.raises(RemoteProtocolError) as caught, trio.fail_after(PATIENCE_S):
                await stream.receive_some(1)
            assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED


@trio_test
async def test_leaving_takes_two_seconds_at_most_whatever_the_peer_does(autojump_clock: MockClock) -> None:
    async with open_host(CLIENT_SEED) as client:
        async with open_host(SERVER_SEED, LOOPBACK) as server:
            server.serve(ignore)
            stream = await client.dial(server.addresses[0])
            await stream.close()
            silent = await open_tcp(server)
            started = trio.current_time()
        assert trio.current_time() - started <= 2
        await silent.aclose()


@trio_test
async def test_many_that_come_and_go_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with pair_of_hosts(echo) as pair:
        for n in range(60):
            socket = await open_tcp(pair.server)
            if n % 3:
                await socket.send_all(b"\x13/multistream/1.0.0\n"[: n % 20])
            await socket.aclose()
        for _ in range(10):
            await pair.client.dial(pair.address)
        assert await ask(pair.client, pair.address) == b"still there?"

    assert caplog.records == []


@trio_test
async def test_a_host_that_closes_quickly_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with open_host(SERVER_SEED, LOOPBACK) as server:
        server.serve(echo)
        for _ in range(5):
            async with open_host(CLIENT_SEED) as client:
                await client.dial(server.addresses[0])
            async with open_host(CLIENT_SEED) as client:
                with pytest.raises(RemoteProtocolError):
                    await client.dial(server.addresses[0], timeout_s=0)

    assert caplog.records == []


@trio_test
async def test_a_peer_that_never_says_who_it_is_is_cut(autojump_clock: MockClock) -> None:
    async with pair_of_hosts(echo) as pair:
        silent, half = await open_tcp(pair.server), await open_tcp(pair.server)
        await half.send_all(b"\x13/multistream/1.0.0\n\x07/noise\n\x00\x20")
        started = trio.current_time()
        for socket in (silent, half):
            while await socket.receive_some():
                pass
            await socket.aclose()

        assert trio.current_time() - started == pytest.approx(HANDSHAKE_TIMEOUT_S, abs=0.1)


@trio_test
async def test_one_address_cannot_take_every_handshake() -> None:
    async with pair_of_hosts(echo) as pair:
        silent = [await open_tcp(pair.server) for _ in range(HANDSHAKES_PER_PREFIX_MAX)]
        for socket in silent:
            assert await socket.receive_some(20) == b"\x13/multistream/1.0.0\n"  # so it is being listened to
        refused = await open_tcp(pair.server)
        assert await refused.receive_some(20) == b""
        for socket in silent:
            await socket.aclose()
        await refused.aclose()
        with trio.fail_after(PATIENCE_S):
            assert await until_it_works(partial(ask, pair.client, pair.address)) == b"still there?"  # the server notices who left


@pytest.mark.parametrize(("opens_a_stream", "cut_after_s"), [(False, IDLE_TIMEOUT_S), (True, HANDSHAKE_TIMEOUT_S)])
@trio_test
async def test_a_peer_that_connects_and_wants_nothing_is_let_go(
    opens_a_stream: bool, cut_after_s: float, autojump_clock: MockClock
) -> None:
    async with pair_of_hosts(echo) as pair, trio.open_nursery() as nursery:
        channel = await Identity(CLIENT_SEED).secure_dialed(await open_tcp(pair.server), pair.server.peer_id)
        await channel.send_all()  # the end of the handshake, which else leaves with the first thing that is said
        muxer = Muxer(channel, remote=Remote(peer_id=channel.peer_id, address=None), is_dialer=True)
        nursery.start_soon(muxer.run)
        started = trio.current_time()
        if opens_a_stream:  # and never names a protocol
            await muxer.open_stream().finished.wait()
        else:
            await muxer.ended.wait()
        nursery.cancel_scope.cancel()

        assert trio.current_time() - started == pytest.approx(cut_after_s, abs=0.1)


@trio_test
async def test_a_side_that_never_ends_its_stream_is_given_up(autojump_clock: MockClock) -> None:
    async with pair_of_hosts(ignore) as pair:
        stream = await pair.client.dial(pair.address)
        await stream.close()
        started = trio.current_time()
        with pytest.raises(RetrievalError):
            await stream.receive_some(1)

        assert trio.current_time() - started == pytest.approx(CLOSE_GRACE_S, abs=0.1)


@trio_test
async def test_a_side_that_goes_on_saying_something_is_heard_to_its_end(autojump_clock: MockClock) -> None:
    async def trickle(stream: Stream) -> None:
        for _ in range(4):
            await trio.sleep(0.9 * CLOSE_GRACE_S)
            await stream.send_all(b"more")

    async with pair_of_hosts(trickle) as pair:
        stream = await pair.client.dial(pair.address)
        await stream.close()
        heard = bytearray()
        while part := await stream.receive_some(100):
            heard += part

    assert heard == b"more" * 4


@trio_test
async def test_saying_what_nobody_takes_keeps_no_stream_open(autojump_clock: MockClock) -> None:
    async with pair_of_hosts(return_at_once) as pair:
        stream = await pair.client.dial(pair.address)
        assert await stream.receive_some(1) == b""
        started = trio.current_time()
        with suppress(RemoteProtocolError):
            while True:
                await stream.send_all(b"x")
                await trio.sleep(1)

        assert trio.current_time() - started == pytest.approx(CLOSE_GRACE_S, abs=1.1)


@trio_test
async def test_a_dialled_connection_outlives_its_stream_by_a_moment(autojump_clock: MockClock) -> None:
    async with pair_of_hosts(return_at_once) as pair:
        stream = await pair.client.dial(pair.address)
        assert await stream.receive_some(1) == b""
        started = trio.current_time()
        await stream.close()
        await stream.finished.wait()
        assert trio.current_time() == started
        await stream._muxer.ended.wait()

        assert trio.current_time() - started == pytest.approx(LINGER_S, abs=0.1)


@trio_test
async def test_leaving_waits_for_no_connection_whose_stream_has_ended(autojump_clock: MockClock) -> None:
    async with open_host(SERVER_SEED, LOOPBACK) as server:
        server.serve(echo)
        async with open_host(CLIENT_SEED) as client:
            assert await ask(client, server.addresses[0]) == b"still there?"
            started = trio.current_time()
        assert trio.current_time() == started


@trio_test
async def test_a_peer_that_resets_its_streams_waits_until_their_handlers_are_through() -> None:
    may_end = trio.Event()

    async def wind_up(stream: Stream) -> None:
        await stream.send_all(b"begun")
        await may_end.wait()

    async with pair_of_hosts(wind_up) as pair, trio.open_nursery() as nursery:
        channel = await Identity(CLIENT_SEED).secure_dialed(await open_tcp(pair.server), pair.server.peer_id)
        muxer = Muxer(channel, remote=Remote(peer_id=channel.peer_id, address=None), is_dialer=True)
        nursery.start_soon(muxer.run)

        async def open_stream() -> Stream:
            stream = muxer.open_stream(proposal(PROTOCOL_ID))
            await confirm(stream, PROTOCOL_ID)
            assert await stream.receive_some(5) == b"begun"
            return stream

        for _ in range(STREAMS_MAX):
            await (await open_stream()).reset()
        with pytest.raises(RemoteProtocolError):
            await open_stream()
        may_end.set()
        with trio.fail_after(PATIENCE_S):
            await until_it_works(open_stream)
        nursery.cancel_scope.cancel()


# Peers made by py-libp2p itself.


@asynccontextmanager
async def open_stock_host(key_pair: KeyPair) -> AsyncIterator[IHost]:
    """py-libp2p's own host, with its Swarm and its Yamux."""
    host = new_host(key_pair=key_pair)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host


def address_of(host: IHost) -> str:
    return str(host.get_addrs()[0])


@pytest.fixture
def _quiet_stock_hosts() -> None:
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)


@pytest.mark.usefixtures("_quiet_stock_hosts")
@trio_test
async def test_a_stock_host_can_be_dialled() -> None:
    async with open_stock_host(create_ed25519_key_pair(SERVER_SEED)) as stock, open_host(CLIENT_SEED) as client:

        async def reply(stream: object) -> None:
            await stream.write(b"re: " + await stream.read(5))  # type: ignore[attr-defined]
            await stream.close()  # type: ignore[attr-defined]

        stock.set_stream_handler(PROTOCOL_ID, reply)
        stream = await client.dial(address_of(stock))
        await stream.send_all(b"hello")

        assert await stream.receive_some(100) == b"re: hello"
        assert await stream.receive_some(100) == b""
        await stream.close()


@pytest.mark.usefixtures("_quiet_stock_hosts")
@trio_test
async def test_a_stock_host_can_dial() -> None:
    async with open_host(SERVER_SEED, LOOPBACK) as server, open_stock_host(create_ed25519_key_pair(CLIENT_SEED)) as stock:
        server.serve(echo)
        peer = info_from_p2p_addr(Multiaddr(server.addresses[0]))
        with trio.fail_after(PATIENCE_S):
            await stock.connect(peer)
            stream = await stock.new_stream(peer.peer_id, [PROTOCOL_ID])
            await stream.write(b"hello")
            answer = await stream.read(5)

        assert answer == b"hello"


@pytest.mark.usefixtures("_quiet_stock_hosts")
@trio_test
async def test_a_peer_that_does_not_sell_is_told_apart() -> None:
    async with open_stock_host(create_ed25519_key_pair(SERVER_SEED)) as stock, open_host(CLIENT_SEED) as client:
        stream = await client.dial(address_of(stock))
        await stream.send_all(b"hello")
        with pytest.raises(RemoteProtocolError) as caught:
            await stream.receive_some(1)

        assert caught.value.code is ErrorCode.CAPABILITY_MISSING
        assert PROTOCOL_ID in caught.value.detail


@pytest.mark.parametrize("create_key_pair", [create_secp256k1_key_pair, create_rsa_key_pair])
@pytest.mark.usefixtures("_quiet_stock_hosts")
@trio_test
async def test_peers_with_other_keys_neither_sell_nor_buy(create_key_pair: Callable[[], KeyPair], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="retrieval")
    async with pair_of_hosts(echo) as pair, open_stock_host(create_key_pair()) as stock:
        with pytest.raises(RetrievalError) as caught:
            await pair.client.dial(address_of(stock))
        peer = info_from_p2p_addr(Multiaddr(pair.address))
        with trio.fail_after(PATIENCE_S), pytest.raises(Exception):  # noqa: B017 — whatever py-libp2p makes of it
            await stock.connect(peer)

    assert caught.value.code is ErrorCode.UNSUPPORTED_KEY
    assert "not an Ed25519 key" in caplog.text


# Two processes.

SERVER_PROGRAM = """
import sys, trio
from retrieval.transport.libp2p import open_host

async def echo(stream):
    while data := await stream.receive_some(65536):
        await stream.send_all(data)

async def main():
    async with open_host(b"s" * 32, ["/ip4/127.0.0.1/tcp/0"]) as host:
        host.serve(echo)
        sys.stdout.write(host.addresses[0] + "\\n")
        sys.stdout.flush()
        await trio.sleep_forever()

trio.run(main)
"""


@trio_test
async def test_two_processes_talk_and_a_killed_one_truncates() -> None:
    process = await trio.lowlevel.open_process([sys.executable, "-c", SERVER_PROGRAM], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        address = (await process.stdout.receive_some()).decode().strip()
        async with open_host(CLIENT_SEED) as client:
            assert await ask(client, address, b"x" * 300_000) == b"x" * 300_000
            stream = await client.dial(address)
            process.kill()
            with pytest.raises(RemoteProtocolError) as caught:
                await stream.receive_some(1)
            assert caught.value.code is ErrorCode.TRANSFER_TRUNCATED
            with pytest.raises(RemoteProtocolError) as caught:
                await client.dial(address)
            assert caught.value.code is ErrorCode.DIAL_FAILED
    finally:
        process.kill()
        await process.wait()
