"""Channel ids, session keys and the provider's acceptance policy."""

from __future__ import annotations

from dataclasses import replace

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import ZERO_ADDRESS, EvmAddress, EvmKey, PeerId, PeerKey, parse_address
from retrieval.payment.channel import (
    CHANNEL_CONFIG_SIZE,
    WITHDRAW_DELAY_DEFAULT_S,
    WITHDRAW_DELAY_FLOOR_S,
    WITHDRAW_DELAY_MAX_S,
    WITHDRAW_DELAY_MIN_S,
    ChannelConfig,
    ChannelId,
    ChannelTerms,
    SessionKey,
    channel_id,
    check_config,
    check_credit,
    check_deposit,
    credit,
    session_domain,
    settlement_domain,
    sign_session_key,
    verify_session_key,
)

VECTORS = golden.load("voucher")
CHAIN_ID = 31337
CONTRACT = EvmAddress(b"\x40" * 20)
AUTHORIZER = EvmKey.from_secret(b"\x01" * 32)
CLIENT = PeerKey.from_seed(b"\x02" * 32)
NOW_S = 1_800_000_000
CONFIG = ChannelConfig(
    payer=EvmAddress(b"\xa0" * 20),
    payer_authorizer=AUTHORIZER.address,
    receiver=EvmAddress(b"\xb0" * 20),
    receiver_authorizer=EvmAddress(b"\xb1" * 20),
    token=EvmAddress(b"\xc0" * 20),
    withdraw_delay_s=WITHDRAW_DELAY_DEFAULT_S,
    salt=b"\x07" * 32,
)
TERMS = ChannelTerms(
    receiver=CONFIG.receiver,
    receiver_authorizer=CONFIG.receiver_authorizer,
    token=CONFIG.token,
    chain_id=CHAIN_ID,
    contract=CONTRACT,
    withdraw_delay_min_s=WITHDRAW_DELAY_DEFAULT_S,
    withdraw_delay_max_s=WITHDRAW_DELAY_MAX_S,
    deposit_min=1_000,
)
CHANNEL = channel_id(CONFIG, CHAIN_ID, CONTRACT)
DOMAIN = session_domain(CHAIN_ID, CONTRACT)
SESSION_KEY = sign_session_key(AUTHORIZER, DOMAIN, channel_id=CHANNEL, peer_id=CLIENT.peer_id, expires_at=NOW_S + 1)
ELSEWHERE = EvmAddress(b"\xee" * 20)

amounts = st.integers(0, 2**128 - 1)


def refusal_of_config(config: ChannelConfig, terms: ChannelTerms = TERMS, claimed_id: ChannelId | None = None) -> str:
    with pytest.raises(RemoteProtocolError) as refused:
        check_config(config, terms, claimed_id or channel_id(config, terms.chain_id, terms.contract))
    assert refused.value.code is ErrorCode.CHANNEL_UNACCEPTABLE
    return refused.value.detail


def refusal_of_session_key(session_key: SessionKey, **claim: object) -> str:
    facts = {"channel_id": CHANNEL, "peer_id": CLIENT.peer_id, "authorizer": AUTHORIZER.address, "now_s": NOW_S}
    with pytest.raises(RemoteProtocolError) as refused:
        verify_session_key(session_key, claim.pop("domain", DOMAIN), **(facts | claim))
    assert refused.value.code is ErrorCode.SESSION_KEY_INVALID
    return refused.value.detail


# config and id


@pytest.mark.parametrize("vector", VECTORS["channels"], ids=lambda vector: f"chain {vector['chain_id']}")
def test_a_config_has_the_bytes_and_the_id_of_the_vector(vector):
    config = ChannelConfig.from_bytes(bytes.fromhex(vector["config"]))
    assert config.to_bytes().hex() == vector["config"]
    assert channel_id(config, vector["chain_id"], parse_address(vector["contract"])).hex() == vector["channel_id"]


def test_every_field_of_a_config_and_its_place_change_the_id():
    variants = [
        CONFIG,
        replace(CONFIG, payer=ELSEWHERE),
        replace(CONFIG, payer_authorizer=ELSEWHERE),
        replace(CONFIG, receiver=ELSEWHERE),
        replace(CONFIG, receiver_authorizer=ELSEWHERE),
        replace(CONFIG, token=ELSEWHERE),
        replace(CONFIG, withdraw_delay_s=WITHDRAW_DELAY_MAX_S),
        replace(CONFIG, salt=bytes(32)),
    ]
    ids = {channel_id(config, CHAIN_ID, CONTRACT) for config in variants}
    ids |= {channel_id(CONFIG, 1, CONTRACT), channel_id(CONFIG, CHAIN_ID, ELSEWHERE)}
    assert len(ids) == len(variants) + 2


@given(st.binary(min_size=100, max_size=100), st.integers(WITHDRAW_DELAY_MIN_S, WITHDRAW_DELAY_MAX_S), st.binary(min_size=32, max_size=32))
def test_a_config_survives_the_wire(addresses, withdraw_delay_s, salt):
    encoded = addresses + withdraw_delay_s.to_bytes(5, "big") + salt
    config = ChannelConfig.from_bytes(encoded)
    assert config.withdraw_delay_s == withdraw_delay_s
    assert config.to_bytes() == encoded


@given(st.one_of(st.binary(max_size=300), st.binary(min_size=CHANNEL_CONFIG_SIZE, max_size=CHANNEL_CONFIG_SIZE)))
def test_any_bytes_are_a_config_or_refused(encoded):
    try:
        config = ChannelConfig.from_bytes(encoded)
    except RemoteProtocolError as refused:
        expected = ErrorCode.CHANNEL_UNACCEPTABLE if len(encoded) == CHANNEL_CONFIG_SIZE else ErrorCode.MALFORMED_MESSAGE
        if refused.code is not expected:
            raise
    else:
        assert config.to_bytes() == encoded


@pytest.mark.parametrize("withdraw_delay_s", [0, WITHDRAW_DELAY_MIN_S - 1, WITHDRAW_DELAY_MAX_S + 1, 2**40 - 1])
def test_a_delay_the_contract_would_not_open_is_refused(withdraw_delay_s):
    encoded = CONFIG.to_bytes()[:100] + withdraw_delay_s.to_bytes(5, "big") + CONFIG.salt
    with pytest.raises(RemoteProtocolError, match=f"withdraw delay of {withdraw_delay_s} s") as refused:
        ChannelConfig.from_bytes(encoded)
    assert refused.value.code is ErrorCode.CHANNEL_UNACCEPTABLE


# the acceptance policy


def test_a_channel_made_to_the_terms_is_accepted():
    check_config(CONFIG, TERMS, CHANNEL)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"receiver": ELSEWHERE}, "it pays another receiver"),
        ({"receiver_authorizer": ELSEWHERE}, "it names another receiver authorizer"),
        ({"token": ELSEWHERE}, "it holds another token"),
        ({"payer_authorizer": ZERO_ADDRESS}, "EIP-1271"),
        ({"withdraw_delay_s": WITHDRAW_DELAY_DEFAULT_S - 1}, "is below 86400 s"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_channel_off_the_terms_is_refused_and_told_why(changed, why):
    assert why in refusal_of_config(replace(CONFIG, **changed))


@pytest.mark.parametrize("elsewhere", [{"chain_id": 1}, {"contract": ELSEWHERE}], ids=["chain", "contract"])
def test_a_channel_of_another_chain_or_contract_is_refused(elsewhere):
    assert "its id does not follow" in refusal_of_config(CONFIG, replace(TERMS, **elsewhere), CHANNEL)


def test_an_id_that_is_not_the_configs_is_refused():
    assert "its id does not follow" in refusal_of_config(CONFIG, TERMS, ChannelId(bytes(32)))


def test_no_terms_let_a_delay_under_an_hour_pass():
    lax = replace(TERMS, withdraw_delay_min_s=WITHDRAW_DELAY_MIN_S)
    hour = replace(CONFIG, withdraw_delay_s=WITHDRAW_DELAY_FLOOR_S)
    check_config(hour, lax, channel_id(hour, CHAIN_ID, CONTRACT))
    assert "is below 3600 s" in refusal_of_config(replace(CONFIG, withdraw_delay_s=WITHDRAW_DELAY_FLOOR_S - 1), lax)


def test_a_delay_above_the_terms_is_refused():
    brief = replace(TERMS, withdraw_delay_max_s=WITHDRAW_DELAY_DEFAULT_S)
    assert "is above 86400 s" in refusal_of_config(replace(CONFIG, withdraw_delay_s=WITHDRAW_DELAY_DEFAULT_S + 1), brief)


def test_refusals_of_a_config_have_one_order_of_precedence():
    faults = [
        {"receiver": ELSEWHERE},
        {"receiver_authorizer": ELSEWHERE},
        {"token": ELSEWHERE},
        {},  # stands for the wrong id
        {"payer_authorizer": ZERO_ADDRESS},
        {"withdraw_delay_s": WITHDRAW_DELAY_MIN_S},
    ]
    reasons = ["another receiver", "receiver authorizer", "another token", "its id", "EIP-1271", "is below"]
    for first, reason in enumerate(reasons):
        config = replace(CONFIG, **{field: value for fault in faults[first:] for field, value in fault.items()})
        claimed_id = ChannelId(bytes(32)) if first <= reasons.index("its id") else channel_id(config, CHAIN_ID, CONTRACT)
        assert reason in refusal_of_config(config, TERMS, claimed_id)


def test_a_deposit_of_exactly_the_least_is_accepted():
    check_deposit(TERMS, balance=TERMS.deposit_min, withdraw_pending=False)


@pytest.mark.parametrize(
    ("terms", "balance", "withdraw_pending", "code"),
    [
        (TERMS, TERMS.deposit_min - 1, False, ErrorCode.CHANNEL_UNFUNDED),
        (replace(TERMS, deposit_min=0), 0, False, ErrorCode.CHANNEL_UNFUNDED),
        (TERMS, TERMS.deposit_min, True, ErrorCode.CHANNEL_CLOSING),
        (TERMS, TERMS.deposit_min - 1, True, ErrorCode.CHANNEL_UNFUNDED),
    ],
    ids=["too little", "nothing", "closing", "too little and closing"],
)
def test_a_channel_with_too_little_or_closing_is_refused_in_that_order(terms, balance, withdraw_pending, code):
    with pytest.raises(RemoteProtocolError) as refused:
        check_deposit(terms, balance=balance, withdraw_pending=withdraw_pending)
    assert refused.value.code is code


def test_a_window_may_take_the_last_of_the_credit():
    check_credit(100, window_price=100)


@pytest.mark.parametrize(("left", "said"), [(99, "99 is left"), (0, "0 is left"), (-1, "0 is left")])
def test_a_window_above_the_credit_is_refused(left, said):
    with pytest.raises(RemoteProtocolError) as refused:
        check_credit(left, window_price=100)
    assert refused.value.code is ErrorCode.CHANNEL_UNFUNDED
    assert refused.value.detail.startswith(said)


@given(amounts, amounts, amounts, amounts)
def test_credit_and_all_that_is_promised_sum_to_the_balance(balance, total_claimed, best_voucher, open_windows_price):
    left = credit(balance=balance, total_claimed=total_claimed, best_voucher=best_voucher, open_windows_price=open_windows_price)
    assert left + max(best_voucher, total_claimed) + open_windows_price == balance


def test_a_provider_that_lost_its_books_counts_what_was_claimed():
    assert credit(balance=5_000, total_claimed=4_000, best_voucher=0, open_windows_price=500) == 500


@given(amounts, amounts, amounts, amounts)
def test_a_claim_of_the_best_voucher_changes_no_credit(balance, best_voucher, claimed, open_windows_price):
    facts = {"balance": balance, "best_voucher": best_voucher, "open_windows_price": open_windows_price}
    assert credit(total_claimed=min(claimed, best_voucher), **facts) == credit(total_claimed=0, **facts)


# session keys


@pytest.mark.parametrize("vector", VECTORS["channels"], ids=lambda vector: f"chain {vector['chain_id']}")
def test_a_session_key_has_the_signature_of_the_vector(vector):
    authorizer = EvmKey.from_secret(bytes.fromhex(VECTORS["secrets"]["payer_authorizer"]))
    domain = session_domain(vector["chain_id"], parse_address(vector["contract"]))
    channel, expected = ChannelId(bytes.fromhex(vector["channel_id"])), vector["session_key"]
    peer_id, expires_at = PeerId(bytes.fromhex(expected["peer_id"])), expected["expires_at"]
    signed = sign_session_key(authorizer, domain, channel_id=channel, peer_id=peer_id, expires_at=expires_at)
    assert signed.signature.hex() == expected["signature"]
    verify_session_key(signed, domain, channel_id=channel, peer_id=peer_id, authorizer=authorizer.address, now_s=expires_at - 1)


def test_a_session_key_counts_until_the_second_it_expires():
    facts = {"channel_id": CHANNEL, "peer_id": CLIENT.peer_id, "authorizer": AUTHORIZER.address}
    verify_session_key(SESSION_KEY, DOMAIN, now_s=NOW_S, **facts)
    assert refusal_of_session_key(SESSION_KEY, now_s=NOW_S + 1) == "it expired 0 s ago"


def test_a_session_key_of_another_channel_or_peer_is_refused():
    assert refusal_of_session_key(SESSION_KEY, channel_id=ChannelId(bytes(32))) == "it is for another channel"
    assert refusal_of_session_key(SESSION_KEY, peer_id=PeerKey.from_seed(bytes(32)).peer_id) == "it is for another peer"


@pytest.mark.parametrize(
    "claim",
    [
        {"authorizer": ELSEWHERE},
        {"domain": session_domain(1, CONTRACT)},
        {"domain": session_domain(CHAIN_ID, ELSEWHERE)},
        {"domain": settlement_domain(CHAIN_ID, CONTRACT)},
    ],
    ids=["authorizer", "chain", "contract", "domain"],
)
def test_a_session_key_signed_by_or_for_another_is_refused(claim):
    assert "another key" in refusal_of_session_key(SESSION_KEY, **claim)


def test_an_altered_session_key_is_refused():
    later = replace(SESSION_KEY, expires_at=SESSION_KEY.expires_at + 86_400)
    assert "another key" in refusal_of_session_key(later)
    assert "neither 27 nor 28" in refusal_of_session_key(replace(SESSION_KEY, signature=bytes(65)))
