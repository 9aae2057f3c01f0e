"""Byte for byte the signatures of the ``x402`` package and of ``eth_account``, for channels and amounts nobody picked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.identity import EvmAddress, EvmKey, PeerId, format_address, keccak256, parse_address, peer_id_of
from retrieval.payment import channel, voucher
from retrieval.payment.channel import ChannelConfig, ChannelId
from retrieval.payment.typed_data import Domain

Account = pytest.importorskip("eth_account").Account
messages = pytest.importorskip("eth_account.messages")
constants = pytest.importorskip("x402.mechanisms.evm.batch_settlement.constants")
authorizer_signer = pytest.importorskip("x402.mechanisms.evm.batch_settlement.authorizer_signer")
client_voucher = pytest.importorskip("x402.mechanisms.evm.batch_settlement.client.voucher")
facilitator = pytest.importorskip("x402.mechanisms.evm.batch_settlement.facilitator.utils")
signers = pytest.importorskip("x402.mechanisms.evm.signers")
types = pytest.importorskip("x402.mechanisms.evm.batch_settlement.types")
utils = pytest.importorskip("x402.mechanisms.evm.batch_settlement.utils")

CANONICAL = parse_address(constants.BATCH_SETTLEMENT_ADDRESS)
SESSION_KEY_TYPES = {
    "SessionKey": [
        {"name": "channelId", "type": "bytes32"},
        {"name": "peerId", "type": "bytes"},
        {"name": "expiresAt", "type": "uint64"},
    ]
}
few = settings(max_examples=40)

chain_ids = st.one_of(st.sampled_from([1, 314, 8453, 31337]), st.integers(1, 2**53))
words = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20).map(EvmAddress)
uint128s = st.integers(0, 2**128 - 1)
uint256s = st.integers(0, 2**256 - 1)
uint64s = st.integers(0, 2**64 - 1)
keys = words.filter(lambda secret: 0 < int.from_bytes(secret, "big") < 2**255).map(EvmKey.from_secret)
configs = st.builds(
    ChannelConfig,
    payer=addresses,
    payer_authorizer=addresses,
    receiver=addresses,
    receiver_authorizer=addresses,
    token=addresses,
    withdraw_delay_s=st.integers(channel.WITHDRAW_DELAY_MIN_S, channel.WITHDRAW_DELAY_MAX_S),
    salt=words,
)


def theirs(config: ChannelConfig) -> object:
    return types.ChannelConfig(
        payer=format_address(config.payer),
        payer_authorizer=format_address(config.payer_authorizer),
        receiver=format_address(config.receiver),
        receiver_authorizer=format_address(config.receiver_authorizer),
        token=format_address(config.token),
        withdraw_delay=config.withdraw_delay_s,
        salt="0x" + config.salt.hex(),
    )


def typed_digest(domain: Domain, types: dict[str, object], message: dict[str, object]) -> bytes:
    """The digest by eth_account's general encoder."""
    fields = {
        "name": domain.name,
        "version": domain.version,
        "chainId": domain.chain_id,
        "verifyingContract": format_address(domain.contract),
    }
    signable = messages.encode_typed_data(fields, types, message)
    return keccak256(b"\x19" + signable.version + signable.header + signable.body)


def hex_signature(key: EvmKey, digest: bytes) -> str:
    return "0x" + key.sign_digest(digest).hex()


def test_limits_and_domain_are_those_of_the_scheme():
    assert (channel.WITHDRAW_DELAY_MIN_S, channel.WITHDRAW_DELAY_MAX_S) == (constants.MIN_WITHDRAW_DELAY, constants.MAX_WITHDRAW_DELAY)
    domain = channel.settlement_domain(8453, CANONICAL)
    expected = utils.get_batch_settlement_eip712_domain(8453)
    assert (domain.name, domain.version) == (expected["name"], expected["version"])


@few
@given(configs, chain_ids)
def test_a_channel_has_the_id_that_x402_computes(config, chain_id):
    assert "0x" + channel.channel_id(config, chain_id, CANONICAL).hex() == utils.compute_channel_id(theirs(config), chain_id)


@few
@given(configs, chain_ids, addresses)
def test_a_channel_of_any_contract_has_the_id_that_eth_account_computes(config, chain_id, contract):
    expected = typed_digest(
        channel.settlement_domain(chain_id, contract),
        constants.CHANNEL_CONFIG_TYPES,
        utils.channel_config_to_signing_message(theirs(config)),
    )
    assert channel.channel_id(config, chain_id, contract) == expected


@few
@given(keys, words, uint128s, chain_ids)
def test_a_voucher_has_the_signature_of_x402s_client_and_passes_its_facilitator(key, channel_id, amount, chain_id):
    wallet = signers.EthAccountSigner(Account.from_key(key.secret))
    expected = client_voucher.sign_voucher(wallet, "0x" + channel_id.hex(), amount, f"eip155:{chain_id}")
    ours = voucher.VoucherSigner(key, chain_id, CANONICAL).sign(ChannelId(channel_id), amount)
    assert "0x" + ours.signature.hex() == expected.signature
    assert facilitator.verify_batch_settlement_voucher_typed_data(
        signer=None,  # asks the chain about contract wallets only
        channel_id="0x" + channel_id.hex(),
        max_claimable_amount=str(amount),
        payer_authorizer=format_address(key.address),
        payer=format_address(key.address),
        signature="0x" + ours.signature.hex(),
        chain_id=chain_id,
    )
    theirs_read = voucher.Voucher(channel_id=ChannelId(channel_id), amount=amount, signature=bytes.fromhex(expected.signature[2:]))
    voucher.verify_voucher(theirs_read, key.address, channel.settlement_domain(chain_id, CANONICAL))


@few
@given(keys, st.lists(st.tuples(configs, uint128s, uint128s), min_size=1, max_size=5), chain_ids)
def test_a_claim_batch_has_the_signature_of_x402s_authorizer(key, claims, chain_id):
    ordered = [(config, max(amounts), min(amounts)) for config, *amounts in claims]
    expected = authorizer_signer.sign_claim_batch(
        authorizer_signer.LocalAuthorizerSigner(Account.from_key(key.secret)),
        [
            types.VoucherClaim(channel=theirs(config), max_claimable_amount=str(most), signature="0x", total_claimed=str(total))
            for config, most, total in ordered
        ],
        f"eip155:{chain_id}",
    )
    entries = [
        voucher.ClaimEntry(channel_id=channel.channel_id(config, chain_id, CANONICAL), max_claimable=most, total_claimed=total)
        for config, most, total in ordered
    ]
    assert hex_signature(key, voucher.claim_batch_digest(entries, channel.settlement_domain(chain_id, CANONICAL))) == expected


@few
@given(keys, words, uint256s, uint128s, chain_ids)
def test_a_refund_has_the_signature_of_x402s_authorizer(key, channel_id, nonce, amount, chain_id):
    signer = authorizer_signer.LocalAuthorizerSigner(Account.from_key(key.secret))
    expected = authorizer_signer.sign_refund(signer, "0x" + channel_id.hex(), amount, nonce, f"eip155:{chain_id}")
    digest = voucher.refund_digest(ChannelId(channel_id), nonce, amount, channel.settlement_domain(chain_id, CANONICAL))
    assert hex_signature(key, digest) == expected


@few
@given(addresses, addresses, uint256s, st.integers(0, 2**64), st.integers(1, 2**64), words, chain_ids, addresses, st.text(max_size=20))
def test_a_deposit_authorization_has_the_digest_of_eth_account(payer, payee, amount, valid_after, lasts, nonce, chain_id, token, name):
    authorization = voucher.ReceiveAuthorization(
        payer=payer, payee=payee, amount=amount, valid_after=valid_after, valid_before=valid_after + lasts, nonce=nonce
    )
    domain = Domain(name=name, version="2", chain_id=chain_id, contract=token)
    message = {
        "from": format_address(payer),
        "to": format_address(payee),
        "value": amount,
        "validAfter": valid_after,
        "validBefore": valid_after + lasts,
        "nonce": nonce,
    }
    expected = typed_digest(domain, constants.RECEIVE_AUTHORIZATION_TYPES, message)
    assert voucher.receive_with_authorization_digest(authorization, domain) == expected


@few
@given(keys, words, words.map(peer_id_of), uint64s, chain_ids, addresses)
def test_a_session_key_has_the_signature_of_eth_account(key, channel_id, peer_id, expires_at, chain_id, contract):
    domain = channel.session_domain(chain_id, contract)
    ours = channel.sign_session_key(key, domain, channel_id=ChannelId(channel_id), peer_id=PeerId(peer_id), expires_at=expires_at)
    message = {"channelId": channel_id, "peerId": peer_id, "expiresAt": expires_at}
    expected = Account.unsafe_sign_hash(typed_digest(domain, SESSION_KEY_TYPES, message), key.secret)
    assert ours.signature == bytes(expected.signature)
