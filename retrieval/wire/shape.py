"""How a message's dataclass becomes deterministic CBOR: each field names its map key and its kind.

A message is read by the same declaration that writes it, so the two cannot drift. ``load`` is for foreign values and raises
``RemoteProtocolError(malformed_message)``; ``dump`` is for our own and asserts. A class whose fields must also agree with each other
raises ``ValueError`` from ``__post_init__``: a bug where we made it, a malformed message where it was received.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from typing import Any, Final, TypeVar

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import AMOUNT_MAX
from retrieval.wire import cbor

T = TypeVar("T")

UINT64_MAX: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of field: how its CBOR value is read, and how its Python value is written. Both refuse what the field may not hold."""

    load: Callable[[Any], Any]
    dump: Callable[[Any], Any]


def uint(most: int = UINT64_MAX, *, least: int = 0) -> Kind:
    """An integer of ``least`` to ``most``."""

    def load(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise malformed(f"an integer is not in {least}..{most}")
        return value

    def dump(value: int) -> int:
        assert least <= value <= most, f"{value} is not in {least}..{most}"
        return int(value)  # an IntEnum too goes out as its number

    return Kind(load, dump)


def blob(least: int, most: int | None = None) -> Kind:
    """A byte string of exactly ``least`` bytes, or of ``least`` to ``most``."""
    longest = least if most is None else most

    def load(value: Any) -> bytes:
        if type(value) is not bytes or not least <= len(value) <= longest:
            raise malformed(f"a byte string is not {least}..{longest} bytes long")
        return value

    def dump(value: bytes) -> bytes:
        assert type(value) is bytes and least <= len(value) <= longest, f"{value!r} is not {least}..{longest} bytes"  # noqa: PT018
        return value

    return Kind(load, dump)


def text(most: int) -> Kind:
    """Text of at most ``most`` characters."""

    def load(value: Any) -> str:
        if type(value) is not str or len(value) > most:
            raise malformed(f"a text is longer than {most} characters")
        return value

    def dump(value: str) -> str:
        assert len(value) <= most, f"{value!r} is longer than {most} characters"
        return value

    return Kind(load, dump)


def _load_flag(value: Any) -> bool:
    if type(value) is not bool:
        raise malformed("a flag is neither true nor false")
    return value


def _dump_flag(value: bool) -> bool:
    assert type(value) is bool
    return value


def _load_amount(value: Any) -> int:
    if type(value) is not bytes or len(value) > 16 or value[:1] == b"\0":
        raise malformed("an amount is not a minimal big-endian integer of at most 16 bytes")
    return int.from_bytes(value, "big")


def dump_amount(amount: int) -> bytes:
    """An amount as minimal big-endian bytes; zero is empty. A CBOR integer stops at 2^64, a voucher at 2^128."""
    assert 0 <= amount <= AMOUNT_MAX
    return amount.to_bytes((amount.bit_length() + 7) // 8, "big")


flag: Final = Kind(_load_flag, _dump_flag)
amount: Final = Kind(_load_amount, dump_amount)


def many(kind: Kind, most: int, *, least: int = 0) -> Kind:
    """An array of ``least`` to ``most`` values of one kind, a tuple in Python."""

    def load(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or not least <= len(value) <= most:
            raise malformed(f"an array does not hold {least}..{most} values")
        return tuple([kind.load(item) for item in value])

    def dump(items: tuple[Any, ...]) -> list[Any]:
        assert least <= len(items) <= most, f"{len(items)} values are not {least}..{most}"
        return [kind.dump(item) for item in items]

    return Kind(load, dump)


def nested(cls: type[Any]) -> Kind:
    """Another shape, as a map inside the map."""
    return Kind(partial(load, cls), dump)


def wire(key: int, kind: Kind, *, optional: bool = False) -> Any:
    """Declare a dataclass field: its map key and kind. An optional field is absent from the map when it is None."""
    metadata = {"key": key, "kind": kind, "optional": optional}
    return field(default=None, metadata=metadata) if optional else field(metadata=metadata)


def dump(message: Any) -> dict[int, Any]:
    """The CBOR map of a message, its keys in ascending order."""
    return {
        key: kind.dump(value)
        for key, name, kind, _ in _LAYOUTS[type(message)].rows
        if (value := getattr(message, name)) is not None
    }  # fmt: skip


def load(cls: type[T], value: Any) -> T:
    """The message of a CBOR map. Unknown keys are refused: what is not understood was not agreed."""
    layout = _LAYOUTS[cls]
    if type(value) is not dict:
        raise malformed(f"the {cls.__name__} is not a map")
    loaded: dict[str, Any] = {}
    for key, name, kind, optional in layout.rows:
        if key in value:
            loaded[name] = kind.load(value[key])
        elif not optional:
            raise malformed(f"the {cls.__name__} lacks its {name}")
    if len(loaded) != len(value):
        raise malformed(f"the {cls.__name__} has the unknown key {min(value.keys() - layout.keys)}")
    try:
        return cls(**loaded)
    except ValueError as error:
        raise malformed(str(error)) from error


def encode(message: Any) -> bytes:
    """The bytes of a message."""
    return cbor.encode(dump(message))


def decode(cls: type[T], data: bytes) -> T:
    """The message of foreign bytes. Raises ``RemoteProtocolError(malformed_message)``."""
    return load(cls, cbor.decode(data))


def malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, why)


@dataclass(frozen=True, slots=True)
class _Layout:
    rows: tuple[tuple[int, str, Kind, bool], ...]
    """Key, name, kind and optionality of each field, by key."""
    keys: frozenset[int]


class _Layouts(dict[type[Any], _Layout]):
    """The layout of each class, worked out when it is first asked for."""

    def __missing__(self, cls: type[Any]) -> _Layout:
        rows = sorted((_row(declared) for declared in fields(cls)), key=lambda row: row[0])
        keys = frozenset(row[0] for row in rows)
        assert len(keys) == len(rows), f"{cls.__name__} uses a key twice"
        assert max(keys, default=0) <= cbor.KEY_MAX, f"{cls.__name__} uses a key above {cbor.KEY_MAX}"
        layout = self[cls] = _Layout(tuple(rows), keys)
        return layout


_LAYOUTS: Final = _Layouts()


def _row(declared: Field[Any]) -> tuple[int, str, Kind, bool]:
    metadata = declared.metadata
    assert metadata["optional"] == (declared.default is not MISSING)
    return metadata["key"], declared.name, metadata["kind"], metadata["optional"]
