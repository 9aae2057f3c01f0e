"""The artifacts: they are what the sources compile to, and agree with the Python side on every digest."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract_vm import READER, START, ContractVm, claim_row, config_tuple, id_of, sign_batch, sign_refund
from hypothesis import given
from hypothesis import strategies as st

from retrieval.identity import EvmAddress, EvmKey, recover_address
from retrieval.payment import contracts
from retrieval.payment.chain import DEVCHAIN
from retrieval.payment.channel import ChannelConfig
from retrieval.payment.contracts import CONTRACT_NAMES, load_artifact
from retrieval.payment.contracts.compile import compile_contract, render

CODE_SIZE_MAX = 24_576  # bytes of code an address may have (EIP-170)

addresses = st.binary(min_size=20, max_size=20).map(EvmAddress)
amounts = st.integers(0, 2**128 - 1)
configs = st.builds(
    ChannelConfig,
    payer=addresses,
    payer_authorizer=addresses,
    receiver=addresses,
    receiver_authorizer=addresses,
    token=addresses,
    withdraw_delay_s=st.integers(900, 2_592_000),
    salt=st.binary(min_size=32, max_size=32),
)
VM = ContractVm()
KEY = EvmKey.from_secret(b"\x01" * 32)


@pytest.mark.parametrize("name", CONTRACT_NAMES)
def test_recompiling_gives_the_artifact_byte_for_byte(name: str) -> None:
    pytest.importorskip("vyper", reason="Vyper is a development dependency")
    checked_in = (Path(contracts.__file__).parent / f"{name}.json").read_text("utf-8")
    assert render(compile_contract(name)) == checked_in


@pytest.mark.parametrize("name", CONTRACT_NAMES)
def test_the_code_fits_an_address_and_needs_no_constructor(name: str) -> None:
    artifact = load_artifact(name)
    assert 0 < len(artifact.runtime_code) <= CODE_SIZE_MAX
    assert artifact.runtime_code in artifact.deploy_code
    assert not [entry for entry in artifact.abi if entry["type"] == "constructor"]


@given(config=configs)
def test_the_contract_and_python_agree_on_channel_ids(config: ChannelConfig) -> None:
    assert VM.call(READER, "channels", "getChannelId", config_tuple(config)) == id_of(config)


@given(config=configs, amount=amounts)
def test_the_contract_and_python_agree_on_vouchers(config: ChannelConfig, amount: int) -> None:
    _, signature, _ = claim_row(config, amount, KEY)
    digest = VM.call(READER, "channels", "getVoucherDigest", id_of(config), amount)
    assert recover_address(digest, signature) == KEY.address


@given(config=configs, amount=amounts, nonce=st.integers(0, 2**256 - 1))
def test_the_contract_and_python_agree_on_refunds(config: ChannelConfig, amount: int, nonce: int) -> None:
    digest = VM.call(READER, "channels", "getRefundDigest", id_of(config), nonce, amount)
    assert recover_address(digest, sign_refund(config, amount, nonce, KEY)) == KEY.address


@given(rows=st.lists(st.tuples(configs, amounts), min_size=1, max_size=32))
def test_the_contract_and_python_agree_on_claim_batches(rows: list[tuple[ChannelConfig, int]]) -> None:
    lines = [((config_tuple(config), amount), b"", amount // 2) for config, amount in rows]
    digest = VM.call(READER, "channels", "getClaimBatchDigest", lines)
    signature = sign_batch([(config, amount, amount // 2) for config, amount in rows], KEY)
    assert recover_address(digest, signature) == KEY.address


def test_the_contract_says_its_signing_domain() -> None:
    fields, name, version, chain_id, contract, salt, extensions = VM.call(READER, "channels", "eip712Domain")
    assert (fields, name, version, chain_id) == (b"\x0f", "x402 Batch Settlement", "1", DEVCHAIN.chain_id)
    assert (bytes.fromhex(contract[2:]), salt, extensions) == (DEVCHAIN.contract, bytes(32), ())


def test_the_token_signs_under_the_domain_of_the_deployment() -> None:
    assert VM.call(READER, "test_dollar", "DOMAIN_SEPARATOR") == DEVCHAIN.token_domain.separator


def test_multicall_answers_what_failed_or_refuses_all() -> None:
    calls = [(DEVCHAIN.token, bytes.fromhex("313ce567")), (DEVCHAIN.token, b"what")]
    good, bad = VM.call(READER, "multicall3", "tryAggregate", False, calls)
    assert good == (True, (6).to_bytes(32, "big"))
    assert bad[0] is False
    with pytest.raises(Exception, match="Multicall3: call failed"):
        VM.call(READER, "multicall3", "tryAggregate", True, calls)
    assert VM.call(READER, "multicall3", "getCurrentBlockTimestamp") == START
