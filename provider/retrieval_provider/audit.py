"""`journal check`: the journal replays to the live state, and that state keeps its promises.

What must hold, always: each deal that ended has one outcome and each that did not is open; per channel, the final amounts of all deals
sum to the best voucher, its payer's authorizer signed that voucher, and no more was claimed than it promises; all accounts together
come to zero.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from retrieval.deal import fold, postings
from retrieval.deal.records import ChannelRecord, DealRecord, LineRecord, OutcomeRecord, ReceiptRecord
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import EvmAddress
from retrieval.ledger.journal import Journal
from retrieval.ledger.state import StateView
from retrieval.ledger.transfers import ACCOUNTS, Balances
from retrieval.payment.channel import ChannelConfig, ChannelId, settlement_domain
from retrieval.payment.voucher import Voucher, verify_voucher
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.wire.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was checked."""

    n_entries: int
    head: bytes
    """Hash of the newest entry: with it, a copy of the journal can be compared."""
    n_deals: int
    n_open: int
    n_channels: int
    earned: int
    claimed: int


def check(storage: LmdbStateStorage) -> Audit:
    """Check everything. Raises ``LocalProtocolError(journal_broken)`` naming the first thing that does not hold."""
    head = Journal(storage, fold.reduce).check()
    with storage.snapshot() as state:
        n_deals, n_open, owed = _check_deals(state)
        earned, claimed, n_channels = _check_channels(state, owed)
        _check_accounts(state)
    return Audit(
        n_entries=head.sequence, head=head.hash, n_deals=n_deals, n_open=n_open, n_channels=n_channels, earned=earned, claimed=claimed
    )


def _check_deals(state: StateView) -> tuple[int, int, Counter[bytes]]:
    """Deals, open deals, and what the deals of each line owe in all."""
    owed = Counter[bytes]()
    n_deals, still_open = 0, set(fold.open_deals(state))
    n_open = len(still_open)
    for deal_id, deal in fold.scan(state, DealRecord):
        n_deals += 1
        ended = fold.get(state, OutcomeRecord, deal_id)
        if (ended is None) != (deal_id in still_open):
            raise _broken(f"deal {deal_id.hex()} is open and ended" if ended else f"deal {deal_id.hex()} is neither open nor ended")
        still_open.discard(deal_id)
        newest = fold.get(state, ReceiptRecord, deal_id)
        amount = Receipt.decode(newest.receipt.body).deal_amount if newest else 0
        if ended is not None and ended.amount != amount:
            raise _broken(f"deal {deal_id.hex()} ended with {ended.amount}, and its last receipt says {amount}")
        owed[deal.line_key] += amount
    if still_open:
        raise _broken(f"deal {still_open.pop().hex()} is open, and was never agreed")
    return n_deals, n_open, owed


def _check_channels(state: StateView, owed: Counter[bytes]) -> tuple[int, int, int]:
    """What was earned and claimed over all channels, and how many there are."""
    balances = Balances(state, limited=postings.LIMITED)
    earned = claimed = n_channels = 0
    for channel_id, channel in fold.scan(state, ChannelRecord):
        n_channels += 1
        name = f"channel {channel_id.hex()}"
        line = fold.get(state, LineRecord, channel_id)
        best = line.best if line else None
        best_amount = best.amount if best else 0
        if best is not None:
            _check_signature(channel_id, channel, Voucher(channel_id=ChannelId(channel_id), amount=best.amount, signature=best.signature))
        if owed[channel_id] != best_amount:
            raise _broken(f"{name}: its deals sum to {owed[channel_id]}, and its best voucher promises {best_amount}")
        taken = balances.balance(postings.claimed_account(channel_id)).posted
        if taken + balances.balance(postings.earned_account(channel_id)).posted != best_amount:
            raise _broken(f"{name}: its accounts do not hold what its best voucher promises, {best_amount}")
        if channel.total_claimed > best_amount:
            raise _broken(f"{name}: {channel.total_claimed} was claimed of {best_amount} promised; was state/ restored from an old copy?")
        earned += best_amount
        claimed += channel.total_claimed
    for line_key in owed.keys() - {channel_id for channel_id, _ in fold.scan(state, ChannelRecord)}:
        if owed[line_key]:
            raise _broken(f"{owed[line_key]} is owed on {line_key.hex()}, which is no channel")
    return earned, claimed, n_channels


def _check_signature(channel_id: bytes, channel: ChannelRecord, voucher: Voucher) -> None:
    domain = settlement_domain(channel.chain_id, EvmAddress(channel.contract))
    try:
        verify_voucher(voucher, ChannelConfig.from_bytes(channel.config).payer_authorizer, domain)
    except RemoteProtocolError as error:
        raise _broken(f"channel {channel_id.hex()}: its best voucher does not verify: {error.detail}") from error


def _check_accounts(state: StateView) -> None:
    balances = Balances(state, limited=postings.LIMITED)
    total = sum(balances.balance(account.decode("ascii")).posted for account, _ in state.scan(ACCOUNTS))
    if total:
        raise _broken(f"all accounts together hold {total}, not nothing")


def _broken(why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.JOURNAL_BROKEN, why)
