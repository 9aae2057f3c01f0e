"""Setting up a home: keys, on the development chain some money, and config.toml last, so that an ``init`` that was cut off runs again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from retrieval.home import SECRET_MODE, Home, create_file, ensure_secret
from retrieval.identity import EvmAddress, EvmKey, PeerId, PeerKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.settings import load, write_default
from retrieval.store.lmdb import LmdbStateStorage

from .config import ClientSettings

MINTED: Final = 100 * 10**DEVCHAIN.token_decimals
"""Test dollars that a new wallet gets on the development chain."""
DEVCHAIN_LIMITS: Final = {"wallet.per_fetch": "0.05 USD"}
"""What may be spent there without a further word; on any other chain the limits stay zero until their owner writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHome:
    """What was set up."""

    peer_id: PeerId
    address: EvmAddress
    """Of the wallet, on every chain."""
    chain_id: int | None
    """None where no RPC was named."""
    minted: int
    gas_from: EvmAddress | None
    """The development chain's account that gave the gas money."""
    per_fetch: int
    """The limit that was written, in the token's smallest unit."""


def set_up(home: Home, rpc: str | None) -> NewHome:
    """Make a home's keys and settings, and fund its wallet where money is worth nothing.

    Raises ``LocalProtocolError``: ``already_initialised``, and what files and the chain raise; run again, it goes on.
    """
    load(ClientSettings, None, {}, {"chain.rpc": rpc or None})  # a URL that cannot be one is refused before anything is made
    home.create()
    peer_key = PeerKey.from_seed(ensure_secret(home.identity_key_path, lambda: PeerKey.generate().seed).reveal())
    key = EvmKey.from_secret(ensure_secret(home.wallet_key_path, lambda: EvmKey.generate().secret).reveal())
    LmdbStateStorage.open(home.state_path, command="retrieval-client init").close()  # from here on it can be read
    values: dict[str, object] = {}
    chain_id, minted, gas_from = None, 0, None
    if rpc:
        from retrieval.payment.evm import EvmChain

        chain = EvmChain(rpc)
        values["chain.rpc"] = rpc
        chain_id = chain.chain_id()
        if chain_id == DEVCHAIN.chain_id:
            gas_from = chain.giver()
            if not chain.native_balance(key.address):
                chain.send_gas(key.address)
            if not chain.token_balance(key.address):
                chain.mint(key.address, MINTED)
            minted = MINTED
            values |= DEVCHAIN_LIMITS
    create_file(home.config_path, write_default(ClientSettings, values).encode(), mode=SECRET_MODE)  # an RPC URL can hold a token
    settings, _ = load(ClientSettings, home.config_path, {}, {})
    return NewHome(
        peer_id=peer_key.peer_id,
        address=key.address,
        chain_id=chain_id,
        minted=minted,
        gas_from=gas_from,
        per_fetch=settings.wallet.per_fetch,
    )
