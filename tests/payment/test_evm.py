"""The adapter against real chains: the project's own, and anvil where it is found."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from chain_fixture import chain_url, devchain, rpc  # noqa: F401

from retrieval.errors import ErrorCode, RetrievalError
from retrieval.identity import EvmAddress, EvmKey
from retrieval.payment.chain import DEVCHAIN, Chain, Claim
from retrieval.payment.channel import ChannelConfig, ChannelId, channel_id
from retrieval.payment.evm import CHANNELS_PER_CALL, CLAIMS_PER_TRANSACTION, EvmChain
from retrieval.payment.voucher import VoucherSigner

DOLLAR = 10**6
DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """A payer with money, its hot key, and a receiver with gas."""

    payer: EvmKey
    authorizer: EvmKey
    receiver: EvmKey

    def config(self, salt: int = 0) -> ChannelConfig:
        return ChannelConfig(
            payer=self.payer.address,
            payer_authorizer=self.authorizer.address,
            receiver=self.receiver.address,
            receiver_authorizer=self.receiver.address,
            token=DEVCHAIN.token,
            withdraw_delay_s=DAY_S,
            salt=salt.to_bytes(32, "big"),
        )

    def claim(self, config: ChannelConfig, amount: int, total_claimed: int | None = None) -> Claim:
        voucher = VoucherSigner(self.authorizer, DEVCHAIN.chain_id, DEVCHAIN.contract).sign(id_of(config), amount)
        taken = amount if total_claimed is None else total_claimed
        return Claim(config=config, voucher_amount=amount, signature=voucher.signature, total_claimed=taken)


def id_of(config: ChannelConfig) -> ChannelId:
    return channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract)


@pytest.fixture
def chain(chain_url: str) -> EvmChain:  # noqa: F811
    return EvmChain(chain_url)


@pytest.fixture
def parties(chain: EvmChain) -> Parties:
    found = Parties(payer=EvmKey.generate(), authorizer=EvmKey.generate(), receiver=EvmKey.generate())
    chain.mint(found.payer.address, 100 * DOLLAR)
    chain.send_gas(found.payer.address)
    chain.send_gas(found.receiver.address)
    return found


def balance_of(chain: EvmChain, config: ChannelConfig) -> int:
    (state,) = chain.channel_states([id_of(config)])
    return state.balance


def test_importing_the_adapter_does_not_import_web3() -> None:
    program = "import sys, retrieval.payment.evm; sys.exit(any(name in sys.modules for name in ('web3', 'eth_account', 'eth_abi')))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_adapter_implements_the_port(chain: EvmChain) -> None:
    port: Chain = chain
    assert port.token_balance(EvmAddress(bytes(20))) == 0


def test_a_deposit_opens_a_channel_and_a_second_one_tops_it_up(chain: EvmChain, parties: Parties) -> None:
    config = parties.config()
    chain.deposit(config, 5 * DOLLAR, payer=parties.payer, sender=parties.payer)
    chain.deposit(config, 2 * DOLLAR, payer=parties.payer, sender=parties.receiver)
    assert balance_of(chain, config) == 7 * DOLLAR
    assert chain.token_balance(parties.payer.address) == 93 * DOLLAR


def test_claiming_and_settling_brings_the_sum_to_the_receiver_once(chain: EvmChain, parties: Parties) -> None:
    config = parties.config()
    chain.deposit(config, 5 * DOLLAR, payer=parties.payer, sender=parties.payer)
    claim = parties.claim(config, 123_456)
    first = chain.claim_and_settle([claim], sender=parties.receiver)
    again = chain.claim_and_settle([claim], sender=parties.receiver)
    assert (first.claimed, first.settled, len(first.transactions)) == (123_456, 123_456, 1)
    assert (again.claimed, again.settled, again.transactions) == (0, 0, ())
    assert chain.token_balance(parties.receiver.address) == 123_456
    (state,) = chain.channel_states([id_of(config)])
    assert (state.balance, state.total_claimed) == (5 * DOLLAR, 123_456)


def test_claims_that_were_booked_but_not_settled_are_settled_by_the_next_call(chain: EvmChain, parties: Parties) -> None:
    config = parties.config()
    chain.deposit(config, DOLLAR, payer=parties.payer, sender=parties.payer)
    booked = chain.claim([parties.claim(config, 1000)], sender=parties.receiver)
    assert (booked.claimed, booked.settled) == (1000, 0)
    swept = chain.claim_and_settle([parties.claim(config, 1000)], sender=parties.receiver)
    assert (swept.claimed, swept.settled) == (0, 1000)
    assert chain.settle(parties.receiver.address, sender=parties.payer).transactions == ()


def test_more_claims_than_one_transaction_takes_go_in_batches(chain: EvmChain, parties: Parties) -> None:
    configs = [parties.config(salt) for salt in range(CLAIMS_PER_TRANSACTION + 2)]
    for config in configs:
        chain.deposit(config, DOLLAR, payer=parties.payer, sender=parties.payer)
    settlement = chain.claim_and_settle([parties.claim(config, 500) for config in configs], sender=parties.receiver)
    assert len(settlement.transactions) == 2
    assert settlement.settled == 500 * len(configs) == chain.token_balance(parties.receiver.address)


def test_a_claim_above_the_balance_takes_the_balance(chain: EvmChain, parties: Parties) -> None:
    config = parties.config()
    chain.deposit(config, 700, payer=parties.payer, sender=parties.payer)
    assert chain.claim_and_settle([parties.claim(config, DOLLAR)], sender=parties.receiver).settled == 700


def test_a_voucher_of_another_key_is_refused_with_the_contracts_reason(chain: EvmChain, parties: Parties) -> None:
    config = parties.config()
    chain.deposit(config, DOLLAR, payer=parties.payer, sender=parties.payer)
    forged = replace(parties.claim(config, 100), signature=parties.claim(config, 200).signature)
    with pytest.raises(RetrievalError, match="BadVoucherSignature") as caught:
        chain.claim_and_settle([forged], sender=parties.receiver)
    assert caught.value.code is ErrorCode.TRANSACTION_FAILED


def test_the_payer_leaves_after_the_delay_and_not_before(chain: EvmChain, parties: Parties, chain_url: str) -> None:  # noqa: F811
    config = parties.config()
    chain.deposit(config, DOLLAR, payer=parties.payer, sender=parties.payer)
    chain.initiate_withdraw(config, DOLLAR, sender=parties.payer)
    (state,) = chain.channel_states([id_of(config)])
    assert state.withdraw_pending
    assert state.withdraw_finalizes_at(config) == state.withdraw_started_at + DAY_S
    with pytest.raises(RetrievalError, match="WithdrawDelayNotElapsed"):
        chain.finalize_withdraw(config, sender=parties.payer)
    rpc(chain_url, "evm_increaseTime", DAY_S)
    rpc(chain_url, "evm_mine")
    chain.finalize_withdraw(config, sender=parties.payer)
    (state,) = chain.channel_states([id_of(config)])
    assert (state.balance, state.withdraw_pending, state.withdraw_finalizes_at(config)) == (0, False, None)
    assert chain.token_balance(parties.payer.address) == 100 * DOLLAR


def test_a_refund_that_the_receiver_signed_comes_back_at_once(chain: EvmChain, parties: Parties) -> None:
    config = parties.config()
    chain.deposit(config, DOLLAR, payer=parties.payer, sender=parties.payer)
    chain.claim_and_settle([parties.claim(config, 300_000)], sender=parties.receiver)
    chain.refund(config, DOLLAR, authorizer=parties.receiver, sender=parties.payer)
    (state,) = chain.channel_states([id_of(config)])
    assert (state.balance, state.total_claimed, state.refund_nonce) == (300_000, 300_000, 1)


def test_states_of_many_channels_come_in_the_order_asked(chain: EvmChain, parties: Parties) -> None:
    config = parties.config()
    chain.deposit(config, 42, payer=parties.payer, sender=parties.payer)
    unknown = [ChannelId(index.to_bytes(32, "big")) for index in range(CHANNELS_PER_CALL)]
    states = chain.channel_states([*unknown, id_of(config)])
    assert [state.balance for state in states] == [0] * CHANNELS_PER_CALL + [42]
    assert chain.channel_states([]) == []


def test_states_can_be_asked_for_as_of_some_blocks_ago(chain: EvmChain, parties: Parties, chain_url: str) -> None:  # noqa: F811
    config = parties.config()
    chain.deposit(config, 42, payer=parties.payer, sender=parties.payer)
    rpc(chain_url, "evm_mine")
    balances = [chain.channel_states([id_of(config)], confirmations=each)[0].balance for each in (0, 1, 2)]
    assert balances == [42, 42, 0]


def test_threads_that_send_from_one_key_do_not_trip_over_its_nonce(chain: EvmChain, parties: Parties) -> None:
    def deposit(salt: int) -> bytes:
        return chain.deposit(parties.config(salt), 10, payer=parties.payer, sender=parties.payer)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(deposit, range(8)))) == 8


def test_a_transaction_that_reverts_only_when_it_is_mined_says_why(chain: EvmChain, parties: Parties, chain_url: str) -> None:  # noqa: F811
    if not rpc(chain_url, "web3_clientVersion").startswith("anvil"):
        pytest.skip("our development chain mines every transaction at once, so nothing can change in between")
    config = parties.config()
    chain.send_gas(parties.authorizer.address)
    chain.deposit(config, DOLLAR, payer=parties.payer, sender=parties.payer)
    rpc(chain_url, "evm_setAutomine", False)
    try:
        with ThreadPoolExecutor(2) as pool:
            # Two adapters, as each waits for its own transaction; both find the way free when they ask.
            leaving = [
                pool.submit(EvmChain(chain_url).initiate_withdraw, config, 10, sender=key) for key in (parties.payer, parties.authorizer)
            ]
            while rpc(chain_url, "txpool_status")["pending"] != "0x2":
                assert not any(each.done() for each in leaving)
            rpc(chain_url, "evm_mine")
            reasons = [str(each.exception()) for each in leaving if each.exception() is not None]
    finally:
        rpc(chain_url, "evm_setAutomine", True)
    (reason,) = reasons
    assert "WithdrawalPending" in reason


def test_a_wallet_without_tokens_or_gas_is_named(chain: EvmChain, parties: Parties) -> None:
    for amount, sender, named in ((101 * DOLLAR, parties.payer, "of the token"), (DOLLAR, parties.authorizer, "wei for gas")):
        with pytest.raises(RetrievalError, match=named) as caught:
            chain.deposit(parties.config(), amount, payer=parties.payer, sender=sender)
        assert caught.value.code is ErrorCode.WALLET_INSUFFICIENT


def test_the_token_says_what_a_deployment_needs(chain: EvmChain) -> None:
    facts = chain.token_facts(DEVCHAIN.token)
    assert (facts.name, facts.version) == (DEVCHAIN.token_name, DEVCHAIN.token_version)
    assert (facts.symbol, facts.decimals) == (DEVCHAIN.token_symbol, DEVCHAIN.token_decimals)


def test_another_chain_or_a_missing_contract_is_found_before_anything_is_sent(chain_url: str) -> None:  # noqa: F811
    for deployment in (replace(DEVCHAIN, chain_id=8453), replace(DEVCHAIN, contract=EvmAddress(b"\x01" * 20))):
        with pytest.raises(RetrievalError) as caught:
            EvmChain(chain_url, deployment).channel_states([ChannelId(bytes(32))])
        assert caught.value.code is ErrorCode.WRONG_CHAIN


def test_money_is_given_away_on_the_development_chain_only(devchain: str) -> None:  # noqa: F811
    with pytest.raises(RetrievalError) as caught:
        EvmChain(devchain, replace(DEVCHAIN, chain_id=1)).mint(EvmAddress(b"\x01" * 20), 1)
    assert caught.value.code is ErrorCode.WRONG_CHAIN


# An RPC that is dead, mute or talks nonsense


class _Answering(BaseHTTPRequestHandler):
    answer = b""
    status = 200

    def do_POST(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@contextmanager
def serving(handler: type[_Answering]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret-key"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _DyingAfterSend(_Answering):
    """Passes requests on to a chain, until it has passed on a transaction."""

    upstream = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with urllib.request.urlopen(urllib.request.Request(self.upstream, body, {"Content-Type": "application/json"})) as reply:
            self.answer = reply.read()
        super().do_POST()
        if b"eth_sendRawTransaction" in body:
            type(self).status = 503


def test_an_rpc_that_dies_after_it_took_a_transaction_leaves_its_hash(devchain: str) -> None:  # noqa: F811
    payer = EvmKey.generate()
    direct = EvmChain(devchain)
    direct.mint(payer.address, DOLLAR)
    direct.send_gas(payer.address)
    config = Parties(payer=payer, authorizer=payer, receiver=payer).config()
    handler = type("Handler", (_DyingAfterSend,), {"upstream": devchain})
    with serving(handler) as url, pytest.raises(RetrievalError, match=r"0x[0-9a-f]{64} was sent and may have been mined") as caught:
        EvmChain(url).deposit(config, DOLLAR, payer=payer, sender=payer)
    assert caught.value.code is ErrorCode.RPC_UNAVAILABLE
    assert balance_of(direct, config) == DOLLAR


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"null"),
        (200, b'{"jsonrpc":"2.0","id":0}'),
        (200, b'{"jsonrpc":"2.0","id":0,"result":"chain"}'),
        (200, b'{"jsonrpc":"2.0","id":0,"result":null}'),
        (200, b'{"jsonrpc":"2.0","id":0,"result":{}}'),
        (200, b'{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"no"}}'),
        (200, b'{"jsonrpc":"2.0","id":0,"error":"no"}'),
        (401, b'{"jsonrpc":"2.0","id":0,"result":"0x1"}'),
        (503, b"busy"),
    ],
)
def test_an_rpc_that_talks_nonsense_is_unavailable(status: int, answer: bytes) -> None:
    handler = type("Handler", (_Answering,), {"status": status, "answer": answer})
    with serving(handler) as url, pytest.raises(RetrievalError) as caught:
        EvmChain(url).check()
    assert caught.value.code is ErrorCode.RPC_UNAVAILABLE
    assert "secret-key" not in str(caught.value)


def test_an_rpc_that_refuses_connections_is_unavailable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(RetrievalError) as caught:
            EvmChain(url).token_balance(EvmAddress(bytes(20)))
    assert caught.value.code is ErrorCode.RPC_UNAVAILABLE


def test_an_rpc_that_never_answers_is_unavailable_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(RetrievalError) as caught:
            EvmChain(url, timeout_s=0.2).token_balance(EvmAddress(bytes(20)))
    assert caught.value.code is ErrorCode.RPC_UNAVAILABLE
