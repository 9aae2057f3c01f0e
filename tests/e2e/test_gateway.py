"""`gateway` as people run it: a token made while it runs, content bought through it, a stop that leaves deals open, and its death."""

from __future__ import annotations

import http.client
import json
import signal
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gate import Gate
from http_door import Caller, Reply
from processes import DEPOSIT, Market, Program, Provider, open_market, owed, write_file

from retrieval.devchain.children import Child, Json
from retrieval.errors import ErrorCode, Exit
from retrieval.units import MIB

FILE_BYTES = 8 * MIB + 5
PATIENCE_S = 30


@dataclass(slots=True, kw_only=True)
class Desk:
    """A provider with a film, a client with a channel to it through a gate, and its gateway."""

    provider: Provider
    client: Program
    gate: Gate
    film: Path
    added: Json

    def start(self, *options: str) -> tuple[Child, Caller]:
        child = self.client.start("gateway", "--listen", "127.0.0.1:0", *options)
        return child, Caller(port=int(child.ready()["url"].rpartition(":")[2]))

    def new_token(self, *options: str) -> str:
        scopes = ("--scope", "read,retrieve,spend", "--cap", "0.04 USD")
        return str(self.client.run("token", "new", *scopes, *options)["token"])

    def tokens(self) -> list[Json]:
        listing = self.client.start("token", "list")
        listing.result()
        return listing.results

    def get(self, caller: Caller, token: str) -> Reply:
        return caller.get(f"/ipfs/{self.added['root']}", Authorization=f"Bearer {token}")

    def begin(self, caller: Caller, token: str) -> http.client.HTTPResponse:
        """A film under way: its beginning has come, and the rest is held."""
        self.gate.hold_after(3 * MIB)
        connection = http.client.HTTPConnection("127.0.0.1", caller.port, timeout=PATIENCE_S)
        connection.request("GET", f"/ipfs/{self.added['root']}", headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        assert response.read(MIB)
        return response


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Market, Provider]]:
    """A chain, and a provider that serves."""
    with open_market(tmp_path_factory.mktemp("market")) as market:
        market.start_chain()
        provider = market.new_provider()
        provider.serve()
        yield market, provider


@pytest.fixture
def desk(market: tuple[Market, Provider], tmp_path: Path) -> Iterator[Desk]:
    place, provider = market
    film = write_file(tmp_path / "film.bin", FILE_BYTES, seed=zlib.crc32(tmp_path.name.encode()))
    client = place.new_client(tmp_path.name)
    desk = Desk(provider=provider, client=client, gate=Gate(provider.port), film=film, added=provider.run("add", film))
    with desk.gate:
        settle(desk)
        yield desk


def settle(desk: Desk) -> None:
    """Name the provider in the client's configuration, and open a channel with it."""
    address, config = desk.provider.at(desk.gate.port), desk.client.home / "config.toml"
    lines = [
        f'providers = ["{address}"]' if line.lstrip("# ").startswith("providers =") else line for line in config.read_text().splitlines()
    ]
    config.write_text("\n".join(lines) + "\n")
    desk.client.run("fund", DEPOSIT, "--provider", desk.provider.address)


def test_a_film_is_bought_within_a_token_and_its_receipt_checks(desk: Desk) -> None:
    gateway, caller = desk.start()
    token = desk.new_token("--name", "player", "--expires", "1 d")
    assert caller.get(f"/ipfs/{desk.added['root']}").code == (402, "spending_not_allowed")
    assert desk.get(caller, token).body == desk.film.read_bytes()
    gateway.wait_until(lambda: receipts(caller, token) == ["verified"], "the receipt was not countersigned")
    deal = json.loads(caller.get("/v1/deals", Authorization=f"Bearer {token}").body)["deals"][0]
    bundle = caller.get(f"/v1/receipts/{deal['deal_id']}", Authorization=f"Bearer {token}").body
    file = desk.client.home / "one.receipt.cbor"
    file.write_bytes(bundle)
    assert desk.client.run("receipts", "verify", file)["status"] == "verified"
    (row,) = [row for row in desk.tokens() if row["name"] == "player"]
    assert (row["state"], row["spent"], row["held"]) == ("good", deal["paid"], "0")
    desk.client.run("token", "revoke", row["id"])
    assert desk.get(caller, token).code == (401, "unauthorized")
    assert gateway.stop() == Exit.OK
    assert desk.client.run("journal", "check")["ok"] is True


def receipts(caller: Caller, token: str) -> list[str]:
    return [row["status"] for row in json.loads(caller.get("/v1/receipts", Authorization=f"Bearer {token}").body)["receipts"]]


def test_whoever_else_would_spend_is_told_who_has_the_wallet(desk: Desk) -> None:
    gateway, _ = desk.start()
    refused = desk.client.fail("get", desk.added["root"], "--from", desk.provider.address)
    assert refused.error["code"] == int(ErrorCode.STATE_LOCKED)
    assert "retrieval-client gateway" in refused.error["detail"]
    assert gateway.stop() == Exit.OK


def test_a_stop_cuts_the_answer_and_what_came_is_not_bought_again(desk: Desk) -> None:
    gateway, caller = desk.start()
    token = desk.new_token()
    response = desk.begin(caller, token)
    assert gateway.end(signal.SIGINT) == Exit.OK
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    desk.gate.open()
    assert [deal["outcome"] for deal in desk.client.run("statement")["deals"]] == ["open"]
    got = desk.client.run("get", desk.added["root"], "--from", desk.provider.at(desk.gate.port), "-o", desk.film.with_suffix(".got"))
    assert got["resumed_bytes"] > 0
    assert desk.film.with_suffix(".got").read_bytes() == desk.film.read_bytes()
    statement = desk.client.run("statement")
    assert int(statement["paid"]) <= owed(desk.added["block_bytes"]) + 1
    assert statement["deals"][-1]["outcome"] == "done"


def test_a_gateway_that_was_killed_counts_what_it_had_spent(desk: Desk) -> None:
    gateway, caller = desk.start()
    token = desk.new_token()
    desk.begin(caller, token)
    gateway.kill()
    desk.gate.open()
    (before,) = desk.tokens()
    assert int(before["held"]) > 0
    gateway, caller = desk.start()
    (after,) = desk.tokens()
    (deal,) = desk.client.run("statement")["deals"]
    assert (after["held"], after["spent"]) == ("0", deal["paid"])
    assert desk.get(caller, token).body == desk.film.read_bytes()
    gateway.wait_until(lambda: receipts(caller, token) == ["verified"], "the receipt was not countersigned")
    assert gateway.stop() == Exit.OK
    (ended,) = desk.tokens()
    (deal,) = desk.client.run("statement")["deals"]
    assert (ended["held"], ended["spent"]) == ("0", deal["paid"])
    assert desk.client.run("journal", "check")["ok"] is True


def test_others_reach_it_only_if_said_so(desk: Desk) -> None:
    refused = desk.client.fail("gateway", "--listen", "0.0.0.0:0")
    assert (refused.error["code"], "--allow-remote" in refused.error["detail"]) == (int(ErrorCode.USAGE), True)
