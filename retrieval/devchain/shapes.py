"""How blocks, transactions, receipts and logs look in Ethereum's JSON-RPC.

One rule: quantities are hex without leading zeros, byte strings are hex of full length (execution-apis specification).
"""

from __future__ import annotations

from typing import Any

import rlp
from eth._utils.address import generate_contract_address
from eth.abc import BlockAPI, ReceiptAPI, SignedTransactionAPI

from retrieval.devchain.chain import Mined
from retrieval.identity import EvmAddress, format_address

Json = dict[str, Any]
"""A JSON object; `Any` because its members differ by name."""


def quantity(value: int) -> str:
    return hex(value)


def octets(value: bytes) -> str:
    return "0x" + value.hex()


def address(value: bytes) -> str | None:
    """With its checksum; None for the empty address of a contract creation."""
    return format_address(EvmAddress(value)) if value else None


def block_object(block: BlockAPI, *, full: bool) -> Json:
    header = block.header
    return {
        "number": quantity(header.block_number),
        "hash": octets(header.hash),
        "parentHash": octets(header.parent_hash),
        "nonce": octets(header.nonce),
        "sha3Uncles": octets(header.uncles_hash),
        "logsBloom": octets(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": octets(header.transaction_root),
        "stateRoot": octets(header.state_root),
        "receiptsRoot": octets(header.receipt_root),
        "miner": address(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": quantity(header.difficulty),
        "extraData": octets(header.extra_data),
        "size": quantity(len(rlp.encode(block))),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "mixHash": octets(header.mix_hash),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "withdrawalsRoot": octets(header.withdrawals_root),
        "withdrawals": [],
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": octets(header.parent_beacon_block_root),
        "uncles": [],
        "transactions": [
            transaction_object(Mined(block=block, index=index, transaction=transaction)) if full else octets(transaction.hash)
            for index, transaction in enumerate(block.transactions)
        ],
    }


def transaction_object(mined: Mined) -> Json:
    block, transaction = mined.block, mined.transaction
    kind = _type_of(transaction)
    parity = transaction.v if kind == 0 else transaction.y_parity
    shape: Json = {
        "type": quantity(kind),
        "hash": octets(transaction.hash),
        "blockHash": octets(block.hash),
        "blockNumber": quantity(block.number),
        "transactionIndex": quantity(mined.index),
        "from": address(transaction.sender),
        "to": address(transaction.to),
        "nonce": quantity(transaction.nonce),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(_price(block, transaction)),
        "value": quantity(transaction.value),
        "input": octets(transaction.data),
        "v": quantity(parity),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if kind != 0:
        shape["yParity"] = quantity(parity)
        shape["chainId"] = quantity(transaction.chain_id)
        shape["accessList"] = [
            {"address": address(account), "storageKeys": [octets(slot.to_bytes(32, "big")) for slot in slots]}
            for account, slots in transaction.access_list
        ]
    if kind >= 2:
        shape["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        shape["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
    return shape


def receipt_object(mined: Mined, receipts: tuple[ReceiptAPI, ...]) -> Json:
    block, transaction = mined.block, mined.transaction
    receipt = receipts[mined.index]
    before = receipts[mined.index - 1].gas_used if mined.index else 0
    created = b"" if transaction.to else generate_contract_address(transaction.sender, transaction.nonce)
    return {
        "type": quantity(_type_of(transaction)),
        "transactionHash": octets(transaction.hash),
        "transactionIndex": quantity(mined.index),
        "blockHash": octets(block.hash),
        "blockNumber": quantity(block.number),
        "from": address(transaction.sender),
        "to": address(transaction.to),
        "contractAddress": address(created),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(receipt.gas_used - before),
        "effectiveGasPrice": quantity(_price(block, transaction)),
        "status": quantity(int.from_bytes(receipt.state_root, "big")),
        "logsBloom": octets(receipt.bloom.to_bytes(256, "big")),
        "logs": log_objects(mined, receipts),
    }


def log_objects(mined: Mined, receipts: tuple[ReceiptAPI, ...]) -> list[Json]:
    """The logs of one transaction, numbered within their block."""
    first = sum(len(receipt.logs) for receipt in receipts[: mined.index])
    return [
        {
            "address": address(log.address),
            "topics": [octets(topic.to_bytes(32, "big")) for topic in log.topics],
            "data": octets(log.data),
            "blockNumber": quantity(mined.block.number),
            "blockHash": octets(mined.block.hash),
            "transactionHash": octets(mined.transaction.hash),
            "transactionIndex": quantity(mined.index),
            "logIndex": quantity(first + position),
            "removed": False,
        }
        for position, log in enumerate(receipts[mined.index].logs)
    ]


def _type_of(transaction: SignedTransactionAPI) -> int:
    return int(getattr(transaction, "type_id", None) or 0)


def _price(block: BlockAPI, transaction: SignedTransactionAPI) -> int:
    tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - block.header.base_fee_per_gas)
    return int(block.header.base_fee_per_gas + tip)
