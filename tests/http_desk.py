"""The counter of a provider's HTTP door on a real chain, without its network: and payers who sign what they are told to."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from retrieval_provider.config import Pricing
from retrieval_provider.http_credit.ask import Ask
from retrieval_provider.http_credit.counter import Counter, Grant, Refusal
from retrieval_provider.http_credit.facilitator import Facilitator, OwnGas
from retrieval_provider.http_credit.tariff import Tariff
from retrieval_provider.http_credit.transfers import Transfers
from retrieval_provider.lookout import Lookout
from retrieval_provider.pricing import PriceList
from takings import Payer, Takings

from retrieval.cid import RAW, cid_of
from retrieval.errors import ErrorCode
from retrieval.identity import EvmKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.rate import Rate
from retrieval.payment.voucher import VoucherSigner
from retrieval.payment.x402.batch import BatchPayment, Deposit, sign_deposit
from retrieval.payment.x402.exact import ExactPayment, sign_exact
from retrieval.payment.x402.payment import Payment
from retrieval.transport.writer import open_writer, steady_clock
from retrieval.units import MIB
from retrieval.wire.messages import Scope, Selection

RATE = Rate(price_per_gib=1_000_000)
SELECTION = Selection(root=cid_of(RAW, b"content"), path=(), scope=Scope.ENTITY)
FAR_OFF = 1 << 40
"""A time that development chains do not run ahead to."""
FREE_PER_DAY = MIB
EXACT_MIN = 10_000
DEPOSIT_MIN = 5_000


@dataclass(slots=True, kw_only=True)
class Desk:
    """One run of a counter."""

    takings: Takings
    counter: Counter
    transfers: Transfers
    grants: list[Grant] = field(default_factory=list)

    async def ask(self, payment: str | None = None, *, n_bytes: int = MIB, prefix: str = "192.0.2.1") -> Grant:
        ask = Ask(prefix=prefix, target="/ipfs/x", selection=SELECTION, n_bytes=n_bytes, payment=payment)
        grant = await self.counter.open(ask)
        self.grants.append(grant)
        return grant

    async def refusal(self, payment: str | None = None, *, n_bytes: int = MIB, prefix: str = "192.0.2.1") -> Refusal:
        """The refusal of what must be refused."""
        answer = await self.answer(payment, n_bytes=n_bytes, prefix=prefix)
        assert isinstance(answer, Refusal), "it was granted"
        return answer

    async def answer(self, payment: str | None = None, *, n_bytes: int = MIB, prefix: str = "192.0.2.1") -> Grant | Refusal:
        """Whatever it is."""
        try:
            return await self.ask(payment, n_bytes=n_bytes, prefix=prefix)
        except Refusal as refusal:
            return refusal

    async def code(self, payment: str | None = None, *, n_bytes: int = MIB) -> ErrorCode:
        return (await self.refusal(payment, n_bytes=n_bytes)).error.code

    def voucher(self, payer: Payer, amount: int, *, key: EvmKey | None = None, deposit: Deposit | None = None) -> str:
        """The header of a voucher, of a channel's payer unless another key is named."""
        signer = VoucherSigner(key or payer.key, DEVCHAIN.chain_id, DEVCHAIN.contract)
        (batch, _) = self.counter.tariff.accepts(RATE.owed(MIB))
        payload = BatchPayment(config=payer.config, voucher=signer.sign(payer.channel, amount), deposit=deposit)
        return Payment(accepted=batch, payload=payload).to_header()

    def deposit(self, payer: Payer, amount: int) -> Deposit:
        return sign_deposit(
            payer.key,
            payer.config,
            payer.channel,
            amount,
            collector=DEVCHAIN.collector,
            token_domain=DEVCHAIN.token_domain,
            salt=secrets.token_bytes(32),
            valid_before=FAR_OFF,
        )

    def transfer(self, payer: EvmKey, amount: int = EXACT_MIN) -> ExactPayment:
        nonce = secrets.token_bytes(32)
        receiver = self.takings.receiver.address
        return sign_exact(payer, receiver, amount, token_domain=DEVCHAIN.token_domain, nonce=nonce, valid_before=FAR_OFF)

    def header(self, transfer: ExactPayment) -> str:
        (_, exact) = self.counter.tariff.accepts(RATE.owed(MIB))
        return Payment(accepted=exact, payload=transfer).to_header()


@asynccontextmanager
async def open_desk(takings: Takings, facilitator: Facilitator | None = None) -> AsyncIterator[Desk]:
    """A counter that works while the block runs, over the books of ``takings``."""
    clock = steady_clock()
    facilitator = facilitator or OwnGas(takings.evm, takings.receiver)
    assert takings.books.channel_terms is not None
    async with open_writer(takings.journal, clock) as writer:
        transfers = Transfers(takings.books, takings.state, writer, takings.evm, facilitator)
        counter = Counter(
            books=takings.books,
            prices=PriceList(takings.state, Pricing(default=RATE.price_per_gib)),
            writer=writer,
            lookout=Lookout(takings.chain, confirmations=0),
            facilitator=facilitator,
            transfers=transfers,
            state=takings.state,
            tariff=Tariff(deployment=DEVCHAIN, terms=takings.books.channel_terms, exact_min=EXACT_MIN, deposit_min=DEPOSIT_MIN),
            free_per_day=FREE_PER_DAY,
            clock=clock,
        )
        yield Desk(takings=takings, counter=counter, transfers=transfers)
