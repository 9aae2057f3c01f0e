"""Trio. Paying a gateway: offers are judged, vouchers leave once they are on disk, charges and receipts are held against the order.

One rule: nothing leaves that the fetch's budget, the channel's deposit and the price that was quoted do not cover; and what left and was
not answered counts as spent until the server shows otherwise.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Final

import trio

from retrieval.deal.records import SALE_RECEIPT_BYTES_MAX, HttpPurchaseRecord, record
from retrieval.errors import DETAIL_MAX, ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.payment.chain import Chain
from retrieval.payment.http_receipt import SALE_RECEIPT, SaleReceipt, verify_sale
from retrieval.payment.rate import Rate
from retrieval.payment.x402.answer import PAYMENT_RESPONSE, Charged
from retrieval.payment.x402.batch import BatchPayment
from retrieval.payment.x402.offer import PaymentRequired, Requirements, Scheme
from retrieval.payment.x402.payment import PAYMENT_SIGNATURE, Payment
from retrieval.transport.writer import Clock, JournalWriter
from retrieval.units import KIB, MIB, floor_div, format_amount
from retrieval.wire.messages import DealId, Scope

from ..fetch import Tally
from ..source import Source
from ..wallet import Wallet
from . import replies
from .address import GatewayAddress
from .channel import WebChannel, check_offer
from .connection import Answer, Connection
from .funding import open_channel, refresh
from .plan import ASK_BYTES, Ask
from .replies import WebQuote

TRIES_MAX: Final = 5
"""Requests for one answer: to hear the price, to pay, to be corrected, and once more of each, should prices change meanwhile."""
MARGIN_BYTES: Final = 4 * MIB
"""What an answer may have beyond the range that is asked for: the nodes above it, and the blocks that its ends run through."""


@dataclass(slots=True, kw_only=True)
class Order:
    """An answer that is coming, and what was paid for it."""

    answer: Answer
    purchase_id: DealId | None = None
    purchase: HttpPurchaseRecord | None = None
    """Both None where it cost nothing."""


class Till:
    """One fetch's."""

    def __init__(
        self,
        wallet: Wallet | None,
        writer: JournalWriter | None,
        source: Source,
        provider: GatewayAddress,
        tally: Tally,
        *,
        spend_max: int,
        clock: Clock,
        open_chain: Callable[[str], Chain],
        on_paid: Callable[[], None],
        make_room: Callable[[int], Awaitable[None]],
        patience: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        """``make_room`` sees to it that so many bytes fit, or raises; ``patience`` surrounds what takes as long as a chain takes."""
        assert (wallet is None) == (writer is None)
        self.n_paid = 0
        self.n_receipts = 0
        self._wallet: Final = wallet
        self._writer: Final = writer
        self._source: Final = source
        self._provider: Final = provider
        self._tally: Final = tally
        self._spend_max: Final = spend_max
        self._clock: Final = clock
        self._open_chain: Final = open_chain
        self._on_paid: Final = on_paid
        self._make_room: Final = make_room
        self._patience: Final = patience
        self._rate: Rate | None = None
        """As quoted; None before it is needed, and at gateways that quote nothing."""
        self._is_quoted = False
        self._quoted: WebQuote | None = None
        """What the gateway said of it, not held against anything yet."""
        self._is_heard = False
        self._hearing: Final = trio.Lock()
        self._unanswered = 0
        self._signed: Final[dict[WebChannel, int]] = {}
        """The most that was signed here on each channel, over its life."""
        self._found: Final[dict[WebChannel, int]] = {}
        """What was charged on each before anything was signed here: earlier fetches account for it, whatever the server counts now."""
        self._last: tuple[WebChannel, Requirements] | None = None
        """What was last accepted for a whole part of a file: the next one costs as much."""
        self._kept: trio.Event | None = None
        """Set when the last record of what was bought, and with it all before, is on disk."""

    @property
    def unanswered(self) -> int:
        """What left and may be charged or not: a server that took no payment still has it, and may count it in a later fetch."""
        return self._at_risk(None)

    @property
    def expects_price(self) -> bool:
        """Whether money may soon be asked for, and the price is not known: who has no channel with any gateway seldom pays one."""
        return self._wallet is not None and bool(self._wallet.web_channels) and not self._is_heard

    async def hear(self, connection: Connection) -> WebQuote | None:
        """What all of it costs, asked once; None at a gateway that does not say. Raises as ``replies.quote``."""
        async with self._hearing:
            if not self._is_heard:
                source = self._source
                whole = Ask(root=source.root, path=source.path, scope=source.scope, byte_range=source.byte_range)
                self._quoted = await replies.quote(connection, whole.address)
                self._is_heard = True
        return self._quoted

    async def open(self, connection: Connection, ask: Ask) -> Order:
        """The head of an answer with what is asked for, paid where it must be. Raises ``RetrievalError``."""
        paying = self._last if _is_whole_part(ask) else None
        said: RemoteProtocolError | None = None
        for _ in range(TRIES_MAX):
            if paying is None:
                answer = await connection.ask(f"/ipfs/{ask.address}", replies.CAR_HEADERS)
                if answer.head.status == 200:
                    replies.require_car(answer)
                    return Order(answer=answer)
                if answer.head.status != 402:
                    raise await replies.refusal(answer)
                required, said = await replies.payment_required(answer)
            else:
                found = await self._pay(connection, ask, *paying)
                if isinstance(found, Order):
                    self._last = paying if _is_whole_part(ask) else self._last
                    return found
                required, said = found
            paying = await self._choose(connection, ask, required)
        assert said is not None
        raise said

    def ended(self, order: Order) -> None:
        """All of an answer was verified and stored."""
        if order.purchase is not None and order.purchase_id is not None:
            assert self._writer is not None
            whole = replace(order.purchase, n_bytes=order.answer.n_bytes)
            self._kept = self._writer.submit([record(order.purchase_id, whole)])

    async def settled(self) -> None:
        """Return when all that was paid is on disk, and how much came for it."""
        if self._kept is not None:
            await self._kept.wait()

    def _at_risk(self, paying: WebChannel | None) -> int:
        """What may yet be charged beside the next payment from ``paying``, which takes in whatever was signed on that channel before."""
        signed_elsewhere = sum(
            max(0, signed - max(channel.outlay.charged, self._found[channel]))
            for channel, signed in self._signed.items()
            if channel is not paying
        )
        return max(self._unanswered, signed_elsewhere)

    # what is asked for

    async def _choose(self, connection: Connection, ask: Ask, required: PaymentRequired) -> tuple[WebChannel, Requirements]:
        """The offer to take and the channel to pay it from. Raises ``RetrievalError`` where there is none."""
        wallet = self._wallet
        if wallet is None:
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, "it has a price, and no wallet is open")
        offer = next((each for each in required.accepts if each.scheme is Scheme.BATCH), None)
        if offer is None:
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "it is not paid from channels, and a transfer each would cost gas")
        check_offer(offer, wallet.deployment, wallet.key.address)
        await self._hear_price(connection)
        channel = self._best(offer)
        self._check_amount(ask, offer, channel)
        if channel is None or not channel.covers(offer.amount):
            channel = await self._fund(offer)
        return channel, offer

    def _best(self, offer: Requirements) -> WebChannel | None:
        """The channel that an offer takes with most money in it."""
        assert self._wallet is not None
        fitting = [channel for channel in self._wallet.web_channels.values() if channel.fits(offer)]
        return max(fitting, key=lambda channel: channel.outlay.credit, default=None)

    async def _hear_price(self, connection: Connection) -> None:
        """Once, where the gateway has an answer: what all of it costs, held against the limits before anything is signed."""
        if self._is_quoted:
            return
        assert self._wallet is not None
        tally = self._tally
        quoted = await self.hear(connection)
        self._is_quoted = True
        if quoted is None:
            return
        self._rate = quoted.rate
        tally.total_bytes = max(quoted.bytes_max, tally.verified_bytes)
        price_max = self._wallet.settings.wallet.price_max
        if price_max and quoted.rate.price_per_gib > price_max:
            asked, most = (format_amount(price, decimals=quoted.decimals) for price in (quoted.rate.price_per_gib, price_max))
            raise LocalProtocolError(ErrorCode.PRICE_TOO_HIGH, f"{asked} a GiB, and {most} is the most")
        left = min(quoted.amount_max, quoted.rate.owed(max(0, quoted.bytes_max - tally.resumed_bytes)))
        if tally.spent_sum + left > self._spend_max:
            raise self._over_budget(left)
        await self._make_room(max(0, quoted.bytes_max - tally.resumed_bytes))

    def _check_amount(self, ask: Ask, offer: Requirements, channel: WebChannel | None) -> None:
        """Before anything is signed for a part. Raises ``LocalProtocolError``: ``over_budget``, ``price_too_high``."""
        if self._tally.spent_sum + self._at_risk(channel) + offer.amount > self._spend_max:
            raise self._over_budget(offer.amount)
        n_bytes = _bytes_max(ask) if ask.byte_range is not None else self._tally.total_bytes
        assert self._wallet is not None
        price_max = self._wallet.settings.wallet.price_max
        rate = self._rate or (Rate(price_per_gib=price_max) if price_max else None)
        if rate is not None and n_bytes is not None and offer.amount > rate.owed(n_bytes):
            detail = f"{offer.amount} is asked for at most {floor_div(n_bytes, KIB)} KiB, and {rate.price_per_gib} a GiB was the price"
            raise LocalProtocolError(ErrorCode.PRICE_TOO_HIGH, detail)

    def _over_budget(self, amount: int) -> LocalProtocolError:
        assert self._wallet is not None
        decimals = self._wallet.deployment.token_decimals
        asked, spent, limit = (
            format_amount(each, decimals=decimals) for each in (amount, self._tally.spent_sum + self.unanswered, self._spend_max)
        )
        detail = f"it may cost {asked} on top of {spent} spent or signed already, and {limit} is the limit; nothing more was signed"
        return LocalProtocolError(ErrorCode.OVER_BUDGET, detail)

    # where the money is

    async def _fund(self, offer: Requirements) -> WebChannel:
        """Look for a deposit that we do not know of; open a channel where there is none, as far as the wallet's owner allowed.

        A channel that was used up is not topped up here: then ``auto_open_max`` would be no limit.
        """
        wallet, writer = self._wallet, self._writer
        assert wallet is not None
        assert writer is not None
        rpc, deposit = wallet.settings.chain.rpc, wallet.settings.wallet.auto_open_max
        if not rpc:
            raise self._short_of_money(self._best(offer), offer)
        began, chain = self._clock(), self._open_chain(rpc)
        async with self._patience(), wallet.web_opening:
            channel = self._best(offer)  # which another fetch may have opened meanwhile
            if channel is not None:
                await refresh(writer, chain, channel, now=began)
            is_empty = channel is None or channel.outlay.channel.balance == 0
            if is_empty and deposit >= max(offer.amount, offer.deposit_min):
                channel = await open_channel(wallet, writer, chain, offer, deposit, channel=channel, now=began)
        self._tally.channel_open_s += self._clock() - began
        if channel is None or not channel.covers(offer.amount):
            raise self._short_of_money(channel, offer)
        return channel

    def _short_of_money(self, channel: WebChannel | None, offer: Requirements) -> LocalProtocolError:
        """The error that names the exact command."""
        assert self._wallet is not None
        decimals = self._wallet.deployment.token_decimals
        amount = format_amount(max(offer.amount * 10, offer.deposit_min, 10**decimals), decimals=decimals)
        short = "" if channel is None else f"{format_amount(offer.amount - channel.outlay.credit, decimals=decimals)} is missing; "
        command = f"{short}run `{self._wallet.home.command('fund')} {amount} --provider {self._provider}`"
        if len(command) > DETAIL_MAX:  # rather a command without its home than one that is cut off
            command = f"{short}run `retrieval-client fund {amount} --provider {self._provider}`"
        return LocalProtocolError(ErrorCode.CHANNEL_MISSING if channel is None else ErrorCode.CHANNEL_UNFUNDED, command)

    # paying

    async def _pay(
        self, connection: Connection, ask: Ask, channel: WebChannel, offer: Requirements
    ) -> Order | tuple[PaymentRequired, RemoteProtocolError]:
        """One request with a payment: the answer, or the 402 that it met."""
        async with channel.turn:
            self._check_amount(ask, offer, channel)
            if not channel.covers(offer.amount):  # another fetch spent it meanwhile
                raise self._short_of_money(channel, offer)
            is_answered = False
            try:
                payment = await self._sign(channel, offer)
                headers = {**replies.CAR_HEADERS, PAYMENT_SIGNATURE: payment.to_header()}
                answer = await connection.ask(f"/ipfs/{ask.address}", headers)
                if answer.head.status == 402:
                    required, said = await replies.payment_required(answer)
                    await self._correct(channel, required, offer.amount)
                    is_answered = True
                    return required, said
                if answer.head.status != 200:
                    raise await replies.refusal(answer)
                replies.require_car(answer)
                order = self._charged(ask, channel, offer, payment, answer)
                is_answered = True
                return order
            finally:
                if not is_answered:
                    channel.unanswered()

    async def _sign(self, channel: WebChannel, offer: Requirements) -> Payment:
        """A payment, and with it on disk what it promises."""
        assert self._writer is not None
        left = self._spend_max - self._tally.spent_sum - self._at_risk(channel)
        payment, records = channel.pay(offer, amount_max=left, now=self._clock())
        self._unanswered += offer.amount
        self._found.setdefault(channel, channel.outlay.charged)
        self._signed[channel] = max(channel.outlay.charged + offer.amount, self._signed.get(channel, 0))
        await self._writer.commit(records)
        return payment

    def _charged(self, ask: Ask, channel: WebChannel, offer: Requirements, payment: Payment, answer: Answer) -> Order:
        """The answer is here: what of the payment it takes, and whether its receipt says the same."""
        assert self._writer is not None
        header = answer.head.headers.get(PAYMENT_RESPONSE.lower())
        if header is None:  # it answers as if it cost nothing; whether it counts the payment shows in its next 402
            channel.unanswered()
            return Order(answer=answer)
        charged, records = channel.answered(header, self._clock())
        self._unanswered -= offer.amount
        purchase_id = DealId(secrets.token_bytes(16))
        self._tally.spent[purchase_id] = charged.charged
        channel.bought.append((self._tally.spent, purchase_id))
        self.n_paid += 1
        purchase = HttpPurchaseRecord(
            channel=channel.outlay.key,
            provider=str(self._provider),
            selection=ask.selection,
            n_bytes=None,
            amount=charged.charged,
            receipt=_receipt_bytes(answer),
            bought_ms=int(self._clock() * 1000),
        )
        # Kept whatever the receipt says, and before it is judged: a charge that is not counted could be made twice. Its content need not
        # wait for that: whatever is signed next stands behind it in the journal, and leaves once both are on disk.
        self._kept = self._writer.submit([*records, record(purchase_id, purchase)])
        self._on_paid()
        if purchase.receipt:
            check_receipt(purchase.receipt, ask, payment, charged)
            self.n_receipts += 1
        return Order(answer=answer, purchase_id=purchase_id, purchase=purchase)

    async def _correct(self, channel: WebChannel, required: PaymentRequired, amount: int) -> None:
        """A payment of ``amount`` was not taken: go on from the server's count, where it shows one."""
        assert self._writer is not None
        correction = channel.correct(required, self._clock())
        rise, charged = correction.rise, channel.outlay.charged
        await self._writer.commit(correction.records)
        if rise > 0:  # it has counted a payment whose answer never came, or says so of this one, which nobody can tell
            # All that was signed here may be in it, also what it had shown as uncounted before.
            before, after = charged - rise + channel.take_again(rise), min(charged, self._signed[channel])
            self._tally.spent[DealId(secrets.token_bytes(16))] = max(0, after - before)
        elif rise < 0:
            channel.give_back(-rise)
        self._unanswered = 0 if correction.is_proven else self._unanswered - amount


def check_receipt(encoded: bytes, ask: Ask, payment: Payment, charged: Charged) -> None:
    """Hold a provider's receipt against what was asked for, paid and charged.

    Raises ``RemoteProtocolError``: ``bad_receipt``, and as ``verify_sale`` and ``SaleReceipt.decode``.
    """
    receipt = SaleReceipt.decode(encoded)
    said = verify_sale(receipt).statement
    paid = payment.payload
    assert isinstance(paid, BatchPayment)
    wanted = ask.selection
    selected = said.selection
    # A name that is no text stands in a receipt as readers of text see it.
    path = tuple(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in wanted.path)
    is_same_part = (selected.root, selected.path, selected.range_start, selected.range_end) == (
        wanted.root,
        path,
        wanted.range_start,
        wanted.range_end,
    )
    facts = (
        (is_same_part and Scope(selected.scope) is ask.scope, "it is for other content than was asked for"),
        (said.amount == charged.charged, f"it says {said.amount}, and {charged.charged} was charged"),
        (said.channel_id == paid.voucher.channel_id, "it is for another channel"),
        (charged.charged_total in (None, said.channel_amount), "it counts another sum on the channel than the answer does"),
        (said.chain_id == payment.accepted.chain_id, "it is for another chain"),
    )
    for holds, complaint in facts:
        if not holds:
            raise RemoteProtocolError(ErrorCode.BAD_RECEIPT, complaint)


def _receipt_bytes(answer: Answer) -> bytes:
    """What the header holds; nothing where there is none, or none that can be kept."""
    header = answer.head.headers.get(SALE_RECEIPT.lower(), "")
    try:
        encoded = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return encoded if len(encoded) <= SALE_RECEIPT_BYTES_MAX else b""


def _bytes_max(ask: Ask) -> int:
    """What an answer can have at most, by what is asked for."""
    part = ask.byte_range
    if part is None or part.last is None or (part.first < 0) != (part.last < 0):
        return ASK_BYTES + MARGIN_BYTES
    wanted = part.last - part.first + 1
    return wanted + floor_div(wanted, 16) + MARGIN_BYTES


def _is_whole_part(ask: Ask) -> bool:
    part = ask.byte_range
    return part is not None and part.first >= 0 and part.last is not None and part.last - part.first + 1 == ASK_BYTES
