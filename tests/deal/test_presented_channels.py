"""What a provider keeps of a channel that is presented to it, by what the chain says."""

from __future__ import annotations

import pytest
from pair import Pair

from retrieval.deal import fold
from retrieval.deal.events import Refused
from retrieval.deal.records import ChannelRecord
from retrieval.errors import ErrorCode


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.run()
    return pair


def refusals(pair: Pair) -> list[ErrorCode]:
    """What the client was refused."""
    return [event.code for event in pair.client.events if isinstance(event, Refused)]


def test_a_withdrawal_that_shows_when_a_known_channel_is_presented_again_ends_its_credit_at_once(pair: Pair) -> None:
    pair.present()
    pair.provider.withdrawing[pair.channel_id] = int(pair.now) + 1000
    pair.present()
    channel = pair.provider.books.lines[pair.channel_id].channel
    assert channel is not None
    assert (channel.closing, channel.withdraw_at) == (True, int(pair.now) + 1000)
    assert fold.get(pair.provider.storage, ChannelRecord, pair.channel_id) == channel
    assert refusals(pair) == [ErrorCode.CHANNEL_CLOSING]


@pytest.mark.parametrize(("deposit", "withdraw_in_s", "code"), [(0, 0, ErrorCode.CHANNEL_UNFUNDED), (5, 1000, ErrorCode.CHANNEL_CLOSING)])
def test_nothing_is_kept_of_a_channel_that_was_never_fit_to_sell_on(pair: Pair, deposit: int, withdraw_in_s: int, code: ErrorCode) -> None:
    pair.provider.deposits[pair.channel_id] = deposit
    if withdraw_in_s:
        pair.provider.withdrawing[pair.channel_id] = int(pair.now) + withdraw_in_s
    pair.present()
    assert pair.channel_id not in pair.provider.books.lines
    assert list(fold.scan(pair.provider.storage, ChannelRecord)) == []
    assert refusals(pair) == [code]
