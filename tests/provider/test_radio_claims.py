"""An operator claims what its relay carried, the client pays what is proven, and the voucher is booked: through files, by the verbs."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import closing
from pathlib import Path

import pytest
import rich.console
import trio
from chain_fixture import devchain  # noqa: F401 - a fixture
from click.testing import CliRunner
from radio_relays import Relay, bare_packet, deliver, id_of
from retrieval_client.cli import cli as client_cli
from retrieval_client.config import ClientSettings
from retrieval_client.funding import fund
from retrieval_client.wallet import open_wallet
from retrieval_provider.cli import cli as provider_cli
from retrieval_provider.radio import screens
from shop import DOLLAR, Shop

from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.records import AdvertRecord, CarriageRecord, RelayReceiptRecord, record
from retrieval.home import Home
from retrieval.identity import PeerKey, format_peer_id
from retrieval.ledger.journal import Journal
from retrieval.payment.channel import ChannelConfig
from retrieval.payment.evm import EvmChain
from retrieval.radio.account import RelayAccount, tables_of
from retrieval.radio.station import trail_key_of
from retrieval.settings import load
from retrieval.store.lmdb import LmdbStateStorage

NOW = time.time()  # the commands look at the clock, and forget packets that are older than a month
FEE = 11
DESTINATION = PeerKey.from_seed(b"\x55" * 32)


def invoke(cli, home: Home, *words: str) -> dict:
    result = CliRunner().invoke(cli, [*words, "--home", str(home.path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def shop(tmp_path: Path, devchain: str) -> Shop:  # noqa: F811
    return Shop(folder=tmp_path, rpc=devchain)


@pytest.fixture
def client(shop: Shop) -> Home:
    """It has a channel to the operator."""
    home = shop.client()
    (shop.folder / "any").write_bytes(os.urandom(10))
    shop.add(shop.folder / "any")

    async def main() -> None:
        async with shop.opened() as node:
            settings, _ = load(ClientSettings, home.config_path, {}, {})
            await fund(home, settings, node.addresses[0], DOLLAR, open_chain=EvmChain)

    trio.run(main)
    return home


def carried(shop: Shop, client: Home, *, n_packets: int) -> PeerKey:
    """What is in both journals after the relay at the operator's port has carried the client's packets. Returns the client's key."""
    settings, _ = load(ClientSettings, client.config_path, {}, {})
    with closing(LmdbStateStorage.open(shop.home.state_path, command="test")) as state:
        with open_wallet(client, settings, command="test", now=NOW) as wallet:
            operator = next(iter(wallet.lines.values())).channel.config
            key = wallet.peer_key
            account = RelayAccount(id_of(key), trail_key_of(key), None, tables_of(wallet.state), now=NOW)
            relay = Relay(PeerKey.from_seed(b"\x61" * 32), FEE, operator=ChannelConfig.from_bytes(operator).receiver)
            for number in range(n_packets):
                sent, step = account.send(bare_packet(key, DESTINATION, number, cap=100), NOW)
                wallet.journal.append(step.records, 0)
                arrived = relay.carry(sent)
                wallet.journal.append(account.deliver(deliver(arrived, DESTINATION), DESTINATION.peer_id).records, 0)
        records = [record(relay.id, AdvertRecord(frame=relay.advert_frame()))]
        for sequence, signed in enumerate(relay.receipts()):
            subject = relay.id + sequence.to_bytes(4, "big")
            records.append(record(subject, RelayReceiptRecord(signed=signed, relay=relay.key.peer_id)))
        Journal(state, fold.reduce).append(records, 0)
    return key


def test_what_a_relay_carried_is_claimed_paid_and_booked(shop: Shop, client: Home, tmp_path: Path) -> None:
    origin = format_peer_id(carried(shop, client, n_packets=3).peer_id)
    claim, voucher = str(tmp_path / "claim"), str(tmp_path / "voucher")
    for _ in range(2):  # anything may be done twice
        assert invoke(provider_cli, shop.home, "radio", "claim", origin, "-o", claim)["receipts"] == 3
        assert invoke(client_cli, client, "radio", "settle", claim, "-o", voucher)["promised"] == str(3 * FEE)
    invoke(provider_cli, shop.home, "radio", "book", voucher)
    invoke(provider_cli, shop.home, "radio", "book", voucher)
    for home in (shop.home, client):
        with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
            assert check(state).promised == 3 * FEE
            assert len(dict(fold.scan(state, CarriageRecord))) == 3
    result = CliRunner().invoke(provider_cli, ["radio", "claim", origin, "-o", claim, "--home", str(shop.home.path)])
    assert result.exit_code != 0


def test_status_says_what_the_journal_knows_while_nobody_serves(shop: Shop, client: Home) -> None:
    carried(shop, client, n_packets=2)
    status = invoke(provider_cli, shop.home, "radio", "status")
    assert (status["serving"], status["receipts_held"], status["carriages_earned"]) == (False, 2, 0)


def test_status_reads_well_to_a_person() -> None:
    node = {"id": "ab" * 8, "roles": ["RELAY", "PROVIDER"], "hops": 2, "price": "23", "heard_s_ago": 65}
    row = {
        "serving": True,
        "port": "/dev/ttyUSB0",
        "online": True,
        "station": "cd" * 8,
        "board": None,
        "airtime_us": 2_500_000,
        "bands": [{"spent_us": 36_000_000, "budget_us": 360_000_000}],
        "sent_by_type": {"ACK": 3, "QUOTE": 1},
        "frames_sent": 4,
        "frames_heard": 9,
        "frames_refused": 1,
        "sessions": 1,
        "nodes": [node, {**node, "hops": 0, "roles": []}],
        "receipts_held": 0,
        "packets_promised": 5,
        "packets_delivered": 4,
        "carriages_earned": 1,
        "amount_earned": "7",
        "amount_owed": "11",
        "carriages_paid": 2,
        "amount_paid": "46",
        "amount_set_aside": "1000000",
    }
    shown = io.StringIO()
    rich.console.Console(file=shown, width=200).print(screens.status(row))
    for words in ("36 s of 6 min", "over 2 relays for 0.000023 USD a packet", "a neighbour", "ack 3, quote 1", "5, 4 of them receipted"):
        assert words in shown.getvalue()
