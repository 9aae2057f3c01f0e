"""The development chain without its server: time, snapshots, estimates, and the file that keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.devchain.chain import Call, DevelopmentChain, ExecutionFailed, TransactionRefused
from retrieval.devchain.database import ChainDatabase
from retrieval.devchain.genesis import BALANCE_WEI, CONTRACTS, funded_keys
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import EvmAddress
from retrieval.payment.chain import DEVCHAIN, MULTICALL3
from retrieval.payment.contracts import load_artifact

START = 1_800_000_000
FIRST, SECOND = funded_keys()[0].address, funded_keys()[1].address
TIMESTAMP_CALL = Call(sender=FIRST, to=MULTICALL3, value=0, data=bytes.fromhex("0f28c97d"), gas=None)  # getCurrentBlockTimestamp()
UNKNOWN_FUNCTION = Call(sender=FIRST, to=DEVCHAIN.contract, value=0, data=b"what", gas=None)


class Clock:
    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> float:
        return self.now


def transfer(value: int = 5, *, gas: int | None = None) -> Call:
    return Call(sender=FIRST, to=SECOND, value=value, data=b"", gas=gas)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chain(clock: Clock) -> DevelopmentChain:
    return DevelopmentChain(ChainDatabase(None), clock)


def send(chain: DevelopmentChain, value: int = 5) -> bytes:
    return chain.send(transfer(value), gas_price=None, nonce=None)


def seen_time(chain: DevelopmentChain) -> int:
    return int.from_bytes(chain.call(TIMESTAMP_CALL), "big")


def test_the_genesis_holds_funded_accounts_and_every_contract(chain: DevelopmentChain) -> None:
    assert [chain.balance(key.address) for key in funded_keys()] == [BALANCE_WEI] * 10
    assert {name: chain.code(address) for name, address in CONTRACTS.items()} == {
        name: load_artifact(name).runtime_code for name in CONTRACTS
    }


def test_a_transaction_is_mined_at_once(chain: DevelopmentChain) -> None:
    mined = chain.transaction(send(chain))
    assert mined is not None
    assert (mined.block.number, mined.index, chain.head.number) == (1, 0, 1)
    assert chain.balance(SECOND) == BALANCE_WEI + 5
    assert chain.nonce(FIRST) == 1


def test_block_time_is_the_wall_clock_and_a_call_sees_it_without_a_block(chain: DevelopmentChain, clock: Clock) -> None:
    clock.now += 1_000
    assert seen_time(chain) == START + 1_000
    assert chain.mine().header.timestamp == START + 1_000


def test_blocks_in_one_second_are_still_a_second_apart(chain: DevelopmentChain, clock: Clock) -> None:
    clock.now += 10
    assert [chain.mine().header.timestamp - START for _ in range(3)] == [10, 11, 12]


def test_time_jumps_from_where_the_chain_is(chain: DevelopmentChain, clock: Clock) -> None:
    for _ in range(50):
        last = chain.mine().header.timestamp
    chain.increase_time(900)
    assert chain.mine().header.timestamp >= last + 900
    clock.now += 5
    assert seen_time(chain) >= last + 905


@pytest.mark.parametrize("seconds", [-1, 2**62])
def test_time_does_not_go_back_nor_to_the_end_of_the_world(chain: DevelopmentChain, seconds: int) -> None:
    with pytest.raises(TransactionRefused):
        chain.increase_time(seconds)


def test_a_snapshot_brings_back_accounts_blocks_and_the_clock(chain: DevelopmentChain) -> None:
    kept = send(chain)
    snapshot, head = chain.snapshot(), chain.head.hash
    dropped = send(chain, 7)
    chain.increase_time(10_000)
    chain.mine()
    assert chain.revert(snapshot)
    assert (chain.head.hash, chain.balance(SECOND)) == (head, BALANCE_WEI + 5)
    assert chain.transaction(kept) is not None
    assert chain.transaction(dropped) is None
    assert seen_time(chain) < START + 10_000
    assert chain.block_by_number(2) is None
    assert not chain.revert(snapshot)
    send(chain, 9)
    assert chain.balance(SECOND) == BALANCE_WEI + 14


def test_reverting_to_a_snapshot_uses_up_the_later_ones(chain: DevelopmentChain) -> None:
    first = chain.snapshot()
    send(chain)
    later = chain.snapshot()
    assert chain.revert(first)
    assert not chain.revert(later)


def test_an_estimate_suffices_and_a_unit_less_does_not(chain: DevelopmentChain) -> None:
    gas = chain.estimate_gas(transfer())
    assert gas == 21_000
    with pytest.raises(ExecutionFailed):
        chain.call(transfer(gas=gas - 1))


def test_a_call_that_reverts_says_with_what(chain: DevelopmentChain) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        chain.call(UNKNOWN_FUNCTION)
    assert caught.value.revert_data == b""


def test_the_state_of_an_older_block_can_be_asked(chain: DevelopmentChain) -> None:
    before = chain.head
    send(chain)
    assert (chain.balance(SECOND, before), chain.balance(SECOND)) == (BALANCE_WEI, BALANCE_WEI + 5)


@pytest.mark.parametrize(("nonce", "words"), [(1, "nonce too high"), (-1, "nonce too low")])
def test_a_transaction_out_of_turn_is_refused_in_the_usual_words(chain: DevelopmentChain, nonce: int, words: str) -> None:
    send(chain)
    with pytest.raises(TransactionRefused, match=words):
        chain.send(transfer(), gas_price=None, nonce=1 + nonce)
    assert chain.head.number == 1


def test_a_transaction_that_cannot_be_paid_for_is_refused(chain: DevelopmentChain) -> None:
    with pytest.raises(TransactionRefused, match="insufficient funds"):
        chain.send(transfer(BALANCE_WEI, gas=21_000), gas_price=None, nonce=None)
    with pytest.raises(TransactionRefused):
        chain.send(transfer(gas=21_000), gas_price=1, nonce=None)
    stranger = EvmAddress(b"\x01" * 20)
    with pytest.raises(TransactionRefused, match="is not here"):
        chain.send(Call(sender=stranger, to=SECOND, value=0, data=b"", gas=21_000), gas_price=None, nonce=None)


CHAIN = DevelopmentChain(ChainDatabase(None))


@given(encoded=st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"\x02\xf8" + tail))
def test_bytes_that_are_no_transaction_are_refused(encoded: bytes) -> None:
    with pytest.raises(TransactionRefused):
        CHAIN.send_raw(encoded)


def test_the_chain_in_a_file_goes_on_where_it_was(tmp_path: Path, clock: Clock) -> None:
    database = ChainDatabase(tmp_path / "chain")
    chain = DevelopmentChain(database, clock)
    sent = send(chain)
    snapshot = chain.snapshot()
    send(chain, 7)
    assert chain.revert(snapshot)
    chain.increase_time(5_000)
    head = chain.head.hash
    database.close()

    database = ChainDatabase(tmp_path / "chain")
    again = DevelopmentChain(database, clock)
    assert (again.head.hash, again.balance(SECOND), again.nonce(FIRST)) == (head, BALANCE_WEI + 5, 1)
    assert again.transaction(sent) is not None
    assert seen_time(again) >= START + 5_000
    send(again)
    assert again.head.number == 2
    database.close()


def test_a_file_that_began_with_other_contracts_is_refused(tmp_path: Path) -> None:
    database = ChainDatabase(tmp_path / "chain")
    DevelopmentChain(database)
    database[b"devchain/genesis"] = b"other"
    with pytest.raises(LocalProtocolError) as caught:
        DevelopmentChain(database)
    assert caught.value.code is ErrorCode.FILE_UNREADABLE
    database.close()
