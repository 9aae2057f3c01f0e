"""A gateway in this process that is paid by vouchers, as small as one can be, and that lies as it is told; and a wallet for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from aiohttp import web
from retrieval_client.wallet import Wallet
from retrieval_client.web.channel import WebChannel, new_config, new_record
from small_gateway import Gateway, serving

from retrieval.deal.outlay import opened
from retrieval.identity import EvmAddress, EvmKey, PeerKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelId, channel_id
from retrieval.payment.http_receipt import SALE_RECEIPT, SaleStatement, VoucherProof, sign_sale
from retrieval.payment.x402.answer import PAYMENT_RESPONSE, Charge
from retrieval.payment.x402.batch import BatchPayment
from retrieval.payment.x402.offer import PAYMENT_REQUIRED, ChannelSight, PaymentRequired, Requirements, Scheme
from retrieval.payment.x402.payment import PAYMENT_SIGNATURE, Payment
from retrieval.payment.x402.reasons import RESYNC
from retrieval.store.blocks import BlockStore
from retrieval.wire.messages import Scope, Selection, VoucherFields

RECEIVER = EvmKey.from_secret(bytes(31) + b"\x07").address
PROVIDER = PeerKey.from_seed(bytes(32))
PRICE = 100
"""Of every answer, whatever its size: 1 GiB would cost a thousand times that."""
PRICE_PER_GIB = 1_000_000
NO_SIGNATURE = b""


@dataclass(slots=True)
class Lies:
    """How an honest answer is altered."""

    price: Callable[[int], int] = lambda price: price
    charge: Callable[[Charge], Charge] = lambda charge: charge
    statement: Callable[[SaleStatement], SaleStatement] = lambda statement: statement
    sight: Callable[[ChannelSight], ChannelSight] = lambda sight: sight
    n_cut: int = 0
    """Answers of which the connection is cut behind the head, after they were charged."""
    has_receipt: bool = True
    offers: Callable[[Requirements], Requirements] = lambda offer: offer
    reason: str = RESYNC
    """Why a payment is not taken."""


@dataclass(slots=True)
class PaidGateway:
    """Counts as our provider does, without a disk, and charges each answer when its head leaves."""

    store: BlockStore
    lies: Lies = field(default_factory=Lies)
    charged: int = 0
    best: int = 0
    best_signature: bytes = NO_SIGNATURE
    vouchers: list[int] = field(default_factory=list)
    """Amounts, as they came, taken or not."""
    n_answers: int = 0
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    def serving(self) -> AbstractContextManager[Gateway]:
        self._gateway = Gateway(self.store, answer_instead=self.answer)
        return serving(self._gateway)

    _gateway: Gateway = field(init=False)

    def offer(self, sight: ChannelSight | None = None) -> Requirements:
        offer = Requirements(
            scheme=Scheme.BATCH,
            chain_id=DEVCHAIN.chain_id,
            token=DEVCHAIN.token,
            token_name=DEVCHAIN.token_name,
            token_version=DEVCHAIN.token_version,
            amount=self.lies.price(PRICE),
            pay_to=RECEIVER,
            timeout_s=60,
            receiver_authorizer=RECEIVER,
            withdraw_delay_s=3_600,
            channel=sight,
        )
        return self.lies.offers(offer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        header = request.headers.get(PAYMENT_SIGNATURE)
        if header is None:
            return self._required("payment_required", None)
        payload = Payment.from_header(header).payload
        assert isinstance(payload, BatchPayment)
        voucher, config = payload.voucher, payload.config
        self.vouchers.append(voucher.amount)
        if voucher.amount > self.best:
            self.best, self.best_signature = voucher.amount, voucher.signature
        price = self.lies.price(PRICE)
        if voucher.amount != self.charged + price:
            return self._required(self.lies.reason, self._sight(voucher.channel_id))
        self.charged += price
        self.n_answers += 1
        charge = self.lies.charge(
            Charge(payer=config.payer, chain_id=DEVCHAIN.chain_id, charged=price, channel=self._sight(voucher.channel_id))
        )
        headers = {PAYMENT_RESPONSE: charge.to_header()}
        if self.lies.has_receipt:
            headers[SALE_RECEIPT] = self._receipt(request, payload, price)
        if self.lies.n_cut:
            self.lies.n_cut -= 1
            response = web.StreamResponse(headers={**headers, "Content-Type": "application/vnd.ipld.car"})
            await response.prepare(request)
            assert request.transport is not None
            request.transport.close()
            return response
        self._gateway.answer_instead = None
        try:
            response = await self._gateway.answer(request)
        finally:
            self._gateway.answer_instead = self.answer
        response.headers.update(headers)
        return response

    def _sight(self, channel: ChannelId) -> ChannelSight:
        return self.lies.sight(
            ChannelSight(
                channel_id=channel,
                balance=0,
                total_claimed=0,
                withdraw_requested_at=0,
                refund_nonce=0,
                charged=self.charged,
                signed=self.best or None,
                signature=self.best_signature or None,
            )
        )

    def _required(self, reason: str, sight: ChannelSight | None) -> web.Response:
        required = PaymentRequired(url="", description="", accepts=(self.offer(sight),), error=reason)
        return web.Response(status=402, headers={PAYMENT_REQUIRED: required.to_header()})

    def _receipt(self, request: web.Request, payload: BatchPayment, price: int) -> str:
        query = request.query
        first, last = query["entity-bytes"].split(":") if "entity-bytes" in query else (None, None)
        from retrieval.cid import parse_cid

        statement = SaleStatement(
            order_id=next(self._ids).to_bytes(16, "big"),
            selection=Selection(
                root=parse_cid(request.match_info["cid"]),
                path=tuple(filter(None, request.match_info["path"].split("/"))),
                scope=Scope[query["dag-scope"].upper()],
                range_start=None if first is None else int(first),
                range_end=None if last is None else int(last),
            ),
            n_bytes=1 << 20,
            price_per_gib=PRICE_PER_GIB,
            flat_fee=0,
            amount=price,
            payer=payload.config.payer,
            receiver=RECEIVER,
            chain_id=DEVCHAIN.chain_id,
            token=DEVCHAIN.token,
            channel_id=payload.voucher.channel_id,
            channel_amount=self.charged,
            transaction=b"",
            time=0,
        )
        voucher = VoucherFields(channel_id=payload.voucher.channel_id, amount=payload.voucher.amount, signature=payload.voucher.signature)
        proof = VoucherProof(config=payload.config.to_bytes(), contract=DEVCHAIN.contract, voucher=voucher)
        header = sign_sale(PROVIDER, self.lies.statement(statement), proof).to_header()
        assert header is not None
        return header


def give_channel(wallet: Wallet, offer: Requirements, balance: int, *, receiver: EvmAddress = RECEIVER) -> WebChannel:
    """A funded channel in the wallet's books, with no chain behind it."""
    config = new_config(replace(offer, pay_to=receiver, receiver_authorizer=receiver), wallet.key.address, 86_400)
    empty = new_record(config, DEVCHAIN)
    outlay, records = opened(channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract), empty, 1.0)
    wallet.journal.append([*records, *outlay.channel_seen(replace(empty, balance=balance), 2.0)], 2_000)
    channel = wallet.web_channels[outlay.key] = WebChannel(outlay, wallet.voucher_signer)
    return channel
