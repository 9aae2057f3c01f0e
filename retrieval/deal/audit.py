"""Whether a journal keeps its promises: it replays to the live state, and the sums in it agree. For both programs' ``journal check``.

What must hold, always: each deal that ended has one outcome, at the amount of its last receipt, and each that did not is open; per channel
the amounts of all deals, and of what was paid to relays, sum to the best voucher, which the channel's authorizer signed, and no more was
claimed than it promises; all accounts together come to zero. A relay was paid once for a packet, as one of those that a delivery receipt
for it proves, and all relays of a packet no more than its fee cap. What was charged over HTTP is the sum of its sales, within what the
best voucher promises or what was received. Where the other party showed that it counts another sum, the journal says so in a transfer of
its own (``postings.correction``), and the sum is right with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Final

from retrieval.deal import fold, postings
from retrieval.deal.outlays import check_outlays
from retrieval.deal.records import (
    RADIO_ID_SIZE,
    CarriageRecord,
    ChannelRecord,
    DealRecord,
    DeliveryRecord,
    ExactRecord,
    HttpChannelRecord,
    HttpSaleRecord,
    LineRecord,
    OutcomeRecord,
    PacketRecord,
    ReceiptRecord,
    TabRecord,
)
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import EvmAddress
from retrieval.ledger.journal import Journal, RecordKind
from retrieval.ledger.state import StateSnapshot, StateStorage, StateView
from retrieval.ledger.transfers import ACCOUNTS, Balances, TransferFlag, decode_transfer
from retrieval.payment.channel import ChannelConfig, ChannelId, settlement_domain
from retrieval.payment.voucher import Voucher, verify_voucher
from retrieval.wire.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was checked. Amounts in the token's smallest unit, over all channels."""

    n_entries: int
    head: bytes
    """Hash of the newest entry: with it, a copy of the journal can be compared."""
    n_deals: int
    n_open: int
    n_channels: int
    promised: int
    """By the best voucher of each channel; of that, over HTTP, what was charged."""
    claimed: int
    spent: int
    """The part of ``promised`` that we promised ourselves."""
    drawn: int
    """The part of ``claimed`` that others claimed from us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Channels:
    """The sums over all channels that deals and relays are paid from, as ``Audit`` has them."""

    n: int
    promised: int
    claimed: int
    spent: int
    drawn: int


def check(storage: StateStorage) -> Audit:
    """Check everything. Raises ``LocalProtocolError(journal_broken)`` naming the first thing that does not hold."""
    head = Journal(storage, fold.reduce).check()
    with storage.snapshot() as state:
        n_deals, n_open, owed = _check_deals(state)
        owed.update(_check_carriages(state))
        owed.update(_corrections(state))
        channels = _check_channels(state, owed)
        charged, taken, n_tabs = _check_tabs(state)
        spent, withdrawn = check_outlays(state, _corrections(state, HttpChannelRecord))
        _check_accounts(state)
    return Audit(
        n_entries=head.sequence,
        head=head.hash,
        n_deals=n_deals,
        n_open=n_open,
        n_channels=channels.n + n_tabs,
        promised=channels.promised + charged + spent,
        claimed=channels.claimed + taken + withdrawn,
        spent=channels.spent + spent,
        drawn=channels.drawn + withdrawn,
    )


def _check_deals(state: StateView) -> tuple[int, int, Counter[bytes]]:
    """Deals, open deals, and what the deals of each line cost in all."""
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


def _check_carriages(state: StateView) -> Counter[bytes]:
    """What relays were paid, by channel. What we sent ourselves is held against its delivery receipt and its fee cap."""
    paid, by_packet = Counter[bytes](), defaultdict[bytes, list[tuple[bytes, int]]](list)
    for subject, carriage in fold.scan(state, CarriageRecord):
        packet_hash, relay = subject[:-RADIO_ID_SIZE], subject[-RADIO_ID_SIZE:]
        paid[carriage.channel] += carriage.amount
        by_packet[packet_hash].append((relay, carriage.amount))
    for packet_hash, packet in fold.scan(state, PacketRecord):
        name, carried = f"packet {packet_hash.hex()}", by_packet[packet_hash]
        relays = [packet.relays[at : at + RADIO_ID_SIZE] for at in range(0, len(packet.relays), RADIO_ID_SIZE)]
        if packet.delivery and fold.get(state, DeliveryRecord, packet.delivery) is None:
            raise _broken(f"{name}: its delivery receipt is missing")
        if any(relay not in relays for relay, _ in carried):
            raise _broken(f"{name}: a relay was paid that no delivery receipt proves")
        if sum(amount for _, amount in carried) > packet.fee_cap:
            raise _broken(f"{name}: its relays were paid more than its fee cap, {packet.fee_cap}")
    return paid


def _corrections(state: StateSnapshot, kind: type[ChannelRecord | HttpChannelRecord] = ChannelRecord) -> Counter[bytes]:
    """By channel: what the other party showed to be promised beyond, or below, what our deals sum to."""
    corrected = Counter[bytes]()
    accounts = {postings.channel_account(key): key for key, _ in fold.scan(state, kind)}
    for entry in state.entries():
        if entry.record.kind is not RecordKind.TRANSFER:
            continue
        transfer = decode_transfer(entry.record.body)
        if transfer.flag is not TransferFlag.POSTED:
            continue
        if (key := accounts.get(transfer.debit)) is not None and transfer.credit == postings.earned_account(key):
            corrected[key] += transfer.amount
        elif (key := accounts.get(transfer.credit)) is not None and transfer.debit == postings.earned_account(key):
            corrected[key] -= transfer.amount
    return corrected


def _check_channels(state: StateView, owed: Counter[bytes]) -> _Channels:
    """What was promised and claimed over all channels, and how many there are."""
    balances = Balances(state, limited=postings.LIMITED)
    promised = claimed = spent = drawn = 0
    channels = dict(fold.scan(state, ChannelRecord))
    for channel_id, channel in channels.items():
        name = f"channel {channel_id.hex()}"
        line = fold.get(state, LineRecord, channel_id)
        best = line.best if line else None
        best_amount = best.amount if best else 0
        if best is not None:
            _check_signature(channel_id, channel, Voucher(channel_id=ChannelId(channel_id), amount=best.amount, signature=best.signature))
        if owed[channel_id] != best_amount:
            raise _broken(f"{name}: its deals and relays sum to {owed[channel_id]}, and its best voucher promises {best_amount}")
        taken = balances.balance(postings.claimed_account(channel_id)).posted
        if taken + balances.balance(postings.earned_account(channel_id)).posted != best_amount:
            raise _broken(f"{name}: its accounts do not hold what its best voucher promises, {best_amount}")
        if channel.total_claimed > best_amount:
            raise _broken(f"{name}: {channel.total_claimed} was claimed of {best_amount} promised; was state/ restored from an old copy?")
        promised += best_amount
        claimed += channel.total_claimed
        if channel.is_paid_by_us:
            spent += best_amount
            drawn += channel.total_claimed
    for line_key in owed.keys() - channels.keys():
        if owed[line_key]:
            raise _broken(f"{owed[line_key]} is owed on {line_key.hex()}, which is no channel")
    return _Channels(n=len(channels), promised=promised, claimed=claimed, spent=spent, drawn=drawn)


def _check_tabs(state: StateView) -> tuple[int, int, int]:
    """What was charged and claimed over all channels that pay over HTTP, and how many there are; payers by ``exact`` are checked too."""
    balances = Balances(state, limited=postings.LIMITED)
    channels, tabs = dict(fold.scan(state, HttpChannelRecord)), dict(fold.scan(state, TabRecord))
    sold, received = Counter[bytes](), Counter[bytes]()
    for _, sale in fold.scan(state, HttpSaleRecord):
        sold[sale.tab] += sale.amount
    for _, transfer in fold.scan(state, ExactRecord):
        received[transfer.payer] += transfer.amount if transfer.transaction else 0
    charged = claimed = 0
    for key in {*tabs, *sold, *received}:
        tab, channel = tabs.get(key, _NO_TAB), channels.get(key)
        name = f"tab {key.hex()}"
        if sold[key] != tab.charged:
            raise _broken(f"{name}: its answers sum to {sold[key]}, and {tab.charged} was charged")
        if channel is None:
            accounts = postings.prepaid_account(key), postings.sold_account(key)
            held = tuple(balances.balance(account).posted for account in accounts)
            if received[key] != tab.received or held != (tab.received - tab.charged, tab.charged):
                raise _broken(f"{name}: {received[key]} was received and {tab.charged} charged, and its accounts hold {held}")
            continue
        if tab.best is not None:
            voucher = Voucher(channel_id=ChannelId(key), amount=tab.best.amount, signature=tab.best.signature)
            _check_signature(key, channel, voucher)
        if tab.charged > (tab.best.amount if tab.best else 0):
            raise _broken(f"{name}: {tab.charged} was charged, above its best voucher")
        taken = balances.balance(postings.claimed_account(key)).posted
        if taken + balances.balance(postings.earned_account(key)).posted != tab.charged:
            raise _broken(f"{name}: its accounts do not hold what was charged, {tab.charged}")
        if channel.total_claimed > tab.charged:
            raise _broken(f"{name}: {channel.total_claimed} was claimed of {tab.charged} charged; was state/ restored from an old copy?")
        charged += tab.charged
        claimed += channel.total_claimed
    return charged, claimed, len(channels)


def _check_signature(channel_id: bytes, channel: ChannelRecord | HttpChannelRecord, voucher: Voucher) -> None:
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


_NO_TAB: Final = TabRecord(charged=0, overpaid=0, received=0)


def _broken(why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.JOURNAL_BROKEN, why)
