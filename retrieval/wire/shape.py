"""How a message's dataclass becomes deterministic CBOR: each field names its map key and its kind.

A message is read by the same declaration that writes it, so the two cannot drift. ``load`` is for foreign values and raises
``RemoteProtocolError(malformed_message)``; ``dump`` is for our own and asserts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields
from functools import cache
from typing import Any, Final, TypeVar

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import AMOUNT_MAX
from retrieval.wire import cbor

T = TypeVar("T")

UINT64_MAX: Final = (1 << 64) - 1


class Kind:
    """A kind of field: what its CBOR value may be, and what it is in Python."""

    def __init__(self, load: Callable[[Any], Any], dump: Callable[[Any], Any] = lambda value: value) -> None:
        self._load, self._dump = load, dump

    def load(self, value: Any) -> Any:
        return self._load(value)

    def dump(self, value: Any) -> Any:
        dumped = self._dump(value)
        assert _same(self._load(dumped), value), f"{value!r} is not a value of its own field"
        return dumped


def uint(most: int = UINT64_MAX, *, least: int = 0) -> Kind:
    """An integer of ``least`` to ``most``."""

    def load(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise malformed(f"an integer is not in {least}..{most}")
        return value

    return Kind(load, int)


def blob(least: int, most: int | None = None) -> Kind:
    """A byte string of exactly ``least`` bytes, or of ``least`` to ``most``."""
    longest = least if most is None else most

    def load(value: Any) -> bytes:
        if type(value) is not bytes or not least <= len(value) <= longest:
            raise malformed(f"a byte string is not {least}..{longest} bytes long")
        return value

    return Kind(load, bytes)


def text(most: int) -> Kind:
    """Text of at most ``most`` characters."""

    def load(value: Any) -> str:
        if type(value) is not str or len(value) > most:
            raise malformed(f"a text is longer than {most} characters")
        return value

    return Kind(load)


def _load_flag(value: Any) -> bool:
    if type(value) is not bool:
        raise malformed("a flag is neither true nor false")
    return value


def _load_amount(value: Any) -> int:
    if type(value) is not bytes or len(value) > 16 or value[:1] == b"\0":
        raise malformed("an amount is not a minimal big-endian integer of at most 16 bytes")
    return int.from_bytes(value, "big")


def dump_amount(amount: int) -> bytes:
    """An amount as minimal big-endian bytes; zero is empty. A CBOR integer stops at 2^64, a voucher at 2^128."""
    assert 0 <= amount <= AMOUNT_MAX
    return amount.to_bytes((amount.bit_length() + 7) // 8, "big")


flag: Final = Kind(_load_flag)
amount: Final = Kind(_load_amount, dump_amount)


def many(kind: Kind, most: int, *, least: int = 0) -> Kind:
    """An array of ``least`` to ``most`` values of one kind, a tuple in Python."""

    def load(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or not least <= len(value) <= most:
            raise malformed(f"an array does not hold {least}..{most} values")
        return tuple(kind.load(item) for item in value)

    return Kind(load, lambda items: [kind.dump(item) for item in items])


def nested(cls: type[Any]) -> Kind:
    """Another shape, as a map inside the map."""
    return Kind(lambda value: load(cls, value), dump)


def wire(key: int, kind: Kind, *, optional: bool = False) -> Any:
    """Declare a dataclass field: its map key and kind. An optional field is absent from the map when it is None."""
    metadata = {"key": key, "kind": kind, "optional": optional}
    return field(default=None, metadata=metadata) if optional else field(metadata=metadata)


def dump(message: Any) -> dict[int, Any]:
    """The CBOR map of a message."""
    return {
        key: kind.dump(value)
        for key, name, kind, _ in _layout(type(message))
        if (value := getattr(message, name)) is not None
    }  # fmt: skip


def load(cls: type[T], value: Any) -> T:
    """The message of a CBOR map. Unknown keys are refused: what is not understood was not agreed."""
    if type(value) is not dict:
        raise malformed(f"a {cls.__name__} is not a map")
    layout = _layout(cls)
    known = {key for key, *_ in layout}
    if unknown := value.keys() - known:
        raise malformed(f"a {cls.__name__} has the unknown key {min(unknown)}")
    loaded: dict[str, Any] = {}
    for key, name, kind, optional in layout:
        if key in value:
            loaded[name] = kind.load(value[key])
        elif not optional:
            raise malformed(f"a {cls.__name__} lacks its {name}")
    return cls(**loaded)


def encode(message: Any) -> bytes:
    """The bytes of a message."""
    return cbor.encode(dump(message))


def decode(cls: type[T], data: bytes) -> T:
    """The message of foreign bytes. Raises ``RemoteProtocolError(malformed_message)``."""
    return load(cls, cbor.decode(data))


def malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, why)


@cache
def _layout(cls: type[Any]) -> tuple[tuple[int, str, Kind, bool], ...]:
    """Key, name, kind and optionality of each field, by key."""
    rows = sorted((_row(declared) for declared in fields(cls)), key=lambda row: row[0])
    assert len({row[0] for row in rows}) == len(rows), f"{cls.__name__} uses a key twice"
    return tuple(rows)


def _row(declared: Field[Any]) -> tuple[int, str, Kind, bool]:
    metadata = declared.metadata
    assert metadata["optional"] == (declared.default is not MISSING)
    return metadata["key"], declared.name, metadata["kind"], metadata["optional"]


def _same(loaded: Any, value: Any) -> bool:
    return bool(loaded == (tuple(value) if isinstance(value, list) else value))
