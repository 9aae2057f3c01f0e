"""The chain over JSON-RPC: the only door to web3, eth_account and eth_abi, imported on first use (they take most of a second).

One rule: every failure leaves as a row of the error registry, within a deadline. Calls block; use a thread where that matters.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError, RetrievalError
from retrieval.identity import DIGEST_SIZE, EvmAddress, EvmKey, format_address, keccak256, parse_address
from retrieval.payment.chain import DEVCHAIN, MULTICALL3, ChannelState, Claim, Deployment, Settlement, TokenFacts
from retrieval.payment.channel import ChannelConfig, ChannelId, channel_id, settlement_domain
from retrieval.payment.voucher import ReceiveAuthorization, receive_with_authorization_digest, refund_digest
from retrieval.payment.x402.batch import Deposit
from retrieval.payment.x402.exact import ExactPayment

if TYPE_CHECKING:
    from web3 import Web3

RPC_TIMEOUT_S: Final = 10.0  # PROTOCOL.md, "Errors and deadlines"
RECEIPT_TIMEOUT_S: Final = 120.0  # a few blocks of a slow chain
RECEIPT_POLL_S: Final = 0.25
AUTHORIZATION_LIFETIME_S: Final = 3_600  # of a deposit's EIP-3009 authorization: the chain's clock may differ from ours
GAS_MARGIN_PERCENT: Final = 125  # of the estimate: the state may change until the transaction is mined
CHANNELS_PER_CALL: Final = 80  # three reads each; the multicall of the development chain takes 256
CLAIMS_PER_TRANSACTION: Final = 16  # with the settling beside them they fit the contract's multicall
GAS_MONEY_WEI: Final = 10**18  # what the development chain gives a wallet; opening a channel costs a thousandth of it
REASON_MAX: Final = 160  # characters of a chain's explanation that are passed on

_CONFIG: Final = "(address,address,address,address,address,uint40,bytes32)"
_CLAIMS: Final = f"(({_CONFIG},uint128),bytes,uint128)[]"


class EvmChain:
    """One deployment, reached at one RPC URL; implements the port `payment.chain.Chain`. Threads may share it.

    Nothing is asked until the first call, which also checks that the chain is the deployment's.
    """

    def __init__(self, rpc_url: str, deployment: Deployment = DEVCHAIN, *, timeout_s: float = RPC_TIMEOUT_S) -> None:
        self.deployment: Final = deployment
        self._rpc: Final = _Rpc(rpc_url, timeout_s)
        self._checked = False

    def chain_id(self) -> int:
        """What the RPC says it is, whatever was expected."""
        with self._rpc.calling() as w3:
            return int(w3.eth.chain_id)

    def check(self) -> None:
        """Make sure that this is the deployment's chain and that the channel contract is on it. Raises `wrong_chain`."""
        expected = self.deployment.chain_id
        if (found := self.chain_id()) != expected:
            raise LocalProtocolError(ErrorCode.WRONG_CHAIN, f"chain {expected} is expected, {self._rpc.name} is chain {found}")
        with self._rpc.calling() as w3:
            code = w3.eth.get_code(format_address(self.deployment.contract))
        if not code:
            address = format_address(self.deployment.contract)
            raise LocalProtocolError(ErrorCode.WRONG_CHAIN, f"there is no contract at {address} of chain {expected}")
        self._checked = True

    # Reading

    def channel_states(self, channel_ids: Sequence[ChannelId], *, confirmations: int = 0) -> list[ChannelState]:
        """One `eth_call` for every 80 channels. With `confirmations`, as of that many blocks ago."""
        self._check_once()
        states: list[ChannelState] = []
        block = self._block_before(confirmations) if confirmations else None
        for start in range(0, len(channel_ids), CHANNELS_PER_CALL):
            states += self._states(channel_ids[start : start + CHANNELS_PER_CALL], block)
        return states

    def token_balance(self, owner: EvmAddress) -> int:
        return int(self._read(self.deployment.token, "balanceOf(address)", [owner], "uint256"))

    def native_balance(self, owner: EvmAddress) -> int:
        self._check_once()
        return self._rpc.balance(owner)

    def token_facts(self, token: EvmAddress) -> TokenFacts:
        """What a token says of itself. Raises `wrong_chain` when there is none at this address."""
        return TokenFacts(
            name=str(self._read(token, "name()", [], "string")),
            version=str(self._read(token, "version()", [], "string")),
            symbol=str(self._read(token, "symbol()", [], "string")),
            decimals=int(self._read(token, "decimals()", [], "uint8")),
        )

    # Paying in

    def deposit(self, config: ChannelConfig, amount: int, *, payer: EvmKey, sender: EvmKey) -> bytes:
        """Sign an EIP-3009 authorization for the collector as x402's client does, and deposit with it."""
        assert payer.address == config.payer
        assert config.token == self.deployment.token
        held = self.token_balance(payer.address)
        if held < amount:
            raise LocalProtocolError(
                ErrorCode.WALLET_INSUFFICIENT, f"{format_address(payer.address)} holds {held} of the token, and {amount} are needed"
            )
        from eth_abi import encode

        salt = secrets.token_bytes(DIGEST_SIZE)
        authorization = ReceiveAuthorization(
            payer=payer.address,
            payee=self.deployment.collector,
            amount=amount,
            valid_after=0,
            valid_before=self._time() + AUTHORIZATION_LIFETIME_S,
            nonce=keccak256(self._channel_id(config) + salt),
        )
        signature = payer.sign_digest(receive_with_authorization_digest(authorization, self.deployment.token_domain))
        collector_data = encode(
            ["uint256", "uint256", "uint256", "bytes"], [0, authorization.valid_before, int.from_bytes(salt, "big"), signature]
        )
        arguments = [_config(config), amount, self.deployment.collector, collector_data]
        return self._send(sender, f"deposit({_CONFIG},uint128,address,bytes)", arguments)

    # What payers signed for others to submit (x402)

    def relay_deposit(self, config: ChannelConfig, deposit: Deposit, *, sender: EvmKey) -> bytes:
        """Put a deposit into its channel that the channel's payer signed; `sender` only pays the gas."""
        from eth_abi import encode

        salt = int.from_bytes(deposit.salt, "big")
        collector_data = encode(
            ["uint256", "uint256", "uint256", "bytes"], [deposit.valid_after, deposit.valid_before, salt, deposit.signature]
        )
        arguments = [_config(config), deposit.amount, self.deployment.collector, collector_data]
        return self._send(sender, f"deposit({_CONFIG},uint128,address,bytes)", arguments)

    def check_exact(self, payment: ExactPayment) -> None:
        """Try a signed transfer without submitting it. Raises `transaction_failed` when it would not go through, also after it has."""
        self._check_once()
        self._rpc.call(self.deployment.token, _exact_calldata(payment), None)

    def relay_exact(self, payment: ExactPayment, *, sender: EvmKey) -> bytes:
        """Submit a transfer that its payer signed; `sender` only pays the gas."""
        self._check_once()
        receipt = self._rpc.transact(sender, self.deployment.token, _exact_calldata(payment), self.deployment.chain_id)
        return bytes(receipt["transactionHash"])

    def find_exact(self, payer: EvmAddress, payee: EvmAddress, amount: int, nonce: bytes, *, from_block: int) -> bytes | None:
        """The transaction in which a signed transfer was mined, whoever submitted it; None where there is none.

        A payer can use a nonce up for another transfer, so it is found by the transfer that the token logs right behind it.
        """
        self._check_once()
        topics = [keccak256(b"AuthorizationUsed(address,bytes32)"), bytes(12) + payer, nonce]
        moved = [keccak256(b"Transfer(address,address,uint256)"), bytes(12) + payer, bytes(12) + payee]
        for transaction, following in self._rpc.logs_behind(self.deployment.token, topics, from_block):
            found = following is not None and [bytes(topic) for topic in following["topics"]] == moved
            if found and int.from_bytes(bytes(following["data"]), "big") == amount:
                return transaction
        return None

    def block_number(self) -> int:
        """Of the newest block."""
        return self._block_before(0)

    # Taking out

    def claim_and_settle(self, claims: Sequence[Claim], *, sender: EvmKey) -> Settlement:
        """A claim above the channel's balance takes the balance, so that one payer who left does not hold up the others.

        16 vouchers a transaction; the last of them carries the settling.
        """
        receivers = {(claim.config.receiver, claim.config.token) for claim in claims}
        assert len(receivers) == 1, "one receiver and token at a time"
        ((receiver, token),) = receivers
        due, claimed_sum = self._due(claims)
        if not due and not self._unsettled(receiver, token):
            return Settlement(claimed=0, settled=0, transactions=())
        settle = _calldata("settle(address,address)", [receiver, token])
        calls = _claim_calls(due)
        last = _calldata("multicall(bytes[])", [[calls.pop(), settle]]) if calls else settle
        receipts = [self._transact(sender, call) for call in [*calls, last]]
        return Settlement(
            claimed=claimed_sum,
            settled=self._settled_amount(receipts[-1], receiver, token),
            transactions=_hashes(receipts),
        )

    def claim(self, claims: Sequence[Claim], *, sender: EvmKey) -> Settlement:
        """Only book the claims; no tokens move until something settles."""
        due, claimed_sum = self._due(claims)
        receipts = [self._transact(sender, call) for call in _claim_calls(due)]
        return Settlement(claimed=claimed_sum, settled=0, transactions=_hashes(receipts))

    def settle(self, receiver: EvmAddress, *, sender: EvmKey) -> Settlement:
        """Send a receiver all that is claimed. Anybody may; when there is nothing, nothing is sent."""
        token = self.deployment.token
        if not self._unsettled(receiver, token):
            return Settlement(claimed=0, settled=0, transactions=())
        receipt = self._transact(sender, _calldata("settle(address,address)", [receiver, token]))
        amount = self._settled_amount(receipt, receiver, token)
        return Settlement(claimed=0, settled=amount, transactions=_hashes([receipt]))

    def initiate_withdraw(self, config: ChannelConfig, amount: int, *, sender: EvmKey) -> bytes:
        return self._send(sender, f"initiateWithdraw({_CONFIG},uint128)", [_config(config), amount])

    def finalize_withdraw(self, config: ChannelConfig, *, sender: EvmKey) -> bytes:
        return self._send(sender, f"finalizeWithdraw({_CONFIG})", [_config(config)])

    def refund(self, config: ChannelConfig, amount: int, *, authorizer: EvmKey, sender: EvmKey) -> bytes:
        assert authorizer.address == config.receiver_authorizer
        channel = self._channel_id(config)
        (state,) = self.channel_states([channel])
        domain = settlement_domain(self.deployment.chain_id, self.deployment.contract)
        signature = authorizer.sign_digest(refund_digest(channel, state.refund_nonce, amount, domain))
        arguments = [_config(config), amount, state.refund_nonce, signature]
        return self._send(sender, f"refundWithSignature({_CONFIG},uint128,uint256,bytes)", arguments)

    # The development chain's gifts

    def mint(self, to: EvmAddress, amount: int) -> bytes:
        """Test dollars out of nothing."""
        return self._give(self.deployment.token, 0, _calldata("mint(address,uint256)", [to, amount]))

    def send_gas(self, to: EvmAddress, wei: int = GAS_MONEY_WEI) -> bytes:
        """Gas money from the development chain's first account, whose key the chain itself holds."""
        return self._give(to, wei, b"")

    def giver(self) -> EvmAddress:
        """The account that pays for both."""
        return parse_address(self._rpc.first_account())

    # Inside

    def _check_once(self) -> None:
        if not self._checked:
            self.check()

    def _channel_id(self, config: ChannelConfig) -> ChannelId:
        return channel_id(config, self.deployment.chain_id, self.deployment.contract)

    def _time(self) -> int:
        """Ours or the chain's, whichever is later: development chains run ahead."""
        return max(int(time.time()), int(self._read(MULTICALL3, "getCurrentBlockTimestamp()", [], "uint256")))

    def _block_before(self, confirmations: int) -> int:
        with self._rpc.calling() as w3:
            return max(0, int(w3.eth.block_number) - confirmations)

    def _read(self, to: EvmAddress, signature: str, arguments: list[Any], result_type: str) -> Any:
        self._check_once()
        output = self._rpc.call(to, _calldata(signature, arguments), None)
        (value,) = _decode([result_type], output, f"{signature} of {format_address(to)}")
        return value

    def _states(self, channel_ids: Sequence[ChannelId], block: int | None) -> list[ChannelState]:
        contract = self.deployment.contract
        reads = [(MULTICALL3, False, _calldata("getCurrentBlockTimestamp()", []))]
        for each in channel_ids:
            reads += [
                (contract, False, _calldata(f"{view}(bytes32)", [each])) for view in ("channels", "pendingWithdrawals", "refundNonce")
            ]
        output = self._rpc.call(MULTICALL3, _calldata("aggregate3((address,bool,bytes)[])", [reads]), block)
        (results,) = _decode(["(bool,bytes)[]"], output, "the multicall")
        words = [data for _, data in results]
        if len(words) != len(reads):
            raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "the multicall answered fewer reads than were asked")
        (now,) = _decode(["uint256"], words[0], "getCurrentBlockTimestamp")
        states = []
        for start in range(1, len(words), 3):
            balance, total_claimed = _decode(["uint128", "uint128"], words[start], "channels")
            withdraw_amount, started_at = _decode(["uint128", "uint40"], words[start + 1], "pendingWithdrawals")
            (nonce,) = _decode(["uint256"], words[start + 2], "refundNonce")
            states.append(
                ChannelState(
                    balance=balance,
                    total_claimed=total_claimed,
                    refund_nonce=nonce,
                    withdraw_amount=withdraw_amount,
                    withdraw_started_at=started_at,
                    block_timestamp=now,
                )
            )
        return states

    def _due(self, claims: Sequence[Claim]) -> tuple[list[tuple[Claim, int]], int]:
        """The claims that still change something, each with the total to take, and the sum they add."""
        states = self.channel_states([self._channel_id(claim.config) for claim in claims])
        takes = [min(claim.total_claimed, state.balance) for claim, state in zip(claims, states, strict=True)]
        due = [(claim, take, take - state.total_claimed) for claim, take, state in zip(claims, takes, states, strict=True)]
        return [(claim, take) for claim, take, gain in due if gain > 0], sum(max(gain, 0) for _, _, gain in due)

    def _unsettled(self, receiver: EvmAddress, token: EvmAddress) -> int:
        self._check_once()
        output = self._rpc.call(self.deployment.contract, _calldata("receivers(address,address)", [receiver, token]), None)
        claimed, settled = _decode(["uint128", "uint128"], output, "receivers")
        return int(claimed - settled)

    def _settled_amount(self, receipt: Any, receiver: EvmAddress, token: EvmAddress) -> int:
        """The sum that the `Settled` event of a receipt names."""
        topics = [keccak256(b"Settled(address,address,address,uint128)"), bytes(12) + receiver, bytes(12) + token]
        for log in receipt["logs"]:
            if bytes.fromhex(log["address"][2:]) == self.deployment.contract and [bytes(topic) for topic in log["topics"][:3]] == topics:
                return int.from_bytes(log["data"], "big")
        return 0

    def _send(self, sender: EvmKey, signature: str, arguments: list[Any]) -> bytes:
        return bytes(self._transact(sender, _calldata(signature, arguments))["transactionHash"])

    def _transact(self, sender: EvmKey, data: bytes) -> Any:
        self._check_once()
        return self._rpc.transact(sender, self.deployment.contract, data, self.deployment.chain_id)

    def _give(self, to: EvmAddress, wei: int, data: bytes) -> bytes:
        if self.deployment.chain_id != DEVCHAIN.chain_id:
            raise LocalProtocolError(ErrorCode.WRONG_CHAIN, "only the development chain gives money away")
        self._check_once()
        return self._rpc.transact_unlocked(to, wei, data)


class _Rpc:
    """A JSON-RPC connection: deadlines, transactions, and the conversion of every error."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url: Final = url
        self._timeout_s: Final = timeout_s
        self._nonces: Final = threading.Lock()  # one transaction of ours at a time: nodes give the same nonce to all who ask at once
        parts = urlsplit(url)
        self.name: Final = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
        """The URL without path and user, which often hold a secret key of the RPC's operator."""
        self._w3: Web3 | None = None

    @contextmanager
    def calling(self, refusal: ErrorCode = ErrorCode.RPC_UNAVAILABLE) -> Iterator[Web3]:
        """Lend the connection, and convert what it raises; `refusal` is what it means when the node answers with an error.

        Raises `rpc_unavailable`, `transaction_failed`, `wallet_insufficient`.
        """
        from requests.exceptions import RequestException
        from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError

        try:
            yield self._connection()
        except ContractLogicError as error:
            raise RemoteProtocolError(ErrorCode.TRANSACTION_FAILED, _reason(error)) from error
        except Web3RPCError as error:
            detail = _message(error)
            if "insufficient funds" in detail:
                raise LocalProtocolError(ErrorCode.WALLET_INSUFFICIENT, "not enough for the gas") from error
            raise RemoteProtocolError(refusal, f"{self.name}: {detail}") from error
        except Web3Exception as error:
            raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, f"{self.name}: {_message(error)}") from error
        except (RequestException, OSError, ValueError, KeyError, TypeError) as error:
            # ValueError and its kin: web3's formatters meeting an answer that is not what the method promises
            raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, f"{self.name}: {type(error).__name__}") from error

    def call(self, to: EvmAddress, data: bytes, block: int | None) -> bytes:
        with self.calling() as w3:
            return bytes(w3.eth.call({"to": format_address(to), "data": data}, "latest" if block is None else block))

    def logs_behind(self, address: EvmAddress, topics: list[bytes], from_block: int) -> list[tuple[bytes, Any]]:
        """For each event of a contract with these topics since a block: its transaction, and the contract's log right behind it."""
        shown = [f"0x{topic.hex()}" for topic in topics]
        with self.calling() as w3:
            logs = w3.eth.get_logs({"address": format_address(address), "topics": shown, "fromBlock": from_block, "toBlock": "latest"})
            found = []
            for log in logs:
                behind = [
                    each
                    for each in w3.eth.get_transaction_receipt(log["transactionHash"])["logs"]
                    if each["logIndex"] == log["logIndex"] + 1 and bytes.fromhex(each["address"][2:]) == address
                ]
                found.append((bytes(log["transactionHash"]), behind[0] if behind else None))
            return found

    def balance(self, owner: EvmAddress) -> int:
        with self.calling() as w3:
            return int(w3.eth.get_balance(format_address(owner)))

    def transact(self, sender: EvmKey, to: EvmAddress, data: bytes, chain_id: int) -> Any:
        """Estimate, sign, send and wait; returns the receipt, web3's own shape."""
        from eth_account import Account

        origin = format_address(sender.address)
        transaction: dict[str, Any] = {"from": origin, "to": format_address(to), "data": data, "value": 0, "chainId": chain_id}
        with self._nonces:
            with self.calling(ErrorCode.TRANSACTION_FAILED) as w3:
                estimate = w3.eth.estimate_gas(transaction)
                transaction |= {"gas": estimate * GAS_MARGIN_PERCENT // 100, "nonce": w3.eth.get_transaction_count(origin, "pending")}
                transaction |= _fees(w3)
                gas_wei = transaction["gas"] * transaction.get("maxFeePerGas", transaction.get("gasPrice", 0))
                held = w3.eth.get_balance(origin)
            if held < gas_wei:
                raise LocalProtocolError(
                    ErrorCode.WALLET_INSUFFICIENT, f"{origin} holds {held} wei for gas, and up to {gas_wei} wei are needed"
                )
            unsigned = {key: value for key, value in transaction.items() if key != "from"}
            signed = Account.sign_transaction(unsigned, sender.secret)
            with self.calling(ErrorCode.TRANSACTION_FAILED) as w3:
                sent = w3.eth.send_raw_transaction(signed.raw_transaction)
            receipt = self._receipt(bytes(sent))
        if receipt["status"] != 1:
            self._raise_revert(transaction, int(receipt["blockNumber"]), bytes(sent))
        return receipt

    def first_account(self) -> str:
        """The first account whose key the node itself holds."""
        with self.calling() as w3:
            accounts = w3.eth.accounts
            if not accounts:
                raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, f"{self.name} holds no accounts")
            return str(accounts[0])

    def transact_unlocked(self, to: EvmAddress, wei: int, data: bytes) -> bytes:
        """Have the node sign with its own first account."""
        origin = self.first_account()
        with self.calling() as w3:
            sent = bytes(w3.eth.send_transaction({"from": origin, "to": format_address(to), "value": wei, "data": data}))
        if self._receipt(sent)["status"] != 1:
            raise RemoteProtocolError(ErrorCode.TRANSACTION_FAILED, f"0x{sent.hex()} reverted")
        return sent

    def _connection(self) -> Web3:
        from web3 import HTTPProvider, Web3

        if self._w3 is None:
            # web3 would retry by itself, five times the timeout
            provider = HTTPProvider(self._url, request_kwargs={"timeout": self._timeout_s}, exception_retry_configuration=None)
            self._w3 = Web3(provider)
        return self._w3

    def _receipt(self, sent: bytes) -> Any:
        from web3.exceptions import TransactionNotFound

        deadline = time.monotonic() + RECEIPT_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                with self.calling() as w3, suppress(TransactionNotFound):
                    return w3.eth.get_transaction_receipt(sent)
            except RetrievalError as error:
                raise RemoteProtocolError(error.code, f"0x{sent.hex()} was sent and may have been mined; then: {error.detail}") from error
            time.sleep(RECEIPT_POLL_S)
        raise RemoteProtocolError(ErrorCode.TRANSACTION_FAILED, f"0x{sent.hex()} was not mined within {RECEIPT_TIMEOUT_S:.0f} s")

    def _raise_revert(self, transaction: dict[str, Any], block_number: int, sent: bytes) -> None:
        """Run a reverted transaction again to learn why: a receipt does not say."""
        fields = {key: transaction[key] for key in ("from", "to", "data", "gas", "value")}
        with self.calling() as w3:
            w3.eth.call(fields, block_number)
        raise RemoteProtocolError(ErrorCode.TRANSACTION_FAILED, f"0x{sent.hex()} reverted, for a reason that has passed since")


def _fees(w3: Web3) -> dict[str, int]:
    """What we would pay at most: twice the next base fee and the node's idea of a tip (EIP-1559), else its gas price."""
    base_fees = w3.eth.fee_history(1, "latest").get("baseFeePerGas")
    if not base_fees:
        return {"gasPrice": w3.eth.gas_price}
    tip = w3.eth.max_priority_fee
    return {"maxFeePerGas": 2 * base_fees[-1] + tip, "maxPriorityFeePerGas": tip}


def _calldata(signature: str, arguments: list[Any]) -> bytes:
    """A function's selector and encoded arguments."""
    from eth_abi import encode
    from eth_abi.grammar import TupleType, parse

    selector = keccak256(signature.encode())[:4]
    if not arguments:
        return selector
    parsed = parse(signature[signature.index("(") :])
    assert isinstance(parsed, TupleType)
    return selector + bytes(encode([each.to_type_str() for each in parsed.components], arguments))


def _decode(types: list[str], output: bytes, what: str) -> tuple[Any, ...]:
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        return tuple(decode(types, output))
    except (DecodingError, UnicodeDecodeError) as error:
        raise LocalProtocolError(ErrorCode.WRONG_CHAIN, f"{what} is not what this project knows") from error


def _exact_calldata(payment: ExactPayment) -> bytes:
    r, s, v = payment.signature[:32], payment.signature[32:64], payment.signature[64]
    return _calldata(
        "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
        [payment.payer, payment.payee, payment.amount, payment.valid_after, payment.valid_before, payment.nonce, v, r, s],
    )


def _config(config: ChannelConfig) -> tuple[Any, ...]:
    return (
        config.payer,
        config.payer_authorizer,
        config.receiver,
        config.receiver_authorizer,
        config.token,
        config.withdraw_delay_s,
        config.salt,
    )


def _claim_calls(due: Sequence[tuple[Claim, int]]) -> list[bytes]:
    rows = [((_config(claim.config), claim.voucher_amount), claim.signature, take) for claim, take in due]
    batches = [rows[start : start + CLAIMS_PER_TRANSACTION] for start in range(0, len(rows), CLAIMS_PER_TRANSACTION)]
    return [_calldata(f"claim({_CLAIMS})", [batch]) for batch in batches]


def _hashes(receipts: Sequence[Any]) -> tuple[bytes, ...]:
    return tuple(bytes(receipt["transactionHash"]) for receipt in receipts)


def _reason(error: Exception) -> str:
    """The revert reason of web3's error, without the words around it."""
    return _message(error).removeprefix("execution reverted").lstrip(": ") or "reverted without a reason"


def _message(error: Exception) -> str:
    """What a web3 error says. Its arguments may hold whole JSON answers, so only the message of those is taken."""
    response = getattr(error, "rpc_response", None)
    if isinstance(response, dict) and isinstance(response.get("error"), dict):
        return str(response["error"].get("message", ""))[:REASON_MAX]
    return str(getattr(error, "message", None) or error)[:REASON_MAX]
