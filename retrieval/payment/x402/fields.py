"""Strict reading of a stranger's JSON: each field is asked for by its name and kind, and no other kind will do.

Whatever does not fit raises ``RemoteProtocolError(malformed_payment)`` naming the field. Fields nobody asks for are ignored, since x402
lets every side add its own.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Final, TypeAlias

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import EVM_ADDRESS_SIZE, EvmAddress
from retrieval.payment.typed_data import UINT256_MAX
from retrieval.units import AMOUNT_MAX, KIB

HEADER_SIZE_MAX: Final = 16 * KIB  # characters of base64; a deposit by x402's own client takes about 2 KiB
TEXT_MAX: Final = 2_048  # characters of a field that may hold a URL
NAME_MAX: Final = 128  # characters of a scheme, network, reason or token name
CHAIN_ID_MAX: Final = (1 << 53) - 1  # what a JSON number holds in every language
INTEGER_MAX: Final = CHAIN_ID_MAX
MEMBERS_MAX: Final = 64  # of one object

Json: TypeAlias = dict[str, Any]  # what JSON holds is only known to who reads it

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,77}", re.ASCII)  # 2^256 has 78 digits
_HEX: Final = re.compile(r"0x((?:[0-9a-fA-F]{2})*)", re.ASCII)
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_NETWORK: Final = re.compile(r"eip155:([1-9][0-9]{0,15})", re.ASCII)


class Fields:
    """One JSON object, read field by field. ``where`` is its place in the message, for what an error says."""

    __slots__ = ("_members", "_where")

    def __init__(self, members: Any, where: str) -> None:
        if type(members) is not dict or len(members) > MEMBERS_MAX:
            raise malformed(f"{where} is no object of at most {MEMBERS_MAX} fields")
        self._members: Final[Json] = members
        self._where: Final = where

    def has(self, name: str) -> bool:
        return self._members.get(name) is not None

    def fields(self, name: str) -> Fields:
        """An object inside this one."""
        return Fields(self._members.get(name), self._path(name))

    def many(self, name: str, most: int) -> list[Fields]:
        """An array of at most ``most`` objects."""
        items = self._members.get(name)
        if type(items) is not list or len(items) > most:
            raise malformed(f"{self._path(name)} is no array of at most {most}")
        return [Fields(item, f"{self._path(name)}[{place}]") for place, item in enumerate(items)]

    def text(self, name: str, most: int = NAME_MAX) -> str:
        """Never half a surrogate pair, which JSON can write and nobody can sign or print."""
        found = self._members.get(name)
        if type(found) is not str or len(found) > most or _SURROGATE.search(found):
            raise malformed(f"{self._path(name)} is no text of at most {most} characters")
        return found

    def integer(self, name: str, most: int = INTEGER_MAX) -> int:
        """A JSON number without a fraction, never below zero."""
        found = self._members.get(name)
        if type(found) is not int or not 0 <= found <= most:
            raise malformed(f"{self._path(name)} is no whole number of 0 to {most}")
        return found

    def flag(self, name: str) -> bool:
        found = self._members.get(name)
        if type(found) is not bool:
            raise malformed(f"{self._path(name)} is neither true nor false")
        return found

    def amount(self, name: str) -> int:
        """Money: a decimal string of at most a uint128."""
        return self.decimal(name, AMOUNT_MAX)

    def decimal(self, name: str, most: int = UINT256_MAX) -> int:
        """A decimal string, without a sign and without leading zeros."""
        found = self._members.get(name)
        if type(found) is not str or not _DECIMAL.fullmatch(found) or int(found) > most:
            raise malformed(f"{self._path(name)} is no decimal string of 0 to {most:#x}")
        return int(found)

    def blob(self, name: str, size: int) -> bytes:
        """Exactly ``size`` bytes in hex, behind ``0x``."""
        found = self._members.get(name)
        digits = _HEX.fullmatch(found) if type(found) is str and len(found) <= 2 + 2 * size else None
        if digits is None or len(digits[1]) != 2 * size:
            raise malformed(f"{self._path(name)} is not 0x and {2 * size} hex digits")
        return bytes.fromhex(digits[1])

    def address(self, name: str) -> EvmAddress:
        """An address in any case of letters: x402 packages write checksums, and compare without them."""
        return EvmAddress(self.blob(name, EVM_ADDRESS_SIZE))

    def chain_id(self, name: str) -> int:
        """The chain of a CAIP-2 network of EVM chains."""
        found = self._members.get(name)
        network = _NETWORK.fullmatch(found) if type(found) is str else None
        if network is None or int(network[1]) > CHAIN_ID_MAX:
            raise malformed(f"{self._path(name)} is no network like eip155:8453")
        return int(network[1])

    def raw(self, name: str) -> Json:
        """An object as it stands, to be passed on."""
        return self.fields(name)._members

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


def read_header(value: str, name: str) -> Fields:
    """The JSON object in a header's base64. Raises ``RemoteProtocolError(malformed_payment)``."""
    if len(value) > HEADER_SIZE_MAX:
        raise malformed(f"{name} has {len(value)} characters, the limit is {HEADER_SIZE_MAX}")
    try:
        # Some clients leave the padding out (RFC 4648, section 3.2); a byte outside the alphabet is never skipped.
        padded = value + "=" * (-len(value) % 4)
        members = json.loads(base64.b64decode(padded, validate=True), parse_constant=_refuse_constant)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise malformed(f"{name} is not base64 of JSON") from error
    return Fields(members, "")


def write_header(members: Json) -> str:
    """A header's value."""
    value = base64.b64encode(json.dumps(members, separators=(",", ":")).encode()).decode("ascii")
    assert len(value) <= HEADER_SIZE_MAX, "our own header is above the limit"
    return value


def show_hex(blob: bytes) -> str:
    return f"0x{blob.hex()}"


def show_network(chain_id: int) -> str:
    """CAIP-2 of an EVM chain."""
    assert 0 < chain_id <= CHAIN_ID_MAX
    return f"eip155:{chain_id}"


def malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_PAYMENT, why)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
