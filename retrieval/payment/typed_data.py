"""EIP-712 typed data: how a struct and the contract it is meant for become 32 bytes to sign.

Only the last steps are here. Each module writes its own structs down as words, so that a signature costs two keccaks and no
interpretation of types; the tests hold every digest against ``eth_account``'s general encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Final

from retrieval.identity import EVM_ADDRESS_SIZE, EvmAddress, keccak256

UINT256_MAX: Final = (1 << 256) - 1
WORD_SIZE: Final = 32

_DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """Where a signature counts: this contract on this chain, and nowhere else."""

    name: str
    version: str
    chain_id: int
    contract: EvmAddress
    prefix: bytes = field(init=False, repr=False, compare=False)
    """``0x19 0x01 ‖ domain separator``, the constant start of what a digest is taken over."""

    def __post_init__(self) -> None:
        assert len(self.contract) == EVM_ADDRESS_SIZE
        separator = keccak256(
            type_hash(_DOMAIN_TYPE)
            + keccak256(self.name.encode())
            + keccak256(self.version.encode())
            + uint_word(self.chain_id)
            + address_word(self.contract)
        )
        object.__setattr__(self, "prefix", b"\x19\x01" + separator)

    @property
    def separator(self) -> bytes:
        return self.prefix[2:]

    def digest(self, struct: bytes) -> bytes:
        """The 32 bytes to sign for an encoded struct: its type hash followed by its fields as words."""
        return keccak256(self.prefix + keccak256(struct))


@cache
def type_hash(type_string: str) -> bytes:
    """Keccak-256 of a type as EIP-712 writes it. Types are constants of this program."""
    return keccak256(type_string.encode())


def uint_word(value: int) -> bytes:
    """An unsigned integer of any width as a 32-byte word."""
    assert 0 <= value <= UINT256_MAX
    return value.to_bytes(WORD_SIZE, "big")


def address_word(address: EvmAddress) -> bytes:
    """An address as a 32-byte word."""
    return bytes(WORD_SIZE - EVM_ADDRESS_SIZE) + address
