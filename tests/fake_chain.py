"""A chain in a dict, for tests of what the wallet makes of a chain: it forgets nothing, and loses answers when told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EvmAddress, EvmKey
from retrieval.payment.chain import DEVCHAIN, ChannelState, Claim, Settlement
from retrieval.payment.channel import ChannelConfig, ChannelId, channel_id

NEVER_FUNDED = ChannelState(balance=0, total_claimed=0, refund_nonce=0, withdraw_amount=0, withdraw_started_at=0, block_timestamp=0)


class FakeChain:
    """Implements ``retrieval.payment.chain.Chain`` as far as a client goes."""

    def __init__(self, *, now: int = 1_800_000_000) -> None:
        self.now = now
        self.channels: dict[bytes, ChannelState] = {}
        self.n_deposits = 0
        self.answers_lost = 0
        """So many of the next transactions are mined, and their senders never hear of it."""

    def channel_states(self, channel_ids: Sequence[ChannelId], *, confirmations: int = 0) -> list[ChannelState]:
        return [replace(self.channels.get(each, NEVER_FUNDED), block_timestamp=self.now) for each in channel_ids]

    def token_balance(self, owner: EvmAddress) -> int:
        return 1 << 64

    def native_balance(self, owner: EvmAddress) -> int:
        return 1 << 64

    def deposit(self, config: ChannelConfig, amount: int, *, payer: EvmKey, sender: EvmKey) -> bytes:
        self.n_deposits += 1
        return self._mined(config, lambda state: replace(state, balance=state.balance + amount))

    def claim_and_settle(self, claims: Sequence[Claim], *, sender: EvmKey) -> Settlement:
        raise NotImplementedError

    def initiate_withdraw(self, config: ChannelConfig, amount: int, *, sender: EvmKey) -> bytes:
        return self._mined(config, lambda state: replace(state, withdraw_amount=amount, withdraw_started_at=self.now))

    def finalize_withdraw(self, config: ChannelConfig, *, sender: EvmKey) -> bytes:
        return self._mined(
            config, lambda state: replace(state, balance=state.balance - state.withdraw_amount, withdraw_amount=0, withdraw_started_at=0)
        )

    def refund(self, config: ChannelConfig, amount: int, *, authorizer: EvmKey, sender: EvmKey) -> bytes:
        raise NotImplementedError

    def claimed(self, channel: bytes, total: int) -> None:
        """The receiver has claimed up to ``total``."""
        self.channels[channel] = replace(self.channels[channel], total_claimed=total)

    def _mined(self, config: ChannelConfig, change: Callable[[ChannelState], ChannelState]) -> bytes:
        channel = channel_id(config, DEVCHAIN.chain_id, DEVCHAIN.contract)
        self.channels[channel] = change(self.channels.get(channel, NEVER_FUNDED))
        if self.answers_lost:
            self.answers_lost -= 1
            raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "the answer was lost")
        return bytes(32)
