"""JSON-RPC: what the server answers to requests, batches, and whatever else is posted to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pytest
from chain_fixture import devchain, rpc, rpc_reply  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.devchain import start
from retrieval.devchain.chain import DevelopmentChain
from retrieval.devchain.database import ChainDatabase
from retrieval.devchain.methods import METHODS, RpcError, answer
from retrieval.devchain.server import BATCH_MAX, REQUEST_SIZE_MAX
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.identity import format_address
from retrieval.payment.chain import DEVCHAIN

MINT = "40c10f19"
CHANNELS = format_address(DEVCHAIN.contract)
TOKEN = format_address(DEVCHAIN.token)


def request(method: str, *params: Any, request_id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}


def error_of(url: str, body: Any) -> dict[str, Any]:
    error: dict[str, Any] = rpc_reply(url, body)["error"]
    return error


def post(url: str, body: bytes) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("POST", "/", body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def mint_call(to: str, amount: int) -> str:
    return "0x" + MINT + to[2:].rjust(64, "0") + f"{amount:064x}"


def test_the_chain_is_31337_and_names_its_accounts(devchain: str) -> None:  # noqa: F811
    assert rpc(devchain, "eth_chainId") == "0x7a69"
    assert len(rpc(devchain, "eth_accounts")) == 10


def test_a_transaction_has_a_receipt_a_block_and_logs(devchain: str) -> None:  # noqa: F811
    account = rpc(devchain, "eth_accounts")[3]
    sent = rpc(devchain, "eth_sendTransaction", {"from": account, "to": TOKEN, "data": mint_call(account, 9)})
    receipt = rpc(devchain, "eth_getTransactionReceipt", sent)
    block = rpc(devchain, "eth_getBlockByHash", receipt["blockHash"], True)
    assert (receipt["status"], receipt["from"], receipt["to"]) == ("0x1", account, TOKEN)
    assert block["transactions"] == [rpc(devchain, "eth_getTransactionByHash", sent)]
    (log,) = receipt["logs"]
    assert rpc(devchain, "eth_getLogs", {"blockHash": receipt["blockHash"]}) == [log]
    wanted = {"fromBlock": receipt["blockNumber"], "toBlock": "latest", "address": [TOKEN], "topics": [log["topics"][0], None]}
    assert log in rpc(devchain, "eth_getLogs", wanted)
    assert rpc(devchain, "eth_getLogs", {**wanted, "address": CHANNELS}) == []
    assert rpc(devchain, "eth_getLogs", {**wanted, "topics": [[log["topics"][1]]]}) == []


def test_what_does_not_exist_is_null(devchain: str) -> None:  # noqa: F811
    nothing = "0x" + "11" * 32
    for method in ("eth_getTransactionReceipt", "eth_getTransactionByHash", "eth_getBlockByHash"):
        assert rpc(devchain, method, nothing) is None
    assert rpc(devchain, "eth_getBlockByNumber", "0xffffff") is None


def test_a_revert_carries_its_reason_and_its_bytes(devchain: str) -> None:  # noqa: F811
    call = {"to": TOKEN, "data": mint_call("0x" + "00" * 20, 1)}
    for method in ("eth_call", "eth_estimateGas"):
        error = error_of(devchain, request(method, call))
        assert (error["code"], error["message"]) == (3, "execution reverted: ZeroReceiver")
        assert error["data"].startswith("0x08c379a0")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (request("eth_nonsense"), -32601),
        (request("eth_getBalance"), -32602),
        (request("eth_getBalance", 5), -32602),
        (request("eth_getBlockByNumber", "newest"), -32602),
        (request("eth_call", []), -32602),
        (request("eth_call", {"to": "0x12"}), -32602),
        (request("eth_sendRawTransaction", "0xc0"), -32000),
        (request("evm_increaseTime", -1), -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": {}}, -32600),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
        ("eth_chainId", -32600),
        (7, -32600),
        ([], -32600),
        ([request("eth_chainId")] * (BATCH_MAX + 1), -32600),
    ],
)
def test_a_bad_request_is_answered_with_the_number_of_its_mistake(devchain: str, body: Any, code: int) -> None:  # noqa: F811
    assert error_of(devchain, body)["code"] == code


def test_a_batch_is_answered_in_order_without_its_notifications(devchain: str) -> None:  # noqa: F811
    notification = {"jsonrpc": "2.0", "method": "eth_chainId"}
    replies = rpc_reply(devchain, [request("eth_chainId", request_id="a"), notification, request("no", request_id=None), 5])
    assert [reply["id"] for reply in replies] == ["a", None, None]
    assert [reply.get("result") for reply in replies] == ["0x7a69", None, None]


def test_a_notification_alone_is_answered_with_nothing(devchain: str) -> None:  # noqa: F811
    assert post(devchain, b'{"jsonrpc":"2.0","method":"eth_chainId"}') == (204, b"")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_not_json_is_a_parse_error(devchain: str, body: bytes) -> None:  # noqa: F811
    status, reply = post(devchain, body)
    assert (status, json.loads(reply)["error"]["code"]) == (200, -32700)


def test_brackets_inside_strings_do_not_count_as_depth(devchain: str) -> None:  # noqa: F811
    assert error_of(devchain, request("eth_" + '[{\\"' * 100))["code"] == -32601


def test_a_body_above_the_limit_is_refused(devchain: str) -> None:  # noqa: F811
    status, reply = post(devchain, b" " * (REQUEST_SIZE_MAX + 1))
    assert (status, json.loads(reply)["error"]["code"]) == (413, -32005)


def test_other_ways_in_do_not_exist(devchain: str) -> None:  # noqa: F811
    for path in ("/", "/else"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(devchain + path, timeout=30)


def test_snapshots_and_time_answer_as_on_anvil(devchain: str) -> None:  # noqa: F811
    snapshot = rpc(devchain, "evm_snapshot")
    before = int(rpc(devchain, "eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    rpc(devchain, "evm_increaseTime", 5_000)
    rpc(devchain, "evm_mine")
    after = int(rpc(devchain, "eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    assert after - before >= 5_000
    assert rpc(devchain, "evm_revert", snapshot) is True
    assert rpc(devchain, "evm_revert", snapshot) is False


CHAIN = DevelopmentChain(ChainDatabase(None))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0x", "0x1", "latest", CHANNELS]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["from", "to", "data", "value", "gas", "fromBlock", "topics", "address", "blockHash"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(method=st.sampled_from(sorted(set(METHODS) - {"evm_increaseTime", "evm_mine"})), params=st.lists(json_values, max_size=4))
def test_any_parameters_end_in_a_result_or_an_rpc_error(method: str, params: list[Any]) -> None:
    with contextlib.suppress(RpcError):
        json.dumps(answer(CHAIN, method, params))


def test_a_taken_port_is_said_plainly(devchain: str) -> None:  # noqa: F811
    with pytest.raises(LocalProtocolError, match="cannot be taken") as caught:
        start(port=urlsplit(devchain).port or 0)
    assert caught.value.code is ErrorCode.USAGE


def test_stopping_twice_is_stopping() -> None:
    chain = start()
    chain.stop()
    chain.stop()
    with pytest.raises(urllib.error.URLError):
        rpc(chain.rpc, "eth_chainId")
