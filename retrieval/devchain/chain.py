"""The development chain itself: a py-evm chain that mines every transaction at once, on wall-clock time.

One rule: a call or an estimate sees what a transaction sent at that moment would see, the block time included.
Not safe for use by two threads at a time; the server gives it one of its own.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.constants import (
    BLANK_ROOT_HASH,
    POST_MERGE_DIFFICULTY,
    POST_MERGE_MIX_HASH,
    POST_MERGE_NONCE,
    ZERO_ADDRESS,
)
from eth.db.atomic import AtomicDB
from eth.exceptions import BlockNotFound, HeaderNotFound, PyEVMError, Revert, TransactionNotFound
from eth.vm.forks import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from retrieval.devchain.database import ChainDatabase
from retrieval.devchain.genesis import GAS_LIMIT, funded_keys, genesis_accounts, genesis_fingerprint
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import EvmAddress
from retrieval.payment.chain import DEVCHAIN

GAS_STEP_PERCENT: Final = 110  # by which an estimate grows until it suffices; nested calls hold back 1/64 each (EIP-150)
CLOCK_OFFSET_MAX_S: Final = 100 * 366 * 86_400  # a century, so that a typing slip does not end in a header that cannot be mined
BLOB_TRANSACTION: Final = 3

_OFFSET_KEY: Final = b"devchain/clock-offset"
_GENESIS_KEY: Final = b"devchain/genesis"


class _Chain(MiningChain):  # type: ignore[misc]  # py-evm has no type information
    chain_id = DEVCHAIN.chain_id
    vm_configuration = ((0, PragueVM),)

    def create_header_from_parent(self, parent: BlockHeaderAPI, **fields: Any) -> BlockHeaderAPI:
        return super().create_header_from_parent(parent, **{**fields, "gas_limit": parent.gas_limit})


class ExecutionFailed(Exception):
    """A call or an estimate ended in an error inside the EVM."""

    def __init__(self, message: str, revert_data: bytes | None = None) -> None:
        super().__init__(message)
        self.revert_data: Final = revert_data
        """What the contract reverted with; None when it did not revert but ran out of gas, or broke otherwise."""


class TransactionRefused(Exception):
    """A transaction can never be mined as it is: its nonce, its fee, its sender's balance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A message to run without a transaction."""

    sender: EvmAddress
    to: bytes
    """Empty to run `data` as the code of a new contract."""
    value: int
    data: bytes
    gas: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """A transaction and the block it is in."""

    block: BlockAPI
    index: int
    transaction: SignedTransactionAPI


class DevelopmentChain:
    """One chain on one database. `now` is the wall clock in Unix seconds."""

    def __init__(self, database: ChainDatabase, now: Callable[[], float] = time.time) -> None:
        """Continue the chain in the database, or begin one. Raises ``LocalProtocolError(file_unreadable)`` if it began otherwise."""
        self._database: Final = database
        self._now: Final = now
        self._snapshots: Final[list[int]] = []
        self._keys: Final = {key.address: PrivateKey(key.secret) for key in funded_keys()}
        fingerprint = genesis_fingerprint()
        if _GENESIS_KEY not in database:
            self._chain = self._begin()
            database[_GENESIS_KEY] = fingerprint
            database.save()
        elif database[_GENESIS_KEY] == fingerprint:
            self._chain = _Chain(AtomicDB(database))
        else:
            raise LocalProtocolError(ErrorCode.FILE_UNREADABLE, "the chain in the state file began with other contracts; use a new file")

    # Time and blocks

    @property
    def head(self) -> BlockAPI:
        """The last mined block."""
        return self._chain.get_canonical_block_by_number(self._chain.header.block_number - 1)

    @property
    def base_fee(self) -> int:
        """Wei per gas that the next block takes."""
        return int(self._chain.header.base_fee_per_gas)

    def block_by_number(self, number: int) -> BlockAPI | None:
        return self._chain.get_canonical_block_by_number(number) if 0 <= number < self._chain.header.block_number else None

    def block_by_hash(self, block_hash: bytes) -> BlockAPI | None:
        try:
            return self._chain.get_block_by_hash(block_hash)
        except (BlockNotFound, HeaderNotFound):
            return None

    def increase_time(self, seconds: int) -> int:
        """Let the chain's clock jump ahead; returns by how much it is ahead of the wall clock now. The next block shows it."""
        offset = self._next_timestamp() + seconds - int(self._now())
        if not 0 <= seconds <= offset <= CLOCK_OFFSET_MAX_S:
            raise TransactionRefused("time can be moved forward only, and by a century at most")
        self._database[_OFFSET_KEY] = struct.pack(">Q", offset)
        self._database.save()
        return offset

    def mine(self) -> BlockAPI:
        """Mine an empty block."""
        self._set_clock()
        return self._mine()

    def snapshot(self) -> int:
        """Mark this moment: the chain, its clock and every account."""
        self._snapshots.append(self._database.checkpoint())
        return len(self._snapshots)

    def revert(self, snapshot: int) -> bool:
        """Go back to a mark, which is thereby used up with all later ones. False when there is no such mark."""
        if not 1 <= snapshot <= len(self._snapshots):
            return False
        self._database.rollback(self._snapshots[snapshot - 1])
        del self._snapshots[snapshot - 1 :]
        self._chain = _Chain(AtomicDB(self._database))
        self._database.save()
        return True

    # Transactions

    def send_raw(self, encoded: bytes) -> bytes:
        """Run and mine a signed transaction; returns its hash. Raises `TransactionRefused`; a revert is mined, not raised."""
        if encoded[:1] == bytes((BLOB_TRANSACTION,)):
            raise TransactionRefused("blob transactions are not supported")
        try:
            transaction = self._chain.get_vm().get_transaction_builder().decode(encoded)
        except (RLPException, ValidationError, PyEVMError, ValueError, TypeError, IndexError) as error:  # what decoders let through
            raise TransactionRefused(f"not a transaction: {error}") from error
        return self._apply(transaction)

    def send(self, call: Call, *, gas_price: int | None, nonce: int | None) -> bytes:
        """Sign with a funded account's key, then run and mine. Raises `TransactionRefused`, `ExecutionFailed` from the estimate."""
        key = self._keys.get(call.sender)
        if key is None:
            raise TransactionRefused(f"the key of 0x{call.sender.hex()} is not here")
        builder = self._chain.get_vm().get_transaction_builder()
        unsigned = builder.create_unsigned_transaction(
            nonce=self.nonce(call.sender) if nonce is None else nonce,
            gas_price=2 * self.base_fee if gas_price is None else gas_price,
            gas=self.estimate_gas(call) if call.gas is None else call.gas,
            to=call.to,
            value=call.value,
            data=call.data,
        )
        return self._apply(unsigned.as_signed_transaction(key, chain_id=self._chain.chain_id))

    def transaction(self, transaction_hash: bytes) -> Mined | None:
        try:
            number, index = self._chain.chaindb.get_transaction_index(transaction_hash)
        except TransactionNotFound:
            return None
        block = self._chain.get_canonical_block_by_number(number)
        return Mined(block=block, index=index, transaction=block.transactions[index])

    def receipts(self, block: BlockAPI) -> tuple[Any, ...]:
        """The receipts of a block's transactions; `Any` because py-evm has no type information."""
        return tuple(block.get_receipts(self._chain.chaindb))

    # State

    def balance(self, account: EvmAddress, at: BlockAPI | None = None) -> int:
        return int(self._state(at).get_balance(account))

    def nonce(self, account: EvmAddress, at: BlockAPI | None = None) -> int:
        return int(self._state(at).get_nonce(account))

    def code(self, account: EvmAddress, at: BlockAPI | None = None) -> bytes:
        return bytes(self._state(at).get_code(account))

    def storage(self, account: EvmAddress, slot: int, at: BlockAPI | None = None) -> int:
        return int(self._state(at).get_storage(account, slot))

    def call(self, call: Call, at: BlockAPI | None = None) -> bytes:
        """Run a message on the state after `at` (None: the newest) and drop what it did. Raises `ExecutionFailed`."""
        return bytes(self._run(call, call.gas or GAS_LIMIT, at).output)

    def estimate_gas(self, call: Call) -> int:
        """A gas limit that suffices now: what was used, more where nested calls hold some back. Raises `ExecutionFailed`."""
        limit = call.gas or GAS_LIMIT
        gas: int = limit - self._run(call, limit, None).get_gas_remaining()  # before refunds, which come only at the end
        while gas < limit:
            try:
                self._run(call, gas, None)
            except ExecutionFailed:
                gas = gas * GAS_STEP_PERCENT // 100
            else:
                return gas
        return limit

    # Inside

    @property
    def _clock_offset(self) -> int:
        if _OFFSET_KEY not in self._database:
            return 0
        (offset,) = struct.unpack(">Q", self._database[_OFFSET_KEY])
        return int(offset)

    def _begin(self) -> _Chain:
        parameters = {
            "coinbase": ZERO_ADDRESS,
            "difficulty": POST_MERGE_DIFFICULTY,
            "extra_data": b"",
            "gas_limit": GAS_LIMIT,
            "mix_hash": POST_MERGE_MIX_HASH,
            "nonce": POST_MERGE_NONCE,
            "receipt_root": BLANK_ROOT_HASH,
            "timestamp": int(self._now()),
            "transaction_root": BLANK_ROOT_HASH,
        }
        state = {
            account.address: {"balance": account.balance_wei, "nonce": account.nonce, "code": account.code, "storage": {}}
            for account in genesis_accounts()
        }
        chain: _Chain = _Chain.from_genesis(AtomicDB(self._database), parameters, state)
        return chain

    def _next_timestamp(self) -> int:
        """The time of a block mined now. Blocks are at least a second apart, so a burst of them runs ahead of the clock."""
        return max(int(self._chain.get_canonical_head().timestamp) + 1, int(self._now()) + self._clock_offset)

    def _set_clock(self) -> None:
        self._chain.set_header_timestamp(self._next_timestamp())

    def _mine(self) -> BlockAPI:
        block = self._chain.mine_block(coinbase=ZERO_ADDRESS, mix_hash=self._chain.header.parent_hash, blob_gas_used=0)
        self._database.save()
        return block

    def _apply(self, transaction: SignedTransactionAPI) -> bytes:
        self._set_clock()
        try:
            transaction.validate()
            self._check_sender(transaction)
            self._chain.apply_transaction(transaction)
        except ValidationError as error:
            raise TransactionRefused(str(error)) from error
        self._mine()
        return bytes(transaction.hash)

    def _check_sender(self, transaction: SignedTransactionAPI) -> None:
        """Refuse in the words that clients look for (they are those of go-ethereum), where py-evm has others."""
        expected = self.nonce(transaction.sender)
        if transaction.nonce != expected:
            side = "low" if transaction.nonce < expected else "high"
            raise TransactionRefused(f"nonce too {side}: {transaction.nonce}, next is {expected}")
        if self.balance(transaction.sender) < transaction.value + transaction.gas * transaction.max_fee_per_gas:
            raise TransactionRefused("insufficient funds for gas * price + value")

    def _state(self, at: BlockAPI | None) -> StateAPI:
        return self._chain.get_vm(at.header if at is not None else None).state

    def _run(self, call: Call, gas: int, at: BlockAPI | None) -> ComputationAPI:
        with self._free_state(at) as (state, builder):
            unsigned = builder.create_unsigned_transaction(
                nonce=state.get_nonce(call.sender), gas_price=0, gas=gas, to=call.to, value=call.value, data=call.data
            )
            try:
                computation = state.apply_transaction(SpoofTransaction(unsigned, from_=call.sender))
            except ValidationError as error:
                raise ExecutionFailed(str(error)) from error
        if computation.is_error:
            reason = computation.error
            if isinstance(reason, Revert):
                raise ExecutionFailed("execution reverted", bytes(computation.output))
            raise ExecutionFailed(f"{type(reason).__name__}: {reason}")
        return computation

    @contextmanager
    def _free_state(self, at: BlockAPI | None) -> Iterator[tuple[StateAPI, Any]]:
        """A throw-away state in which gas costs nothing, in the block under way or in one of the past."""
        if at is None:
            self._set_clock()
        header = at.header if at is not None else self._chain.header
        vm = self._chain.get_vm(header.copy(base_fee_per_gas=0))
        yield vm.state, vm.get_transaction_builder()
