"""Setting up a provider's home: keys, empty stores, gas money where a chain gives it away, and config.toml last."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from retrieval.home import SECRET_MODE, Home, create_file, ensure_secret
from retrieval.identity import EvmAddress, EvmKey, PeerId, PeerKey
from retrieval.payment.chain import DEVCHAIN
from retrieval.settings import load, write_default
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage

from .config import ProviderSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHome:
    """What `init` made."""

    peer_id: PeerId
    receiver: EvmAddress
    gas_wei: int
    """What the receiver holds to pay for claims; 0 also where no chain was asked."""
    gift: bytes | None
    """The transaction that gave it, on the development chain."""


def create_home(home: Home, *, rpc: str) -> NewHome:
    """Make a home that `serve` can start from. Blocks on the chain when ``rpc`` names one; an interrupted call can be repeated.

    Raises ``LocalProtocolError``: ``already_initialised``, ``file_unreadable``, ``disk_full``, ``config_invalid``, ``rpc_unavailable``,
    ``wrong_chain``.
    """
    settings, _ = load(ProviderSettings, None, {}, {"chain.rpc": rpc or None})
    home.create()
    peer = PeerKey.from_seed(ensure_secret(home.identity_key_path, lambda: PeerKey.generate().seed).reveal())
    receiver = EvmKey.from_secret(ensure_secret(home.receiver_key_path, lambda: EvmKey.generate().secret).reveal())
    gas_wei, gift = _find_gas(rpc, receiver.address) if rpc else (0, None)
    with (
        closing(LmdbStateStorage.open(home.state_path, command=f"{home.program} init")),
        closing(DiskBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max)),
    ):
        chosen: dict[str, object] = {"chain.rpc": rpc} if rpc else {}
        create_file(home.config_path, write_default(ProviderSettings, chosen).encode(), mode=SECRET_MODE)  # an RPC's URL may hold a token
    return NewHome(peer_id=peer.peer_id, receiver=receiver.address, gas_wei=gas_wei, gift=gift)


def _find_gas(rpc: str, receiver: EvmAddress) -> tuple[int, bytes | None]:
    """What the receiver holds, after the development chain's gift where it had nothing."""
    from retrieval.payment.evm import EvmChain

    chain = EvmChain(rpc)
    chain.check()
    held = chain.native_balance(receiver)
    if held or chain.deployment.chain_id != DEVCHAIN.chain_id:
        return held, None
    gift = chain.send_gas(receiver)
    return chain.native_balance(receiver), gift
