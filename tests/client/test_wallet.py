from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from fake_chain import FakeChain
from retrieval_client.config import ClientSettings
from retrieval_client.leaving import Stage, find_channel, leave
from retrieval_client.wallet import Wallet, open_wallet, open_wallet_in_turn
from shop import DOLLAR, new_home

from retrieval.deal import fold
from retrieval.deal.audit import check
from retrieval.deal.records import ChannelRecord
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.home import Home
from retrieval.identity import EvmAddress, PeerKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig, ChannelId
from retrieval.settings import load
from retrieval.wire.messages import Settlement

NOW = 1_800_000_000.0
PROVIDER = PeerKey.from_seed(b"\x01" * 32).peer_id
ADDRESS = "/ip4/127.0.0.1/tcp/1/p2p/provider"
TERMS = Settlement(
    chain_id=DEVCHAIN.chain_id, contract=DEVCHAIN.contract, token=DEVCHAIN.token, collector=DEVCHAIN.collector, receiver=b"\x12" * 20,
    receiver_authorizer=b"\x12" * 20, withdraw_delay_min_s=86_400, withdraw_delay_max_s=2_592_000, deposit_min=0, confirmations=0,
    decimals=6, symbol="USD",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "client", "retrieval-client", ClientSettings, {})


@contextmanager
def opened(home: Home, now: float = NOW) -> Iterator[Wallet]:
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    with open_wallet(home, settings, command="test", now=now, wait_s=0) as wallet:
        yield wallet


def fund(wallet: Wallet, chain: FakeChain, amount: int, terms: Settlement = TERMS) -> ChannelId:
    return ChannelId(wallet.fund(chain, terms, PROVIDER, ADDRESS, amount, now=NOW).line.key)


def recorded(wallet: Wallet, channel: bytes) -> ChannelRecord:
    found = fold.get(wallet.state, ChannelRecord, channel)
    assert found is not None
    return found


def test_funding_opens_a_channel_with_the_providers_terms(home: Home) -> None:
    chain = FakeChain()
    with opened(home) as wallet:
        channel = recorded(wallet, fund(wallet, chain, 2 * DOLLAR))
    config = ChannelConfig.from_bytes(channel.config)
    assert (channel.balance, channel.peer, channel.address) == (2 * DOLLAR, PROVIDER, ADDRESS)
    assert (config.receiver, config.token, config.withdraw_delay_s) == (TERMS.receiver, DEVCHAIN.token, 86_400)


def test_funding_again_tops_the_same_channel_up(home: Home) -> None:
    chain = FakeChain()
    with opened(home) as wallet:
        first = fund(wallet, chain, 2 * DOLLAR)
    with opened(home) as wallet:
        assert fund(wallet, chain, DOLLAR) == first
        assert recorded(wallet, first).balance == 3 * DOLLAR


def test_a_deposit_whose_answer_was_lost_is_found_and_not_sent_again(home: Home) -> None:
    chain = FakeChain()
    chain.answers_lost = 1
    with opened(home) as wallet, pytest.raises(RemoteProtocolError):
        fund(wallet, chain, 2 * DOLLAR)
    with opened(home) as wallet:
        funding = wallet.fund(chain, TERMS, PROVIDER, ADDRESS, 2 * DOLLAR, now=NOW)
        assert not funding.sent
        assert recorded(wallet, funding.line.key).balance == 2 * DOLLAR
    assert chain.n_deposits == 1


def test_the_channel_is_on_disk_before_its_money_moves(home: Home) -> None:
    chain = FakeChain()
    chain.answers_lost = 1
    with opened(home) as wallet, pytest.raises(RemoteProtocolError):
        fund(wallet, chain, 2 * DOLLAR)
    (channel,) = chain.channels
    with opened(home) as wallet:
        assert recorded(wallet, channel).balance == 0
        assert wallet.refresh(chain, [wallet.line(channel)], now=NOW) == 2 * DOLLAR
        assert wallet.line(channel).credit == 2 * DOLLAR
        check(wallet.state)


@pytest.mark.parametrize("change", [{"chain_id": 1}, {"contract": b"\x01" * 20}, {"token": b"\x01" * 20}])
def test_another_chain_contract_or_token_is_not_paid_into(home: Home, change: dict[str, object]) -> None:
    with opened(home) as wallet, pytest.raises(LocalProtocolError) as refused:
        fund(wallet, FakeChain(), DOLLAR, replace(TERMS, **change))  # type: ignore[arg-type]
    assert refused.value.code is ErrorCode.WRONG_CHAIN


def test_a_deposit_below_the_providers_least_is_refused_before_it_is_sent(home: Home) -> None:
    chain = FakeChain()
    with opened(home) as wallet, pytest.raises(LocalProtocolError) as refused:
        fund(wallet, chain, DOLLAR - 1, replace(TERMS, deposit_min=DOLLAR))
    assert refused.value.code is ErrorCode.CHANNEL_UNFUNDED
    assert "1.00 USD" in refused.value.detail
    assert chain.n_deposits == 0


def test_a_top_up_may_be_small(home: Home) -> None:
    chain, terms = FakeChain(), replace(TERMS, deposit_min=DOLLAR)
    with opened(home) as wallet:
        fund(wallet, chain, DOLLAR, terms)
        assert recorded(wallet, fund(wallet, chain, 1, terms)).balance == DOLLAR + 1


def test_another_receiver_gets_a_channel_of_its_own(home: Home) -> None:
    chain = FakeChain()
    with opened(home) as wallet:
        assert fund(wallet, chain, DOLLAR) != fund(wallet, chain, DOLLAR, replace(TERMS, receiver=b"\x13" * 20))


def test_a_session_key_that_would_not_last_is_renewed(home: Home) -> None:
    with opened(home) as wallet:
        line = wallet.line(fund(wallet, FakeChain(), DOLLAR))
        first = wallet.presentation(line, needed_until=NOW + 3600, now=NOW).session_key
        assert wallet.presentation(line, needed_until=NOW + 3600, now=NOW).session_key == first
        later = NOW + 31 * 86_400
        renewed = wallet.presentation(line, needed_until=later, now=later).session_key
        assert renewed.expires_at > later
        assert recorded(wallet, line.key).session_key == renewed


def test_a_second_process_is_told_who_holds_the_wallet(home: Home) -> None:
    with opened(home), pytest.raises(LocalProtocolError) as refused, opened(home):
        pass
    assert refused.value.code is ErrorCode.STATE_LOCKED
    assert f"process {os.getpid()} (test)" in refused.value.detail


def test_whoever_waits_for_its_turn_gets_it(home: Home) -> None:
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    order: list[str] = []

    async def take(name: str) -> None:
        async with open_wallet_in_turn(home, settings, command=name, now=NOW):
            order.append(f"{name} in")
            await trio.sleep(0.1)
            order.append(f"{name} out")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take, "a")
            nursery.start_soon(take, "b")

    trio.run(main)
    assert [step.split()[1] for step in order] == ["in", "out", "in", "out"]


# leaving


def test_closing_takes_two_steps_with_the_delay_between_them(home: Home) -> None:
    chain = FakeChain()
    with opened(home) as wallet:
        channel = fund(wallet, chain, 2 * DOLLAR)
        begun = leave(wallet, chain, channel, now=NOW)
        assert (begun.stage, begun.amount, begun.withdraw_at) == (Stage.CLOSING, 2 * DOLLAR, chain.now + 86_400)
        assert leave(wallet, chain, channel, now=NOW).transaction is None
        chain.now += 86_400
        done = leave(wallet, chain, channel, now=NOW)
        assert (done.stage, done.amount) == (Stage.CLOSED, 2 * DOLLAR)
        assert leave(wallet, chain, channel, now=NOW).stage is Stage.CLOSED
        check(wallet.state)


def test_a_closed_channel_is_not_funded_again(home: Home) -> None:
    chain = FakeChain()
    with opened(home) as wallet:
        closed = fund(wallet, chain, DOLLAR)
        leave(wallet, chain, closed, now=NOW)
        chain.now += 86_400
        leave(wallet, chain, closed, now=NOW)
        wallet.refresh(chain, [wallet.line(closed)], now=NOW)
        assert fund(wallet, chain, DOLLAR) != closed


@pytest.mark.parametrize("n_steps_lost", [1, 2])
def test_a_withdrawal_whose_answer_was_lost_goes_on_where_the_chain_is(home: Home, n_steps_lost: int) -> None:
    chain = FakeChain()
    with opened(home) as wallet:
        channel = fund(wallet, chain, DOLLAR)
        chain.answers_lost = n_steps_lost
    for _ in range(4):
        with opened(home) as wallet:
            try:
                ended = leave(wallet, chain, channel, now=NOW)
            except RemoteProtocolError:
                continue
        chain.now += 86_400
    assert ended.stage is Stage.CLOSED
    assert chain.channels[channel].balance == 0


def test_a_channel_is_found_by_the_first_digits_of_its_id(home: Home) -> None:
    chain = FakeChain()
    with opened(home) as wallet:
        channel = fund(wallet, chain, DOLLAR)
        assert find_channel(wallet.state, channel.hex()[:8].upper()) == channel
        for text in ("", "nothing"):
            with pytest.raises(LocalProtocolError):
                find_channel(wallet.state, text)


def test_addresses_of_the_wallet_and_of_its_channels_are_one(home: Home) -> None:
    with opened(home) as wallet:
        config = ChannelConfig.from_bytes(recorded(wallet, fund(wallet, FakeChain(), DOLLAR)).config)
        assert config.payer == config.payer_authorizer == EvmAddress(wallet.key.address)
