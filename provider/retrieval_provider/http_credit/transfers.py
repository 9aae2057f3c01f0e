"""Trio. Transfers by ``exact``: from a signature to credit on the payer's tab, once, whatever happens in between.

A transfer is written down before it is submitted, so that a node that dies in between finds it again and asks the chain what became of
it. Money counts when the chain has it; what was only shown, while there was enough credit, is written down so that it works once.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final, Protocol

import trio

from retrieval.deal import fold, postings
from retrieval.deal.books import ProviderBooks
from retrieval.deal.records import ExactRecord, record
from retrieval.deal.tab import Tab
from retrieval.errors import ErrorCode, RemoteProtocolError, RetrievalError
from retrieval.identity import EvmAddress
from retrieval.ledger.state import StateView
from retrieval.payment.x402.exact import ExactPayment
from retrieval.payment.x402.payment import Payment
from retrieval.transport.writer import JournalWriter

from .facilitator import Facilitator

log: Final = logging.getLogger("retrieval.provider.http_credit")


CALLS_MAX: Final = 16
"""Threads that ask the chain or a facilitator, which may be slow: payments are committed from others."""
SIGHTS_MAX: Final = 8
SIGHT_PAUSE_S: Final = 0.25
"""What was mined is looked for this often: behind one RPC there can be several nodes, and one of them may be a block behind."""
RESUME_S: Final = 30.0
"""Between attempts while the chain does not answer."""


class TransferChain(Protocol):
    """What the chain is asked. Raises ``RetrievalError``."""

    def block_number(self) -> int: ...

    def find_exact(self, payer: EvmAddress, payee: EvmAddress, amount: int, nonce: bytes, *, from_block: int) -> bytes | None: ...


class Transfers:
    """Every transfer this provider was shown."""

    def __init__(
        self, books: ProviderBooks, state: StateView, writer: JournalWriter, chain: TransferChain, facilitator: Facilitator
    ) -> None:
        """``state`` is what ``writer`` writes; the books name the receiver."""
        assert books.channel_terms is not None
        self._payee: Final = books.channel_terms.receiver
        self._books: Final = books
        self._state: Final = state
        self._writer: Final = writer
        self._chain: Final = chain
        self._facilitator: Final = facilitator
        self._calls: Final = trio.CapacityLimiter(CALLS_MAX)

    def require_unused(self, paid: ExactPayment) -> None:
        """Raises ``RemoteProtocolError(payment_used)``. One whose outcome is not known yet is not used."""
        known = fold.get(self._state, ExactRecord, paid.id)
        if known is not None and (known.transaction or not known.amount):
            raise RemoteProtocolError(ErrorCode.PAYMENT_USED, "this transfer paid for an earlier request")

    async def credit(self, payment: Payment, paid: ExactPayment, *, enough: int) -> tuple[Tab, bytes]:
        """Have a payer's tab hold ``enough``: by what is left on it, else by submitting this transfer.

        Gives the tab, and the transaction where there was one. The transfer is used afterwards. Raises ``RetrievalError``, and then it can
        be sent again.
        """
        known = fold.get(self._state, ExactRecord, paid.id)
        if known is not None and (found := await self._find(known)) is not None:
            return await self._received(paid.id, replace(known, transaction=found)), found
        await trio.to_thread.run_sync(self._facilitator.check, payment, limiter=self._calls)
        tab = self._books.tabs.get(paid.payer)
        if tab is not None and tab.credit >= enough and known is None:
            shown = ExactRecord(payer=paid.payer, nonce=paid.nonce, amount=0, transaction=b"", from_block=0)
            await self._writer.commit([record(paid.id, shown)])
            return tab, b""
        if known is None:
            from_block = await trio.to_thread.run_sync(self._chain.block_number, limiter=self._calls)
            known = ExactRecord(payer=paid.payer, nonce=paid.nonce, amount=paid.amount, transaction=b"", from_block=from_block)
            await self._writer.commit([record(paid.id, known)])
        with trio.CancelScope(shield=True):  # once it is submitted, what becomes of it is written down; the adapter's deadlines bound it
            mined = await self._submit(payment, known)
            return await self._received(paid.id, replace(known, transaction=mined)), mined

    async def resume_when_possible(self) -> None:
        """``resume``, again and again until the chain answers."""
        while True:
            try:
                return await self.resume()
            except RetrievalError as error:
                log.warning("what became of some transfers cannot be told yet: %s", error)
            await trio.sleep(RESUME_S)

    async def resume(self) -> None:
        """Ask the chain what became of the transfers whose outcome the last run did not hear. Raises ``RetrievalError``."""
        for exact_id in fold.unheard_exacts(self._state):
            row = fold.get(self._state, ExactRecord, exact_id)
            assert row is not None
            if (found := await self._find(row)) is not None:
                await self._received(exact_id, replace(row, transaction=found))

    async def _submit(self, payment: Payment, known: ExactRecord) -> bytes:
        """The transaction that the chain shows, whoever submitted it: it pays us all the same."""
        n_sights, refusal = SIGHTS_MAX, RemoteProtocolError(ErrorCode.TRANSACTION_FAILED, "the chain does not show it")
        try:
            await trio.to_thread.run_sync(self._facilitator.settle, payment, limiter=self._calls)
        except RemoteProtocolError as error:
            n_sights, refusal = 1, error
        for _ in range(n_sights):
            if (found := await self._find(known)) is not None:
                return found
            await trio.sleep(SIGHT_PAUSE_S)
        raise refusal

    async def _find(self, row: ExactRecord) -> bytes | None:
        def find() -> bytes | None:
            return self._chain.find_exact(EvmAddress(row.payer), self._payee, row.amount, row.nonce, from_block=row.from_block)

        return await trio.to_thread.run_sync(find, limiter=self._calls)

    async def _received(self, exact_id: bytes, row: ExactRecord) -> Tab:
        """Credit a transfer that was mined."""
        tab = self._books.tabs.setdefault(row.payer, Tab(key=row.payer))
        tab.receive(row.amount)
        records = [record(exact_id, row), postings.exact_received(row.payer, exact_id, amount=row.amount), tab.to_record()]
        log.info("%s sent %d in 0x%s", row.payer.hex(), row.amount, row.transaction.hex())
        await self._writer.commit(records)
        return tab
