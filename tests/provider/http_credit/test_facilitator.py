"""A facilitator of another make, by its URL: x402's own settles our payers' transfers and deposits, and one that lies moves nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from chain_fixture import devchain  # noqa: F401
from http_desk import EXACT_MIN, RATE, open_desk
from retrieval_provider.http_credit.facilitator import ANSWER_MAX, ByUrl
from takings import DEPOSIT, Takings, new_payer
from trio.testing import trio_test

from retrieval.deal.audit import check
from retrieval.errors import ErrorCode
from retrieval.identity import EvmKey
from retrieval.payment.channel import WITHDRAW_DELAY_FLOOR_S
from retrieval.units import MIB

PRICE = RATE.owed(MIB)
Answer = Callable[[str, Any], tuple[int, bytes]]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A facilitator at a URL: ``answer`` gets the verb and the request, and returns status and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer(self.path.strip("/"), asked)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def x402s_own(takings: Takings) -> Answer:
    """x402's facilitator of both schemes, with a key of its own that has gas money."""
    Account = pytest.importorskip("eth_account").Account
    batch = pytest.importorskip("x402.mechanisms.evm.batch_settlement.facilitator")
    authorizer = pytest.importorskip("x402.mechanisms.evm.batch_settlement.authorizer_signer")
    exact = pytest.importorskip("x402.mechanisms.evm.exact.facilitator")
    signers = pytest.importorskip("x402.mechanisms.evm.signers")
    schemas = pytest.importorskip("x402.schemas")
    key = EvmKey.generate()
    takings.evm.send_gas(key.address)
    signer = signers.FacilitatorWeb3Signer(key.secret.hex(), takings.url)
    schemes = {
        "batch-settlement": batch.BatchSettlementEvmFacilitator(signer, authorizer.LocalAuthorizerSigner(Account.from_key(key.secret))),
        "exact": exact.ExactEvmScheme(signer),
    }

    def answer(verb: str, asked: Any) -> tuple[int, bytes]:
        payment = schemas.PaymentPayload.model_validate(asked["paymentPayload"])
        requirements = schemas.PaymentRequirements.model_validate(asked["paymentRequirements"])
        outcome = getattr(schemes[requirements.scheme], verb)(payment, requirements)
        return 200, outcome.model_dump_json(by_alias=True, exclude_none=True).encode()

    return answer


@pytest.fixture
def takings(devchain: str) -> Iterator[Takings]:  # noqa: F811
    """A takings without gas money: it needs somebody to submit for it."""
    takings = Takings(url=devchain)
    yield takings
    check(takings.state)


@trio_test
async def test_x402s_own_facilitator_settles_transfers_and_deposits(takings: Takings) -> None:
    payer = new_payer(takings.receiver.address, withdraw_delay_s=WITHDRAW_DELAY_FLOOR_S)  # exactly what the offer says, for x402
    takings.evm.mint(payer.key.address, 2 * DEPOSIT)
    with answering(x402s_own(takings)) as url:
        async with open_desk(takings, ByUrl(url)) as desk:
            assert (await desk.ask(desk.header(desk.transfer(payer.key)))).order_id is not None
            assert (await desk.ask(desk.voucher(payer, PRICE, deposit=desk.deposit(payer, DEPOSIT)))).order_id is not None
    assert takings.received() == EXACT_MIN
    assert takings.books.tabs[payer.channel].credit == DEPOSIT - PRICE


YES = json.dumps({"isValid": True, "success": True, "transaction": "0x" + "11" * 32}).encode()


@trio_test
async def test_a_facilitator_that_says_yes_to_everything_is_not_believed(takings: Takings) -> None:
    payer = new_payer(takings.receiver.address)
    takings.evm.mint(payer.key.address, 2 * DEPOSIT)
    with answering(lambda verb, asked: (200, YES)) as url:
        async with open_desk(takings, ByUrl(url)) as desk:
            assert await desk.code(desk.header(desk.transfer(payer.key))) is ErrorCode.TRANSACTION_FAILED
            assert await desk.code(desk.voucher(payer, PRICE, deposit=desk.deposit(payer, DEPOSIT))) is ErrorCode.CHANNEL_UNFUNDED
    assert takings.books.tabs == {}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b"", ErrorCode.RPC_UNAVAILABLE),
        (200, b"[]", ErrorCode.RPC_UNAVAILABLE),
        (200, b"[" * 5_000, ErrorCode.RPC_UNAVAILABLE),
        (200, b'{"isValid": 1}', ErrorCode.RPC_UNAVAILABLE),
        (500, b"<html>", ErrorCode.RPC_UNAVAILABLE),
        (200, b" " * (ANSWER_MAX + 1), ErrorCode.RPC_UNAVAILABLE),
        (200, b'{"isValid": false, "invalidReason": "insufficient_funds"}', ErrorCode.TRANSACTION_FAILED),
        (400, b'{"isValid": false}', ErrorCode.TRANSACTION_FAILED),
    ],
)
def test_what_a_facilitator_says_instead_is_one_of_two_errors(takings: Takings, status: int, body: bytes, code: ErrorCode) -> None:
    @trio_test
    async def ask() -> None:
        with answering(lambda verb, asked: (status, body)) as url:
            async with open_desk(takings, ByUrl(url)) as desk:
                assert await desk.code(desk.header(desk.transfer(EvmKey.generate()))) is code

    ask()


@trio_test
async def test_a_facilitator_that_is_not_there_is_an_error_too(takings: Takings) -> None:
    async with open_desk(takings, ByUrl("http://127.0.0.1:1", timeout_s=2)) as desk:
        assert await desk.code(desk.header(desk.transfer(EvmKey.generate()))) is ErrorCode.RPC_UNAVAILABLE
