"""Whether what we spent over HTTP adds up: the part of ``journal check`` for channels that we pay from.

What must hold: what is charged on a channel is the sum of what the answers we paid for said, with the corrections that the servers showed;
its accounts hold that; it is covered by what we signed, and so is what was claimed.
"""

from __future__ import annotations

from collections import Counter

from retrieval.deal import fold, postings
from retrieval.deal.records import HttpChannelRecord, HttpCountRecord, HttpPurchaseRecord
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.state import StateView
from retrieval.ledger.transfers import Balances


def check_outlays(state: StateView, corrected: Counter[bytes]) -> tuple[int, int]:
    """What was charged to us and claimed, over all channels. ``corrected`` is by channel.

    Raises ``LocalProtocolError(journal_broken)``.
    """
    balances = Balances(state, limited=postings.LIMITED)
    paid = Counter[bytes]()
    for _, purchase in fold.scan(state, HttpPurchaseRecord):
        paid[purchase.channel] += purchase.amount
    counts = dict(fold.scan(state, HttpCountRecord))
    charged = claimed = 0
    for key in {*paid, *counts}:
        name, count, channel = f"channel {key.hex()}", counts.get(key), fold.get(state, HttpChannelRecord, key)
        if count is None or channel is None:
            raise _broken(f"{name}: it was paid from, and nothing was counted")
        due = paid[key] + corrected[key]
        if due != count.charged:
            raise _broken(f"{name}: its answers and corrections sum to {due}, and {count.charged} is counted as charged")
        held = balances.balance(postings.claimed_account(key)).posted + balances.balance(postings.earned_account(key)).posted
        if held != count.charged:
            raise _broken(f"{name}: its accounts hold {held}, and {count.charged} is counted as charged")
        if max(count.charged, channel.total_claimed) > count.signed:
            detail = f"{count.charged} was charged and {channel.total_claimed} claimed, of {count.signed} signed"
            raise _broken(f"{name}: {detail}; was state/ restored from an old copy?")
        charged += count.charged
        claimed += channel.total_claimed
    return charged, claimed


def _broken(why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.JOURNAL_BROKEN, why)
