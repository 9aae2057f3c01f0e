"""`get` against a running provider: what arrives, what it costs, and how each failure ends."""

from __future__ import annotations

import filecmp
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gate import Gate
from processes import DEPOSIT, Market, Program, Provider, open_market, owed, write_file

from retrieval.devchain.children import Json
from retrieval.errors import ErrorCode, Exit
from retrieval.units import KIB, MIB

FILE_BYTES = 3 * MIB + 5
SONG_BYTES = 700 * KIB
ELSEWHERE = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"  # some peer id that nobody here has
MISSING_CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A provider that serves a file and a directory, and a client with a channel to it."""

    market: Market
    provider: Provider
    client: Program
    file: Path
    album: Path
    added_file: Json
    added_album: Json
    file_price: int


@pytest.fixture(scope="module")
def stall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stall]:
    folder = tmp_path_factory.mktemp("market")
    file = write_file(folder / "film.bin", FILE_BYTES, seed=11)
    album = folder / "album"
    (album / "discs" / "first").mkdir(parents=True)
    write_file(album / "discs" / "first" / "song", SONG_BYTES, seed=12)
    write_file(album / "cover", 5, seed=13)
    (album / "empty").touch()
    (album / "front").symlink_to("cover")
    with open_market(folder) as market:
        market.start_chain()
        client = market.new_client()
        provider = market.new_provider()
        adding = provider.start("add", file, album)
        adding.result()
        added_file, added_album = adding.results
        provider.serve()
        client.run("fund", DEPOSIT, "--provider", provider.address)
        file_price = int(client.run("quote", added_file["root"], "--from", provider.address)["total"])
        yield Stall(
            market=market,
            provider=provider,
            client=client,
            file=file,
            album=album,
            added_file=added_file,
            added_album=added_album,
            file_price=file_price,
        )


def test_a_file_arrives_whole_for_the_price_of_its_blocks(stall: Stall, tmp_path: Path) -> None:
    got = stall.client.run("get", stall.added_file["root"], "--from", stall.provider.address, "-o", tmp_path / "out")
    assert filecmp.cmp(tmp_path / "out", stall.file, shallow=False)
    assert (got["root"], got["path"], got["bytes"]) == (stall.added_file["root"], str(tmp_path / "out"), FILE_BYTES)
    assert got["verified"] is got["receipt_verified"] is True
    assert int(got["paid"]) == stall.file_price
    assert got["resumed_bytes"] == got["channel_open_ms"] == 0


def test_a_directory_arrives_with_all_that_is_below_it(stall: Stall, tmp_path: Path) -> None:
    got = stall.client.run("get", stall.added_album["root"], "--from", stall.provider.address, "-o", tmp_path / "out")
    arrived = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*")}
    assert arrived == {path.relative_to(stall.album) for path in stall.album.rglob("*")}
    assert filecmp.cmp(tmp_path / "out/discs/first/song", stall.album / "discs/first/song", shallow=False)
    assert os.readlink(tmp_path / "out/front") == "cover"
    assert got["bytes"] == SONG_BYTES + 5


def test_a_path_inside_a_directory_brings_only_what_lies_there(stall: Stall, tmp_path: Path) -> None:
    wanted = f"{stall.added_album['root']}/discs/first/song"
    got = stall.client.run("get", wanted, "--from", stall.provider.address, "-o", tmp_path / "song")
    assert filecmp.cmp(tmp_path / "song", stall.album / "discs/first/song", shallow=False)
    assert got["bytes"] == SONG_BYTES
    assert int(got["paid"]) < owed(SONG_BYTES + 4 * KIB)  # the proof of the path costs a little


def test_a_quote_names_what_the_blocks_weigh_and_cost(stall: Stall) -> None:
    quoted = stall.client.run("quote", stall.added_file["root"], "--from", stall.provider.address)
    assert (quoted["exact"], quoted["blocks"]) == (True, stall.added_file["blocks"])
    assert FILE_BYTES < quoted["bytes"] < FILE_BYTES + 4 * KIB
    assert int(quoted["total"]) == owed(quoted["bytes"])


def test_above_the_budget_nothing_is_signed(stall: Stall, tmp_path: Path) -> None:
    before = stall.client.run("channels", "--offline")
    refused = stall.client.fail(
        "get", stall.added_file["root"], "--from", stall.provider.address, "-o", tmp_path / "out", "--max-spend", "0.000001"
    )
    assert (refused.status, refused.error["label"]) == (Exit.BUDGET, ErrorCode.OVER_BUDGET.label)
    assert stall.client.run("channels", "--offline") == before
    assert not (tmp_path / "out").exists()


def test_content_that_nobody_added_is_not_found(stall: Stall) -> None:
    refused = stall.client.fail("get", MISSING_CID, "--from", stall.provider.address)
    assert (refused.status, refused.error["label"]) == (Exit.NOT_FOUND, ErrorCode.NOT_FOUND.label)


def test_a_path_that_is_not_in_the_directory_is_not_found(stall: Stall) -> None:
    refused = stall.client.fail("get", f"{stall.added_album['root']}/discs/third", "--from", stall.provider.address)
    assert refused.status == Exit.NOT_FOUND


def test_without_a_channel_the_fund_command_is_named(stall: Stall) -> None:
    stranger = stall.market.new_client("stranger")
    refused = stranger.fail("get", stall.added_file["root"], "--from", stall.provider.address)
    assert (refused.status, refused.error["label"]) == (Exit.PAYMENT, ErrorCode.CHANNEL_MISSING.label)
    assert "retrieval-client fund" in refused.stderr
    assert f"--provider {stall.provider.address}" in refused.stderr


def test_another_peer_at_the_address_is_not_dealt_with(stall: Stall) -> None:
    refused = stall.client.fail(
        "get", MISSING_CID, "--from", stall.provider.address.replace(stall.provider.peer_id, ELSEWHERE), "--timeout", "1"
    )
    assert refused.status in (Exit.PEER, Exit.RESUMABLE)


def test_a_provider_that_cannot_be_reached_is_given_up_after_the_timeout(stall: Stall) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    refused = stall.client.fail("get", MISSING_CID, "--from", stall.provider.at(port), "--timeout", "2")
    assert refused.status == Exit.RESUMABLE


def test_a_provider_that_falls_silent_is_given_up_after_the_timeout_and_taken_up_again(stall: Stall, tmp_path: Path) -> None:
    with Gate(stall.provider.port) as gate:
        command = "get", stall.added_file["root"], "--from", stall.provider.at(gate.port), "-o", tmp_path / "out", "--timeout", "2"
        gate.hold_after(2 * MIB)
        assert stall.client.fail(*command).status == Exit.RESUMABLE
        gate.open()
        got = stall.client.run(*command)
    assert filecmp.cmp(tmp_path / "out", stall.file, shallow=False)
    assert MIB <= got["resumed_bytes"] < FILE_BYTES
    assert int(got["paid"]) == stall.file_price


def test_two_gets_of_one_wallet_take_turns(stall: Stall, tmp_path: Path) -> None:
    wanted = (stall.added_file, tmp_path / "file"), (stall.added_album, tmp_path / "album")
    gets = [stall.client.start("get", added["root"], "--from", stall.provider.address, "-o", out) for added, out in wanted]
    assert [get.result()["verified"] for get in gets] == [True, True]


def test_a_second_serve_on_one_home_is_told_who_holds_it(stall: Stall) -> None:
    refused = stall.provider.fail("serve", "--listen", "/ip4/127.0.0.1/tcp/0")
    assert (refused.status, refused.error["label"]) == (Exit.INTERNAL, ErrorCode.STATE_LOCKED.label)
    assert f"process {stall.provider.serving.pid} " in refused.error["detail"]


def test_what_a_running_provider_is_asked_is_what_it_answers(stall: Stall) -> None:
    status = stall.provider.run("status")
    assert (status["pid"], status["addresses"]) == (stall.provider.serving.pid, [stall.provider.address])
