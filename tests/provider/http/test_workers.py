"""The gateway's processes, as a node runs them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import trio
from http_door import PATIENCE_S, Caller
from processes import write_file
from retrieval_provider.config import Http, ProviderSettings
from retrieval_provider.http import workers
from retrieval_provider.http.workers import Assignment, open_workers
from retrieval_provider.node import Node
from script import run_script
from shop import Shop

from retrieval.cid import format_cid
from retrieval.dag.importer import import_path
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home
from retrieval.units import MIB

HTTP = {"price.default": "0 USD/GiB", "http.listen": ("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0/http"), "http.workers": 2}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(folder=tmp_path, prices=HTTP)


def caller(node: Node) -> Caller:
    return Caller(port=int(node.urls[0].rpartition(":")[2]))


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if workers.MODULE in child.cmdline()]


def test_a_node_serves_what_it_holds_and_what_it_is_given_later(shop: Shop) -> None:
    async def main() -> None:
        first = shop.add(write_file(shop.folder / "first", 3 * MIB, seed=1))
        async with shop.opened() as node:
            door = caller(node)
            assert len(processes()) == 2
            assert [url.rpartition(":")[0] for url in node.urls] == ["http://127.0.0.1", "http://[::1]"]
            reply = await trio.to_thread.run_sync(door.get, f"/ipfs/{format_cid(first.cid)}")
            assert reply.body == (shop.folder / "first").read_bytes()
            second = import_path(node.service.store, write_file(shop.folder / "second", MIB, seed=2))
            node.service.store.pin(second)
            reply = await trio.to_thread.run_sync(door.get, f"/ipfs/{format_cid(second.cid)}")
            assert reply.body == (shop.folder / "second").read_bytes()
            routing = await trio.to_thread.run_sync(door.get, f"/routing/v1/providers/{format_cid(first.cid)}")
            assert f'"/ip4/127.0.0.1/tcp/{door.port}/http"'.encode() in routing.body
            assert node.addresses[0].rpartition("/p2p/")[0].encode() in routing.body
        assert processes() == []

    trio.run(main)


def test_a_process_that_falls_is_replaced_at_the_same_port(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "RESTART_S", 0.01)

    async def main() -> None:
        async with shop.opened() as node:
            before = {process.pid for process in processes()}
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            reply = await trio.to_thread.run_sync(caller(node).get, "/healthz")
            assert reply.status == 200
            with trio.fail_after(PATIENCE_S):
                while len({process.pid for process in processes()} - before) < 2:  # noqa: ASYNC110  # nobody is told of it
                    await trio.sleep(0.02)

    trio.run(main)


def test_a_slow_client_does_not_keep_a_node_from_going(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "END_S", 0.2)
    root = shop.add(write_file(shop.folder / "large", 16 * MIB, seed=3))

    async def main() -> None:
        async with shop.opened() as node:
            sock = caller(node).connect()
            sock.sendall(f"GET /ipfs/{format_cid(root.cid)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await trio.to_thread.run_sync(sock.recv, 100)
        sock.close()
        assert processes() == []

    trio.run(main)


def test_a_process_goes_when_its_node_is_gone(shop: Shop) -> None:
    root = shop.add(write_file(shop.folder / "file", 1000, seed=4))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        told = Assignment(
            blocks=str(shop.home.blocks_path),
            store_bytes_max=1 << 30,
            sockets=(listening.fileno(),),
            requests_max=8,
            requests_per_minute=8,
            connections_max=8,
            connections_per_prefix_max=8,
            proxies=("/ip4/127.0.0.1",),
            denylist="",
            peer_id="12D3KooW",
            http=("/ip4/127.0.0.1/tcp/1/http",),
            libp2p=(),
            till="",
            log_level="warning",
            log_form="text",
        )
        assert Assignment.decode(told.encode()) == told
        process = subprocess.Popen(
            [sys.executable, "-m", workers.MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=told.sockets
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(told.encode())
            process.stdin.flush()
            assert process.stdout.readline() == workers.READY
            process.send_signal(signal.SIGTERM)  # as whoever stops a whole group does: it is for the node to hear
            door = Caller(port=listening.getsockname()[1])
            assert len(door.get(f"/ipfs/{format_cid(root.cid)}").body) == 1000
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def test_what_the_denylist_names_is_withheld_as_soon_as_it_names_it(tmp_path: Path) -> None:
    shop = Shop(folder=tmp_path, prices=HTTP | {"serve.denylist": "bad.deny", "http.workers": 1})
    root = shop.add(write_file(shop.folder / "file", 1000, seed=5))
    target, rules = f"/ipfs/{format_cid(root.cid)}", shop.home.path / "bad.deny"
    rules.write_text("# nothing yet\n")

    async def main() -> None:
        async with shop.opened() as node:
            door = caller(node)
            reply = await trio.to_thread.run_sync(door.get, target)
            assert reply.status == 200
            with rules.open("a") as stream:
                stream.write(f"{target} gateway_status:451\n")
            with trio.fail_after(PATIENCE_S):
                while (reply := await trio.to_thread.run_sync(door.get, target)).status == 200:  # noqa: ASYNC110  # it is looked at once a second
                    await trio.sleep(0.1)
            assert reply.code == (451, "content_restricted")
            assert (await trio.to_thread.run_sync(door.head, f"{target}?format=raw")).status == 451
            quote = await trio.to_thread.run_sync(door.get, target.replace("/ipfs/", "/v1/quote/"))
            assert quote.status == 451
            routing = await trio.to_thread.run_sync(door.get, target.replace("/ipfs/", "/routing/v1/providers/"))
            assert routing.body == b'{"Providers": []}'

    trio.run(main)


def test_strangers_have_limits_and_a_proxy_says_who_is_one(tmp_path: Path) -> None:
    shop = Shop(folder=tmp_path, prices=HTTP | {"http.requests_per_minute": 2, "http.workers": 1})

    async def main() -> None:
        async with shop.opened() as node:
            proxy = caller(node)
            stranger = replace(proxy, source="127.0.0.2")
            for expected in (200, 200, 429):
                assert (await trio.to_thread.run_sync(stranger.get, "/healthz")).status == expected
                assert (await trio.to_thread.run_sync(proxy.get, "/healthz")).status == 200
            reply = await trio.to_thread.run_sync(partial(proxy.get, "/healthz", x_forwarded_for="127.0.0.2"))
            assert reply.code == (429, "rate_limited")

    trio.run(main)


def test_a_setting_that_processes_would_stumble_over_is_named_at_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        home = Home(path=tmp_path, program="retrieval-provider")
        http = Http(listen=("/ip4/127.0.0.1/tcp/0",), proxies=("/dns4/example.org",))
        with pytest.raises(LocalProtocolError) as refused:
            async with open_workers(home, ProviderSettings(http=http), peer_id="12D3KooW", libp2p=()):
                raise AssertionError("it listens")
        assert refused.value.code is ErrorCode.USAGE

    trio.run(main)


@pytest.mark.parametrize("address", ["/ip4/127.0.0.1/udp/1", "127.0.0.1:80", "/ip4/127.0.0.1/tcp/99999", "/ip4/999.0.0.1/tcp/0"])
def test_an_address_that_cannot_be_listened_on_is_named(tmp_path: Path, address: str) -> None:
    async def main() -> None:
        settings = ProviderSettings(http=Http(listen=(address,)))
        with pytest.raises(LocalProtocolError, match=address) as refused:
            async with open_workers(Home(path=tmp_path, program="retrieval-provider"), settings, peer_id="12D3KooW", libp2p=()):
                raise AssertionError("it listens")
        assert refused.value.code is ErrorCode.USAGE

    trio.run(main)


def test_a_provider_without_a_gateway_never_loads_aiohttp() -> None:
    assert run_script("import sys, retrieval_provider.node; print('aiohttp' in sys.modules)").stdout == "False\n"
