"""The JSON-RPC methods of the development chain: what each takes, asks the chain, and answers.

One rule: a request ends in a result or in an `RpcError`, whatever is in it. The table `METHODS` at the end is the list of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from eth.abc import BlockAPI
from eth_abi import encode as abi_encode
from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError

from retrieval.devchain.chain import Call, DevelopmentChain, ExecutionFailed, Mined, TransactionRefused
from retrieval.devchain.genesis import funded_keys
from retrieval.devchain.shapes import Json, address, block_object, log_objects, octets, quantity, receipt_object, transaction_object
from retrieval.errors import LocalProtocolError
from retrieval.identity import EVM_ADDRESS_SIZE, EvmAddress
from retrieval.payment.chain import DEVCHAIN

LOG_BLOCKS_MAX: Final = 10_000  # one eth_getLogs; each block is opened
FEE_HISTORY_MAX: Final = 1_024
TIP_WEI: Final = 10**9
UINT256_MAX: Final = (1 << 256) - 1

PARSE_ERROR: Final = -32700  # numbers of the JSON-RPC 2.0 specification
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERROR: Final = -32000  # and those of EIP-1474
LIMIT_EXCEEDED: Final = -32005
REVERTED: Final = 3  # what go-ethereum answers, with the revert's bytes as data

_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")  # Error(string)
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")  # Panic(uint256)


class RpcError(Exception):
    """What a request is answered with when it has no result."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code: Final = code
        self.data: Final = data

    def to_json(self) -> Json:
        error: Json = {"code": self.code, "message": str(self)}
        return error if self.data is None else {**error, "data": self.data}


def answer(chain: DevelopmentChain, method: str, params: list[Any]) -> Any:
    """The result of one request, as JSON values. Raises `RpcError`."""
    function = METHODS.get(method)
    if function is None:
        raise RpcError(METHOD_NOT_FOUND, f"the method {method} does not exist here")
    try:
        return function(chain, params)
    except ExecutionFailed as error:
        if error.revert_data is None:
            raise RpcError(SERVER_ERROR, str(error)) from error
        reason = revert_reason(error.revert_data)
        raise RpcError(REVERTED, f"{error}: {reason}" if reason else str(error), octets(error.revert_data)) from error
    except (TransactionRefused, LocalProtocolError) as error:
        raise RpcError(SERVER_ERROR, str(error)) from error


def revert_reason(data: bytes) -> str | None:
    """What a contract gave as the reason, when it did so in one of the two standard ways."""
    try:
        if data.startswith(_ERROR_SELECTOR):
            return str(abi_decode(["string"], data[4:])[0])
        if data.startswith(_PANIC_SELECTOR):
            return f"panic {abi_decode(['uint256'], data[4:])[0]:#x}"
    except DecodingError:
        return None
    return None


# Reading parameters


def _param(params: list[Any], index: int) -> Any:
    if index >= len(params):
        raise RpcError(INVALID_PARAMS, f"parameter {index + 1} is missing")
    return params[index]


def _int(value: Any) -> int:
    """A hex quantity; a plain JSON number is taken too, as anvil does."""
    try:
        number = value if isinstance(value, int) else int(value, 16)
    except (TypeError, ValueError):
        raise RpcError(INVALID_PARAMS, f"{str(value)[:80]!r} is not a quantity") from None
    if not 0 <= number <= UINT256_MAX:
        raise RpcError(INVALID_PARAMS, f"{str(value)[:80]!r} is out of range")
    return number


def _bytes(value: Any, size: int | None = None) -> bytes:
    try:
        data = bytes.fromhex(value.removeprefix("0x"))
    except (AttributeError, ValueError):
        raise RpcError(INVALID_PARAMS, f"{str(value)[:80]!r} is not hex") from None
    if size is not None and len(data) != size:
        raise RpcError(INVALID_PARAMS, f"{str(value)[:80]!r} has {len(data)} bytes, not {size}")
    return data


def _address(value: Any) -> EvmAddress:
    return EvmAddress(_bytes(value, EVM_ADDRESS_SIZE))


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise RpcError(INVALID_PARAMS, f"{str(value)[:80]!r} is not an object")
    return value


def _call(value: Any) -> Call:
    fields = _object(value)
    data = fields.get("input", fields.get("data"))
    return Call(
        sender=_address(fields["from"]) if fields.get("from") else EvmAddress(bytes(EVM_ADDRESS_SIZE)),
        to=_address(fields["to"]) if fields.get("to") else b"",
        value=_int(fields.get("value") or 0),
        data=_bytes(data) if data else b"",
        gas=_int(fields["gas"]) if fields.get("gas") else None,
    )


def _block(chain: DevelopmentChain, tag: Any) -> BlockAPI | None:
    """The block a tag or number names, None when there is none. There is never a pending block: all is mined at once."""
    if tag in ("latest", "pending", "safe", "finalized"):
        return chain.head
    return chain.block_by_number(0 if tag == "earliest" else _int(tag))


def _state_at(chain: DevelopmentChain, params: list[Any], index: int) -> BlockAPI | None:
    """The block whose state is asked for; None for the newest, which is also the default."""
    tag = params[index] if len(params) > index else "latest"
    if isinstance(tag, dict):  # EIP-1898
        tag = tag.get("blockHash") or tag.get("blockNumber")
    if tag in (None, "latest", "pending", "safe", "finalized"):
        return None
    is_hash = isinstance(tag, str) and len(tag) == 66
    block = chain.block_by_hash(_bytes(tag)) if is_hash else _block(chain, tag)
    if block is None:
        raise RpcError(SERVER_ERROR, f"there is no block {tag}")
    return block


# Methods that need more than a line


def _get_block(chain: DevelopmentChain, block: BlockAPI | None, params: list[Any]) -> Json | None:
    return None if block is None else block_object(block, full=bool(params[1]) if len(params) > 1 else False)


def _get_transaction(chain: DevelopmentChain, params: list[Any]) -> Json | None:
    mined = chain.transaction(_bytes(_param(params, 0), 32))
    return None if mined is None else transaction_object(mined)


def _get_receipt(chain: DevelopmentChain, params: list[Any]) -> Json | None:
    mined = chain.transaction(_bytes(_param(params, 0), 32))
    return None if mined is None else receipt_object(mined, chain.receipts(mined.block))


def _send_transaction(chain: DevelopmentChain, params: list[Any]) -> str:
    fields = _object(_param(params, 0))
    price = fields.get("gasPrice") or fields.get("maxFeePerGas")
    nonce = fields.get("nonce")
    transaction_hash = chain.send(
        _call(fields),
        gas_price=None if price is None else _int(price),
        nonce=None if nonce is None else _int(nonce),
    )
    return octets(transaction_hash)


def _get_logs(chain: DevelopmentChain, params: list[Any]) -> list[Json]:
    wanted = _object(_param(params, 0))
    emitters = wanted.get("address")
    addresses = {_address(each) for each in (emitters if isinstance(emitters, list) else [emitters])} if emitters else None
    topics = [None if each is None else each if isinstance(each, list) else [each] for each in wanted.get("topics") or []]
    return [
        log
        for block in _log_blocks(chain, wanted)
        if block.transactions
        for receipts in (chain.receipts(block),)
        for index, transaction in enumerate(block.transactions)
        for log in log_objects(Mined(block=block, index=index, transaction=transaction), receipts)
        if (addresses is None or _address(log["address"]) in addresses) and _topics_match(log["topics"], topics)
    ]


def _log_blocks(chain: DevelopmentChain, wanted: Json) -> list[BlockAPI]:
    if wanted.get("blockHash"):
        block = chain.block_by_hash(_bytes(wanted["blockHash"], 32))
        return [] if block is None else [block]
    first, last = _block(chain, wanted.get("fromBlock") or "latest"), _block(chain, wanted.get("toBlock") or "latest")
    if first is None:
        return []
    last_number = chain.head.number if last is None else last.number
    if last_number - first.number >= LOG_BLOCKS_MAX:
        raise RpcError(LIMIT_EXCEEDED, f"logs of at most {LOG_BLOCKS_MAX} blocks at a time")
    return [block for number in range(first.number, last_number + 1) if (block := chain.block_by_number(number)) is not None]


def _topics_match(found: list[str], wanted: list[list[str] | None]) -> bool:
    if len(wanted) > len(found):
        return False
    return all(choice is None or topic in [str(each).lower() for each in choice] for topic, choice in zip(found, wanted))


def _fee_history(chain: DevelopmentChain, params: list[Any]) -> Json:
    newest = _block(chain, _param(params, 1))
    count = min(_int(_param(params, 0)), FEE_HISTORY_MAX)
    percentiles = params[2] if len(params) > 2 and isinstance(params[2], list) else []
    if newest is None or count == 0:
        raise RpcError(INVALID_PARAMS, "there is no such block, or none was asked for")
    blocks = [chain.block_by_number(number) for number in range(max(0, newest.number - count + 1), newest.number + 1)]
    headers = [block.header for block in blocks if block is not None]
    return {
        "oldestBlock": quantity(headers[0].block_number),
        "baseFeePerGas": [*(quantity(header.base_fee_per_gas) for header in headers), quantity(chain.base_fee)],
        "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        "reward": [[quantity(TIP_WEI)] * len(percentiles) for _ in headers],
    }


def _mine(chain: DevelopmentChain, _params: list[Any]) -> str:
    chain.mine()
    return quantity(0)


# fmt: off
METHODS: Final[dict[str, Callable[[DevelopmentChain, list[Any]], Any]]] = {
    "web3_clientVersion":        lambda chain, params: "retrieval-devchain",
    "net_version":               lambda chain, params: str(DEVCHAIN.chain_id),
    "eth_chainId":               lambda chain, params: quantity(DEVCHAIN.chain_id),
    "eth_syncing":               lambda chain, params: False,
    "eth_accounts":              lambda chain, params: [address(key.address) for key in funded_keys()],
    "eth_blockNumber":           lambda chain, params: quantity(chain.head.number),
    "eth_gasPrice":              lambda chain, params: quantity(chain.base_fee + TIP_WEI),
    "eth_maxPriorityFeePerGas":  lambda chain, params: quantity(TIP_WEI),
    "eth_feeHistory":            _fee_history,
    "eth_getBalance":            lambda chain, params: quantity(chain.balance(_address(_param(params, 0)), _state_at(chain, params, 1))),
    "eth_getTransactionCount":   lambda chain, params: quantity(chain.nonce(_address(_param(params, 0)), _state_at(chain, params, 1))),
    "eth_getCode":               lambda chain, params: octets(chain.code(_address(_param(params, 0)), _state_at(chain, params, 1))),
    "eth_getStorageAt":          lambda chain, params: octets(abi_encode(["uint256"], [
                                     chain.storage(_address(_param(params, 0)), _int(_param(params, 1)), _state_at(chain, params, 2))])),
    "eth_call":                  lambda chain, params: octets(chain.call(_call(_param(params, 0)), _state_at(chain, params, 1))),
    "eth_estimateGas":           lambda chain, params: quantity(chain.estimate_gas(_call(_param(params, 0)))),
    "eth_sendRawTransaction":    lambda chain, params: octets(chain.send_raw(_bytes(_param(params, 0)))),
    "eth_sendTransaction":       _send_transaction,
    "eth_getBlockByNumber":      lambda chain, params: _get_block(chain, _block(chain, _param(params, 0)), params),
    "eth_getBlockByHash":        lambda chain, params: _get_block(chain, chain.block_by_hash(_bytes(_param(params, 0), 32)), params),
    "eth_getTransactionByHash":  _get_transaction,
    "eth_getTransactionReceipt": _get_receipt,
    "eth_getLogs":               _get_logs,
    "evm_snapshot":              lambda chain, params: quantity(chain.snapshot()),
    "evm_revert":                lambda chain, params: chain.revert(_int(_param(params, 0))),
    "evm_increaseTime":          lambda chain, params: quantity(chain.increase_time(_int(_param(params, 0)))),
    "evm_mine":                  _mine,
}
# fmt: on
