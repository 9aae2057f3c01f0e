"""Content through the client's gateway, from real providers: bought, kept, in parts, and by many at once."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from chain_fixture import devchain  # noqa: F401 - a fixture
from counter_gateway import PATIENCE_S, Running, funded, open_counter
from gate import Gate
from retrieval_client.content import held_of
from retrieval_client.source import Source
from retrieval_provider.node import Node
from shop import PRICE_PER_GIB, Shop

from retrieval.cid import format_cid
from retrieval.dag.walk import Walk
from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.records import DealRecord, LineRecord, Outcome, OutcomeRecord
from retrieval.home import Home
from retrieval.payment.rate import Rate
from retrieval.store.blocks import Root
from retrieval.store.car import CarReader
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.libp2p import parse_address
from retrieval.units import KIB, MIB

PRICE = Rate(price_per_gib=PRICE_PER_GIB)
FILE_BYTES = 8 * MIB + 5


@pytest.fixture
def shop(tmp_path: Path, devchain: str) -> Shop:  # noqa: F811
    return Shop(folder=tmp_path, rpc=devchain)


@pytest.fixture
def film(shop: Shop) -> Root:
    (shop.folder / "film.bin").write_bytes(os.urandom(FILE_BYTES))
    return shop.add(shop.folder / "film.bin")


@contextmanager
def counter_of(shop: Shop, **values: object) -> Iterator[tuple[Running, Home]]:
    """A funded gateway at a provider that serves, while the block runs."""
    with shop.serving() as node:
        home = shop.client(**{"gateway__providers": [node.addresses[0]], **values})
        funded(home, node)
        with open_counter(home) as counter:
            yield counter, home
            counter.until_idle()


def outcomes(of: Home | Running) -> list[Outcome | None]:
    """How the deals ended, in the order they were made; the journal has checked."""
    with state_of(of) as state:
        check(state)
        made = sorted(fold.scan(state, DealRecord), key=lambda row: row[1].opened_ms)
        ended = [fold.get(state, OutcomeRecord, deal_id) for deal_id, _ in made]
        return [Outcome(each.outcome) if each is not None else None for each in ended]


def promised(of: Home | Running) -> int:
    """By vouchers, over all channels."""
    with state_of(of) as state:
        return sum(line.best.amount for _, line in fold.scan(state, LineRecord) if line.best is not None)


@contextmanager
def state_of(of: Home | Running) -> Iterator[LmdbStateStorage]:
    """The state of a home, also of one that a gateway has open in this process."""
    if isinstance(of, Running):
        yield of.gateway.wallet.state
        return
    with closing(LmdbStateStorage.open_readonly(of.state_path)) as state:
        yield state


def gated(node: Node, gate: Gate) -> str:
    port = parse_address(node.addresses[0]).endpoint.port
    return node.addresses[0].replace(f"/tcp/{port}/", f"/tcp/{gate.port}/")


def port_of(node: Node) -> int:
    return parse_address(node.addresses[0]).endpoint.port


def test_a_file_is_bought_and_then_served_to_anybody_from_the_cache(shop: Shop, film: Root) -> None:
    with counter_of(shop) as (counter, home):
        first = counter.get(f"/ipfs/{format_cid(film.cid)}", token=counter.new_token())
        assert (first.status, first.is_whole) == (200, True)
        assert first.body == (shop.folder / "film.bin").read_bytes()
        again = counter.get(f"/ipfs/{format_cid(film.cid)}")
        assert (again.status, again.body, again.headers["retrieval-paid"]) == (200, first.body, "0")
    assert outcomes(home) == [Outcome.DONE]
    assert promised(home) == PRICE.owed(film.n_bytes)


def test_bytes_leave_before_the_last_block_is_fetched(shop: Shop, film: Root) -> None:
    with shop.serving() as node, Gate(port_of(node)) as gate:
        home = shop.client(gateway__providers=[gated(node, gate)])
        funded(home, node)
        with open_counter(home) as counter:
            token = counter.new_token()
            gate.hold_after(3 * MIB)
            connection = http.client.HTTPConnection("127.0.0.1", counter.caller.port, timeout=PATIENCE_S)
            connection.request("GET", f"/ipfs/{format_cid(film.cid)}", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            beginning = response.read(1 * MIB)
            assert gate.is_holding
            gate.open()
            assert beginning + response.read() == (shop.folder / "film.bin").read_bytes()
            connection.close()


def test_a_request_without_a_token_spends_nothing_and_hears_the_price(shop: Shop, film: Root) -> None:
    with counter_of(shop) as (counter, home):
        reply = counter.get(f"/ipfs/{format_cid(film.cid)}", Origin="https://evil.example")
        assert reply.code == (402, "spending_not_allowed")
        assert reply.problem["price"]["amount_max"] == str(PRICE.owed(film.n_bytes))
        assert "token new" in reply.problem["hint"]
        for scope in ("read", "retrieve"):
            assert counter.get(f"/ipfs/{format_cid(film.cid)}", token=counter.new_token(scope)).status == 402
    assert (outcomes(home), promised(home)) == ([], 0)


def test_free_content_needs_no_token(tmp_path: Path) -> None:
    shop = Shop(folder=tmp_path, prices={"price.default": "0 USD/GiB"})
    (tmp_path / "film.bin").write_bytes(os.urandom(FILE_BYTES))
    film = shop.add(tmp_path / "film.bin")
    with shop.serving() as node:
        home = shop.client(gateway__providers=[node.addresses[0]])
        with open_counter(home) as counter:
            reply = counter.get(f"/ipfs/{format_cid(film.cid)}")
            assert reply.body == (tmp_path / "film.bin").read_bytes()


def test_a_range_buys_only_what_it_touches(shop: Shop, film: Root) -> None:
    content = (shop.folder / "film.bin").read_bytes()
    with counter_of(shop) as (counter, home):
        token, target = counter.new_token(), f"/ipfs/{format_cid(film.cid)}"
        part = counter.get(target, token=token, Range="bytes=5000000-5000099")
        assert (part.status, part.body) == (206, content[5_000_000:5_000_100])
        assert part.headers["content-range"] == f"bytes 5000000-5000099/{FILE_BYTES}"
        counter.until_idle()
        assert 0 < promised(counter) < PRICE.owed(3 * MIB)
        end = counter.get(target, token=token, Range="bytes=-7")
        assert (end.status, end.body) == (206, content[-7:])
        beyond = counter.get(target, token=token, Range=f"bytes={FILE_BYTES}-")
        assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{FILE_BYTES}")
        counter.until_idle()
        bought = promised(counter)
        assert counter.get(target, Range="bytes=5000000-5000099").body == part.body
        assert promised(counter) == bought
        whole = counter.get(target, token=token)
        assert whole.body == content
    assert promised(home) <= PRICE.owed(film.n_bytes) + PRICE.owed(3 * MIB)


def test_a_range_whose_condition_fails_is_all_of_it(shop: Shop, film: Root) -> None:
    with counter_of(shop) as (counter, _):
        reply = counter.get(f"/ipfs/{format_cid(film.cid)}", token=counter.new_token(), Range="bytes=0-9", If_Range='"other"')
        assert (reply.status, len(reply.body)) == (200, FILE_BYTES)


def test_who_has_it_already_buys_its_root_at_most(shop: Shop, film: Root) -> None:
    with counter_of(shop) as (counter, _):
        etag = f'"{format_cid(film.cid)}"'
        assert counter.get(f"/ipfs/{format_cid(film.cid)}", token=counter.new_token(), If_None_Match=etag).status == 304
        counter.until_idle()
        assert promised(counter) <= PRICE.owed(1 * KIB)


def test_the_head_of_an_answer_buys_no_more_than_tells_its_type(shop: Shop, film: Root) -> None:
    with counter_of(shop) as (counter, _):
        reply = counter.ask("HEAD", f"/ipfs/{format_cid(film.cid)}", token=counter.new_token())
        assert (reply.status, reply.headers["content-length"], reply.body) == (200, str(FILE_BYTES), b"")
        counter.until_idle()
        assert promised(counter) <= PRICE.owed(2 * MIB)


def test_a_block_and_a_car_are_what_was_asked_for(shop: Shop, film: Root) -> None:
    with counter_of(shop) as (counter, _):
        token, target = counter.new_token(), f"/ipfs/{format_cid(film.cid)}"
        assert counter.get(f"{target}?format=raw", token=token).headers["content-type"] == "application/vnd.ipld.raw"
        car = counter.get(f"{target}?format=car&dag-scope=all", token=token)
        assert car.is_whole
        (shop.folder / "all.car").write_bytes(car.body)
        with (shop.folder / "all.car").open("rb") as stream:
            walk = Walk(film.cid)
            for cid, payload in CarReader(stream):
                assert cid == walk.expected
                walk.advance(payload)
        assert walk.done


def test_a_directory_shows_its_index_its_list_and_what_lies_in_it(shop: Shop) -> None:
    site = shop.folder / "site"
    (site / "pictures").mkdir(parents=True)
    (site / "index.html").write_text("<h1>Hello</h1>")
    (site / "pictures" / "one.png").write_bytes(b"\x89PNG" + os.urandom(300 * KIB))
    root = shop.add(site)
    with counter_of(shop) as (counter, _):
        token, target = counter.new_token(), f"/ipfs/{format_cid(root.cid)}"
        assert counter.get(target, token=token).headers["location"] == f"{target}/"
        page = counter.get(f"{target}/", token=token)
        assert (page.status, page.body) == (200, b"<h1>Hello</h1>")
        counter.until_idle()
        assert promised(counter) <= PRICE.owed(4 * KIB)
        listing = counter.get(f"{target}/pictures/", token=token)
        assert b"one.png" in listing.body
        counter.until_idle()
        assert promised(counter) <= PRICE.owed(8 * KIB)
        picture = counter.get(f"{target}/pictures/one.png", token=token)
        assert picture.body == (site / "pictures" / "one.png").read_bytes()
        assert picture.headers["content-type"] == "image/png"
        assert counter.get(f"{target}/nothing", token=token).code == (404, "path_not_found")


def test_what_is_not_here_is_not_fetched_for_who_asks_for_the_cache_only(shop: Shop, film: Root) -> None:
    with counter_of(shop) as (counter, home):
        target, token = f"/ipfs/{format_cid(film.cid)}", counter.new_token()
        assert counter.get(target, token=token, Cache_Control="only-if-cached").code == (412, "not_cached")
        assert counter.get(target, token=token, Range="bytes=0-99").status == 206
        assert counter.get(target, token=token, Cache_Control="only-if-cached").code == (412, "not_cached")
        assert counter.get(target, Range="bytes=0-99", Cache_Control="only-if-cached").status == 206
    assert len(outcomes(home)) == 1


def test_many_files_at_once_are_paid_from_one_channel(shop: Shop) -> None:
    """Vouchers of one channel only grow, whichever file they pay for; two sessions that paid from it would refuse each other's."""
    contents = [os.urandom(1 * MIB + n) for n in range(24)]
    roots = []
    for n, content in enumerate(contents):
        (shop.folder / f"{n}.bin").write_bytes(content)
        roots.append(shop.add(shop.folder / f"{n}.bin"))
    with counter_of(shop) as (counter, home):
        token = counter.new_token()
        with ThreadPoolExecutor(24) as asking:
            replies = list(asking.map(lambda root: counter.get(f"/ipfs/{format_cid(root.cid)}", token=token), roots))
        assert [reply.body for reply in replies] == contents
    assert outcomes(home) == [Outcome.DONE] * 24
    assert promised(home) == sum(PRICE.owed(root.n_bytes) for root in roots)


@pytest.mark.parametrize("held_after", [0, 1 * MIB, 5 * MIB])
def test_deals_that_are_cut_off_together_are_each_paid_once(shop: Shop, held_after: int) -> None:
    """Their payments build on one another, and the provider may have heard of none, some or all of them."""
    contents = [os.urandom(2 * MIB + n) for n in range(8)]
    roots = []
    for n, content in enumerate(contents):
        (shop.folder / f"{n}.bin").write_bytes(content)
        roots.append(shop.add(shop.folder / f"{n}.bin"))
    with shop.serving() as node, Gate(port_of(node)) as gate:
        home = shop.client(gateway__providers=[gated(node, gate)])
        funded(home, node)
        with open_counter(home) as counter:
            token = counter.new_token()
            with ThreadPoolExecutor(8) as asking:
                gate.hold_after(held_after)
                replies = [asking.submit(counter.get, f"/ipfs/{format_cid(root.cid)}", token=token) for root in roots]
                gate.until_holding()
                gate.cut()
                gate.open()
                assert [reply.result().body for reply in replies] == contents
            counter.until_idle()
            assert sum(line.best_amount for line in node.service.books.lines.values()) == promised(counter)
    assert Outcome.DONE in outcomes(home)
    assert promised(home) <= sum(PRICE.owed(root.n_bytes) for root in roots) + len(roots)


def test_requests_for_the_same_share_one_fetch(shop: Shop, film: Root) -> None:
    with counter_of(shop) as (counter, home):
        token = counter.new_token()
        with ThreadPoolExecutor(8) as asking:
            replies = list(asking.map(lambda _: counter.get(f"/ipfs/{format_cid(film.cid)}", token=token), range(8)))
        assert {reply.body for reply in replies} == {(shop.folder / "film.bin").read_bytes()}
    assert outcomes(home) == [Outcome.DONE]


def test_many_ranges_of_one_file_at_once_are_each_paid_once(shop: Shop, film: Root) -> None:
    content = (shop.folder / "film.bin").read_bytes()
    with counter_of(shop) as (counter, home):
        token, starts = counter.new_token(), range(0, FILE_BYTES, 500_000)
        with ThreadPoolExecutor(len(starts)) as asking:
            replies = asking.map(
                lambda start: counter.get(f"/ipfs/{format_cid(film.cid)}", token=token, Range=f"bytes={start}-{start + 499_999}"), starts
            )
            assert b"".join(reply.body for reply in replies) == content
    assert set(outcomes(home)) == {Outcome.DONE}


def test_a_reader_that_leaves_stops_what_nobody_else_reads(shop: Shop, film: Root) -> None:
    with shop.serving() as node, Gate(port_of(node)) as gate:
        home = shop.client(gateway__providers=[gated(node, gate)])
        funded(home, node)
        with open_counter(home) as counter:
            token, target = counter.new_token(), f"/ipfs/{format_cid(film.cid)}"
            gate.hold_after(3 * MIB)
            connection = http.client.HTTPConnection("127.0.0.1", counter.caller.port, timeout=PATIENCE_S)
            connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
            assert connection.getresponse().read(1 * MIB)
            connection.close()
            gate.open()
            counter.until_idle()
            assert outcomes(counter) == [Outcome.CANCELLED]
            spent = promised(counter)
            assert 0 < spent < PRICE.owed(film.n_bytes)
            assert counter.get(target, token=token).body == (shop.folder / "film.bin").read_bytes()
            counter.until_idle()
            assert node.service.books.lines
            assert all((line.debt_bytes, line.reserved) == (0, 0) for line in node.service.books.lines.values())
    assert outcomes(home) == [Outcome.CANCELLED, Outcome.DONE]
    assert promised(home) <= PRICE.owed(film.n_bytes) + 1


def test_a_token_that_is_revoked_while_it_buys_buys_no_further(shop: Shop, film: Root) -> None:
    with shop.serving() as node, Gate(port_of(node)) as gate:
        home = shop.client(gateway__providers=[gated(node, gate)])
        funded(home, node)
        with open_counter(home) as counter, ThreadPoolExecutor(1) as asking:
            token, target = counter.new_token(), f"/ipfs/{format_cid(film.cid)}"
            gate.hold_after(3 * MIB)
            cut = asking.submit(counter.get, target, token=token)
            gate.until_holding()
            counter.revoke(counter.json("/v1/budget", token=token)["token"]["id"])
            gate.open()
            assert not cut.result().is_whole
            counter.until_idle()
            assert 0 < promised(counter) < PRICE.owed(film.n_bytes)
            assert not counter.get(target).is_whole
            assert counter.get(target, token=counter.new_token()).is_whole, "somebody else may buy it"
            counter.until_idle()
    assert outcomes(home) == [Outcome.CANCELLED, Outcome.DONE]


def test_a_gateway_that_is_stopped_cuts_its_answers_and_the_deal_is_taken_up(shop: Shop, film: Root) -> None:
    with shop.serving() as node, Gate(port_of(node)) as gate:
        home = shop.client(gateway__providers=[gated(node, gate)])
        funded(home, node)
        with open_counter(home) as counter:
            token, target = counter.new_token(), f"/ipfs/{format_cid(film.cid)}"
            gate.hold_after(3 * MIB)
            connection = http.client.HTTPConnection("127.0.0.1", counter.caller.port, timeout=PATIENCE_S)
            connection.request("GET", target, headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            assert response.read(1 * MIB)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        gate.open()
        assert outcomes(home) == [None]
        with open_counter(home) as counter:
            assert counter.get(target, token=token).body == (shop.folder / "film.bin").read_bytes()
            counter.until_idle()
    assert outcomes(home) == [Outcome.DONE]
    assert promised(home) == PRICE.owed(film.n_bytes)


def test_the_next_provider_goes_on_where_one_stopped(tmp_path: Path, devchain: str) -> None:  # noqa: F811
    first, second = (Shop(folder=tmp_path / name, rpc=devchain) for name in ("first", "second"))
    content = b"".join(n.to_bytes(4, "big") * (64 * KIB) for n in range(32))
    for each in (first, second):
        (each.folder / "film.bin").write_bytes(content)
        film = each.add(each.folder / "film.bin")
    spoil(first, film, nth=5)
    with first.serving() as node, second.serving() as other:
        home = first.client(gateway__providers=[node.addresses[0], other.addresses[0]])
        funded(home, node)
        funded(home, other)
        with open_counter(home) as counter:
            counter.set_back(other.addresses[0])
            reply = counter.get(f"/ipfs/{format_cid(film.cid)}", token=counter.new_token())
            assert reply.body == content
            counter.until_idle()
    assert outcomes(home) == [Outcome.FAILED, Outcome.DONE]
    assert promised(home) <= PRICE.owed(film.n_bytes) + 1


def test_a_block_that_is_not_what_it_should_be_cuts_the_answer(shop: Shop, film: Root) -> None:
    spoil(shop, film, nth=5)
    with counter_of(shop) as (counter, home):
        reply = counter.get(f"/ipfs/{format_cid(film.cid)}", token=counter.new_token())
        assert (reply.status, reply.is_whole) == (200, False)
        assert (shop.folder / "film.bin").read_bytes().startswith(reply.body)
        again = counter.get(f"/ipfs/{format_cid(film.cid)}?format=raw", token=counter.new_token())
        assert again.is_whole
    assert outcomes(home) == [Outcome.FAILED]


def spoil(shop: Shop, root: Root, *, nth: int) -> None:
    """Put other bytes in the place of a block."""
    with closing(DiskBlockStore(shop.home.blocks_path, bytes_max=1 << 32)) as store:
        cid = held_of(store, Source(root=root.cid)).cids[nth]
        size = store.size(cid)
        assert size is not None
        store.delete_many([cid])
        store.put_many([(cid, bytes(size))])
