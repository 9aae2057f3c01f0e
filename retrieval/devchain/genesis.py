"""What the development chain begins with: ten funded accounts and the contracts at their addresses.

One rule: it is the same everywhere and always, so that addresses and keys can be written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Final

from retrieval.identity import EvmAddress, EvmKey, keccak256
from retrieval.payment.chain import DEVCHAIN, MULTICALL3
from retrieval.payment.contracts import load_artifact

ACCOUNTS: Final = 10
BALANCE_WEI: Final = 10_000 * 10**18
GAS_LIMIT: Final = 30_000_000  # a block, as on most chains; kept constant

CONTRACTS: Final[dict[str, EvmAddress]] = {
    "channels": DEVCHAIN.contract,
    "erc3009_collector": DEVCHAIN.collector,
    "multicall3": MULTICALL3,
    "test_dollar": DEVCHAIN.token,
}
"""Artifact name to address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisAccount:
    """An account as it stands in the first block."""

    address: EvmAddress
    balance_wei: int
    nonce: int
    code: bytes


@cache
def funded_keys() -> tuple[EvmKey, ...]:
    """The keys of the funded accounts. Anybody can derive them: they must never hold anything on another chain."""
    return tuple(EvmKey.from_secret(keccak256(b"retrieval devchain account %d" % index)) for index in range(ACCOUNTS))


def genesis_accounts() -> tuple[GenesisAccount, ...]:
    """Everything that exists in the first block. A contract's nonce is 1, as if it had been deployed (EIP-161)."""
    funded = (GenesisAccount(address=key.address, balance_wei=BALANCE_WEI, nonce=0, code=b"") for key in funded_keys())
    placed = (
        GenesisAccount(address=address, balance_wei=0, nonce=1, code=load_artifact(name).runtime_code)
        for name, address in CONTRACTS.items()
    )
    return (*funded, *placed)


def genesis_fingerprint() -> bytes:
    """Tells a chain begun with other contracts from this one."""
    fingerprint = sha256()
    for account in genesis_accounts():
        fingerprint.update(account.address + account.balance_wei.to_bytes(32, "big") + keccak256(account.code))
    return fingerprint.digest()
