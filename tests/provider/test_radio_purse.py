"""A provider pays relays for its own answers: it funds a channel to their operator, settles what is claimed, and both books agree."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from chain_fixture import devchain  # noqa: F401 - a fixture
from click.testing import CliRunner, Result
from radio_relays import Relay, bare_packet, deliver, id_of
from retrieval_provider.cli import cli
from shop import DOLLAR, Shop

from retrieval.deal import fold
from retrieval.deal.audit import Audit, check
from retrieval.deal.records import AdvertRecord, CarriageRecord, ChannelRecord, PacketRecord, RelayReceiptRecord, record
from retrieval.home import Home, read_secret
from retrieval.identity import EvmAddress, EvmKey, PeerKey, format_address, format_peer_id
from retrieval.ledger.journal import Journal
from retrieval.payment.evm import EvmChain
from retrieval.radio.account import RelayAccount, tables_of
from retrieval.radio.station import trail_key_of
from retrieval.store.lmdb import LmdbStateStorage

NOW = time.time()  # the commands look at the clock, and forget packets that are older than a month
FEE = 11
DESTINATION = PeerKey.from_seed(b"\x55" * 32)


def address_of(home: Home) -> EvmAddress:
    return EvmKey.from_secret(read_secret(home.receiver_key_path).reveal()).address


def run(home: Home, *words: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, words), "--home", str(home.path), "--json"])


def told(home: Home, *words: object) -> dict:
    result = run(home, *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@dataclass
class Field:
    """A provider that answers over the radio, and the operator of a relay on the way."""

    origin: Shop
    operator: Shop
    relay: Relay
    n_sent: int = 0

    @property
    def key(self) -> PeerKey:
        return PeerKey.from_seed(read_secret(self.origin.home.identity_key_path).reveal())

    @property
    def peer(self) -> str:
        return format_peer_id(self.key.peer_id)

    def carry(self, n_packets: int) -> None:
        """Have the relay carry packets of the provider, and sign for it. Both journals know of it."""
        with self._state(self.origin) as origin, self._state(self.operator) as operator:
            account = RelayAccount(id_of(self.key), trail_key_of(self.key), None, tables_of(origin), now=NOW)
            journal = Journal(origin, fold.reduce)
            journal.append(account.meet(self.relay.advert_frame()).records, 0)
            first = len(self.relay.carried)
            for _ in range(n_packets):
                self.n_sent += 1
                sent, step = account.send(bare_packet(self.key, DESTINATION, self.n_sent, cap=100), NOW)
                journal.append(step.records, 0)
                journal.append(account.deliver(deliver(self.relay.carry(sent), DESTINATION), DESTINATION.peer_id).records, 0)
            records = [record(self.relay.id, AdvertRecord(frame=self.relay.advert_frame()))]
            for each, hop in self.relay.carried[first:]:
                signed = self.relay.receipt(each, hop)
                subject = self.relay.id + self.relay.sequence.to_bytes(4, "big")
                records.append(record(subject, RelayReceiptRecord(signed=signed, relay=self.relay.key.peer_id)))
            Journal(operator, fold.reduce).append(records, 0)

    def fund(self, amount: str) -> dict:
        return told(self.origin.home, "radio", "fund", amount, "--relay", self.relay.id.hex())

    def settle(self) -> dict:
        """From a claim to a voucher that is booked. What the origin says of its settlement."""
        claim, voucher = self.origin.folder / "claim", self.origin.folder / "voucher"
        told(self.operator.home, "radio", "claim", self.peer, "-o", claim)
        settled = told(self.origin.home, "radio", "settle", claim, "-o", voucher)
        told(self.operator.home, "radio", "book", voucher)
        return settled

    def audits(self) -> tuple[Audit, Audit]:
        return tuple(check_of(shop.home) for shop in (self.origin, self.operator))

    @contextmanager
    def _state(self, shop: Shop) -> Iterator[LmdbStateStorage]:
        with closing(LmdbStateStorage.open(shop.home.state_path, command="test")) as state:
            yield state


def check_of(home: Home) -> Audit:
    with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
        return check(state)


@pytest.fixture
def field(tmp_path: Path, devchain: str) -> Field:  # noqa: F811
    for name in ("origin", "operator"):
        (tmp_path / name).mkdir()
    origin, operator = (Shop(folder=tmp_path / name, rpc=devchain) for name in ("origin", "operator"))
    EvmChain(devchain).mint(address_of(origin.home), 10 * DOLLAR)
    relay = Relay(PeerKey.from_seed(b"\x61" * 32), FEE, operator=address_of(operator.home))
    return Field(origin=origin, operator=operator, relay=relay)


def test_a_relay_is_paid_for_carrying_answers_and_its_operator_claims_it_on_chain(field: Field) -> None:
    field.carry(3)
    assert field.fund("1 USD")["balance"] == str(DOLLAR)
    for _ in range(2):  # anything may be done twice
        assert told(field.operator.home, "radio", "claim", field.peer, "-o", field.origin.folder / "claim")["receipts"] == 3
        claim, voucher = field.origin.folder / "claim", field.origin.folder / "voucher"
        assert told(field.origin.home, "radio", "settle", claim, "-o", voucher)["promised"] == str(3 * FEE)
    for _ in range(2):
        told(field.operator.home, "radio", "book", field.origin.folder / "voucher")
    paid, earned = field.audits()
    assert (paid.promised, paid.spent) == (3 * FEE, 3 * FEE)
    assert (earned.promised, earned.spent) == (3 * FEE, 0)
    assert told(field.operator.home, "claim")["settled"] == str(3 * FEE)
    assert EvmChain(field.origin.rpc).token_balance(address_of(field.operator.home)) == 3 * FEE
    assert told(field.origin.home, "journal", "check")["earned"] == "0"
    assert told(field.origin.home, "journal", "check")["paid"] == str(3 * FEE)
    status = told(field.origin.home, "radio", "status")
    assert (status["amount_owed"], status["carriages_paid"], status["amount_paid"]) == ("0", 3, str(3 * FEE))
    assert told(field.operator.home, "radio", "status")["amount_earned"] == str(3 * FEE)
    assert told(field.origin.home, "claim")["channels"] == []  # its own channel is not one to be claimed from


def test_a_second_claim_is_paid_on_the_channel_that_the_first_one_brought(field: Field) -> None:
    field.carry(1)
    field.fund("1 USD")
    assert field.settle()["promised"] == str(FEE)
    field.carry(2)
    assert field.settle()["promised"] == str(3 * FEE)
    assert [audit.promised for audit in field.audits()] == [3 * FEE, 3 * FEE]


def test_a_claim_is_paid_as_far_as_the_channel_goes_and_the_rest_once_it_was_topped_up(field: Field) -> None:
    field.carry(3)
    field.fund("0.00003 USD")  # of 33
    assert told(field.origin.home, "radio", "status")["amount_owed"] == str(3 * FEE)
    assert field.settle() | {"path": ""} == {"path": "", "packets": 2, "promised": str(2 * FEE)}
    assert field.fund("0.00003 USD")["balance"] == "60"
    assert field.settle()["promised"] == str(3 * FEE)
    assert [audit.promised for audit in field.audits()] == [3 * FEE, 3 * FEE]


def test_without_a_channel_nothing_is_paid_and_the_command_that_opens_one_is_named(field: Field) -> None:
    field.carry(1)
    claim = field.origin.folder / "claim"
    told(field.operator.home, "radio", "claim", field.peer, "-o", claim)
    refused = run(field.origin.home, "radio", "settle", claim, "-o", field.origin.folder / "voucher")
    assert refused.exit_code != 0
    assert "retrieval-provider radio fund" in str(refused.exception)
    with closing(LmdbStateStorage.open_readonly(field.origin.home.state_path)) as state:
        assert not dict(fold.scan(state, CarriageRecord))


def test_nobody_funds_a_relay_that_was_never_heard_or_is_its_own(field: Field) -> None:
    assert "was heard" in str(run(field.origin.home, "radio", "fund", "1 USD", "--relay", "ab" * 8).exception)
    field.relay.operator = address_of(field.origin.home)
    field.carry(1)
    refused = run(field.origin.home, "radio", "fund", "1 USD", "--operator", format_address(field.relay.operator))
    assert refused.exit_code != 0
    with closing(LmdbStateStorage.open_readonly(field.origin.home.state_path)) as state:
        assert not dict(fold.scan(state, ChannelRecord))
        assert len(dict(fold.scan(state, PacketRecord))) == 1
