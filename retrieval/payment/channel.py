"""A payment channel: what it is made of, who may spend from it, and when a provider accepts it.

The format is that of the x402 ``batch-settlement`` scheme for EVM. A channel is its ``ChannelConfig``; its id is the config's EIP-712
hash, bound to one contract on one chain. Configs are public, so a peer spends from a channel only with a ``SessionKey`` signed by the
channel's authorizer. Everything here is pure; what the chain says of a channel comes in as integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NewType

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import (
    DIGEST_SIZE,
    EVM_ADDRESS_SIZE,
    EVM_SIGNATURE_SIZE,
    PEER_ID_SIZE,
    ZERO_ADDRESS,
    EvmAddress,
    EvmKey,
    PeerId,
    keccak256,
    recover_address,
)
from retrieval.payment.typed_data import Domain, address_word, type_hash, uint_word

ChannelId = NewType("ChannelId", bytes)
"""EIP-712 hash of a ChannelConfig, 32 bytes."""

WITHDRAW_DELAY_MIN_S: Final = 900  # the contract opens no channel below it
WITHDRAW_DELAY_MAX_S: Final = 2_592_000  # 30 days; nor above it
WITHDRAW_DELAY_FLOOR_S: Final = 3_600  # no provider of ours accepts less: it must notice a withdrawal and get its claim mined
WITHDRAW_DELAY_DEFAULT_S: Final = 86_400
SALT_SIZE: Final = 32
CHANNEL_CONFIG_SIZE: Final = 137
UINT64_MAX: Final = (1 << 64) - 1

_DOMAINS_CACHED: Final = 16  # a node knows one chain, a test a few
_CONFIGS_CACHED: Final = 4096  # every payment looks up who must have signed it
_CONFIG_TYPE: Final = (
    "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,"
    "address token,uint40 withdrawDelay,bytes32 salt)"
)
_SESSION_KEY_TYPE: Final = "SessionKey(bytes32 channelId,bytes peerId,uint64 expiresAt)"


@lru_cache(maxsize=_DOMAINS_CACHED)
def settlement_domain(chain_id: int, contract: EvmAddress) -> Domain:
    """The domain of everything the channel contract reads: vouchers, claims, refunds and channel ids."""
    return Domain(name="x402 Batch Settlement", version="1", chain_id=chain_id, contract=contract)


@lru_cache(maxsize=_DOMAINS_CACHED)
def session_domain(chain_id: int, contract: EvmAddress) -> Domain:
    """The domain of SessionKeys, which no contract reads."""
    return Domain(name="Retrieval Market", version="1", chain_id=chain_id, contract=contract)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfig:
    """The seven fields a channel is made of, fixed for its life."""

    payer: EvmAddress
    """Funds the channel and gets back what is left. May be a cold wallet."""
    payer_authorizer: EvmAddress
    """Signs vouchers: the hot key."""
    receiver: EvmAddress
    receiver_authorizer: EvmAddress
    """Signs claims and refunds."""
    token: EvmAddress
    withdraw_delay_s: int
    """How long the payer waits for its withdrawal, during which the receiver can still claim."""
    salt: bytes
    """Tells channels of the same parties apart. That of a closed channel is not used again: its old vouchers would count once more."""

    def __post_init__(self) -> None:
        assert all(len(address) == EVM_ADDRESS_SIZE for address in self._addresses())
        assert WITHDRAW_DELAY_MIN_S <= self.withdraw_delay_s <= WITHDRAW_DELAY_MAX_S
        assert len(self.salt) == SALT_SIZE

    def to_bytes(self) -> bytes:
        """The wire form: five addresses of 20 bytes, ``withdraw_delay_s`` in 5 bytes big-endian, the salt. 137 bytes."""
        return b"".join((*self._addresses(), self.withdraw_delay_s.to_bytes(5, "big"), self.salt))

    @classmethod
    @lru_cache(maxsize=_CONFIGS_CACHED)
    def from_bytes(cls, encoded: bytes) -> ChannelConfig:
        """Read the wire form.

        Raises ``RemoteProtocolError``: ``malformed_message`` for another length, ``channel_unacceptable`` for a withdraw delay with
        which no channel can exist.
        """
        if len(encoded) != CHANNEL_CONFIG_SIZE:
            raise RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, f"a channel config has 137 bytes, not {len(encoded)}")
        payer, payer_authorizer, receiver, receiver_authorizer, token = (EvmAddress(encoded[at : at + 20]) for at in range(0, 100, 20))
        withdraw_delay_s = int.from_bytes(encoded[100:105], "big")
        if not WITHDRAW_DELAY_MIN_S <= withdraw_delay_s <= WITHDRAW_DELAY_MAX_S:
            raise _unacceptable(f"no channel can have a withdraw delay of {withdraw_delay_s} s")
        return cls(
            payer=payer,
            payer_authorizer=payer_authorizer,
            receiver=receiver,
            receiver_authorizer=receiver_authorizer,
            token=token,
            withdraw_delay_s=withdraw_delay_s,
            salt=encoded[105:],
        )

    def _addresses(self) -> tuple[EvmAddress, ...]:
        return (self.payer, self.payer_authorizer, self.receiver, self.receiver_authorizer, self.token)


def channel_id(config: ChannelConfig, chain_id: int, contract: EvmAddress) -> ChannelId:
    """The id under which this contract on this chain knows the channel."""
    addresses = (config.payer, config.payer_authorizer, config.receiver, config.receiver_authorizer, config.token)
    words = (*map(address_word, addresses), uint_word(config.withdraw_delay_s), config.salt)
    return ChannelId(settlement_domain(chain_id, contract).digest(type_hash(_CONFIG_TYPE) + b"".join(words)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKey:
    """The authorizer's word that a peer may spend from a channel: EIP-712 ``SessionKey`` in the session domain."""

    channel_id: ChannelId
    peer_id: PeerId
    expires_at: int
    """Unix seconds; from then on it no longer counts."""
    signature: bytes

    def __post_init__(self) -> None:
        assert len(self.channel_id) == DIGEST_SIZE
        assert len(self.peer_id) == PEER_ID_SIZE
        assert 0 <= self.expires_at <= UINT64_MAX
        assert len(self.signature) == EVM_SIGNATURE_SIZE


def sign_session_key(authorizer: EvmKey, domain: Domain, *, channel_id: ChannelId, peer_id: PeerId, expires_at: int) -> SessionKey:
    """Let a peer spend from a channel until ``expires_at`` (Unix seconds). ``domain`` is the session domain."""
    signature = authorizer.sign_digest(_session_key_digest(domain, channel_id, peer_id, expires_at))
    return SessionKey(channel_id=channel_id, peer_id=peer_id, expires_at=expires_at, signature=signature)


def verify_session_key(
    session_key: SessionKey, domain: Domain, *, channel_id: ChannelId, peer_id: PeerId, authorizer: EvmAddress, now_s: int
) -> None:
    """Check that the peer at the other end of this session may spend from this channel now.

    ``domain`` is the session domain, ``authorizer`` the channel's ``payer_authorizer``, ``now_s`` our clock in Unix seconds. Raises
    ``RemoteProtocolError(session_key_invalid)``.
    """
    if session_key.channel_id != channel_id:
        raise _invalid_session_key("it is for another channel")
    if session_key.peer_id != peer_id:
        raise _invalid_session_key("it is for another peer")
    if session_key.expires_at <= now_s:
        raise _invalid_session_key(f"it expired {now_s - session_key.expires_at} s ago")
    digest = _session_key_digest(domain, channel_id, peer_id, session_key.expires_at)
    try:
        signer = recover_address(digest, session_key.signature)
    except RemoteProtocolError as error:
        raise _invalid_session_key(error.detail) from error
    if signer != authorizer:
        raise _invalid_session_key("another key than the channel's authorizer signed it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTerms:
    """What a provider asks of a channel, as its quotes say it."""

    receiver: EvmAddress
    receiver_authorizer: EvmAddress
    token: EvmAddress
    chain_id: int
    contract: EvmAddress
    withdraw_delay_min_s: int
    withdraw_delay_max_s: int
    deposit_min: int
    """In the token's smallest unit."""

    def __post_init__(self) -> None:
        assert all(len(address) == EVM_ADDRESS_SIZE for address in (self.receiver, self.receiver_authorizer, self.token, self.contract))
        assert self.chain_id >= 0
        assert self.deposit_min >= 0


def check_config(config: ChannelConfig, terms: ChannelTerms, claimed_id: ChannelId) -> None:
    """Judge what a channel is made of: the first part of the acceptance policy, in its order of precedence (PROTOCOL.md, "Money").

    ``claimed_id`` is the id under which the channel was presented. Raises ``RemoteProtocolError(channel_unacceptable)``.
    """
    delay_min_s = max(terms.withdraw_delay_min_s, WITHDRAW_DELAY_FLOOR_S)
    if config.receiver != terms.receiver:
        raise _unacceptable("it pays another receiver")
    if config.receiver_authorizer != terms.receiver_authorizer:
        raise _unacceptable("it names another receiver authorizer")
    if config.token != terms.token:
        raise _unacceptable("it holds another token")
    if claimed_id != channel_id(config, terms.chain_id, terms.contract):
        raise _unacceptable("its id does not follow from its config on this chain and contract")
    if config.payer_authorizer == ZERO_ADDRESS:
        raise _unacceptable("it has no payer authorizer, and a contract wallet (EIP-1271) could revoke its vouchers later")
    if config.withdraw_delay_s < delay_min_s:
        raise _unacceptable(f"its withdraw delay of {config.withdraw_delay_s} s is below {delay_min_s} s")
    if config.withdraw_delay_s > terms.withdraw_delay_max_s:
        raise _unacceptable(f"its withdraw delay of {config.withdraw_delay_s} s is above {terms.withdraw_delay_max_s} s")


def check_deposit(terms: ChannelTerms, *, balance: int, withdraw_pending: bool) -> None:
    """Judge what the chain says of a channel at the agreed number of confirmations: the second part of the acceptance policy.

    Raises ``RemoteProtocolError``: ``channel_unfunded``, then ``channel_closing``.
    """
    if balance == 0 or balance < terms.deposit_min:
        detail = f"the contract holds {balance} for it, and {max(1, terms.deposit_min)} is the least"
        raise RemoteProtocolError(ErrorCode.CHANNEL_UNFUNDED, detail)
    if withdraw_pending:
        raise RemoteProtocolError(ErrorCode.CHANNEL_CLOSING, "its withdrawal has begun on chain")


def check_credit(left: int, window_price: int) -> None:
    """Judge whether what ``credit`` left pays for the window about to open: the last part of the acceptance policy.

    Raises ``RemoteProtocolError(channel_unfunded)``.
    """
    if left < window_price:
        raise RemoteProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"{max(left, 0)} is left, and the next window costs {window_price}")


def credit(*, balance: int, total_claimed: int, best_voucher: int, open_windows_price: int) -> int:
    """What the channel can still buy, below zero when it is overdrawn: the balance less what is promised and what is on its way.

    ``balance`` is the contract's, which claims do not reduce; ``open_windows_price`` sums over all deals of the channel. A provider
    that lost its books still finds in ``total_claimed`` what the best voucher was at least.
    """
    assert min(balance, total_claimed, best_voucher, open_windows_price) >= 0
    return balance - max(best_voucher, total_claimed) - open_windows_price


def _session_key_digest(domain: Domain, channel_id: ChannelId, peer_id: PeerId, expires_at: int) -> bytes:
    return domain.digest(type_hash(_SESSION_KEY_TYPE) + channel_id + keccak256(peer_id) + uint_word(expires_at))


def _unacceptable(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, why)


def _invalid_session_key(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.SESSION_KEY_INVALID, why)
