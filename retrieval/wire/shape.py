"""How a message's dataclass becomes deterministic CBOR: each field names its map key and its kind.

A message is read by the same declaration that writes it, so the two cannot drift. ``load`` is for foreign values and raises
``RemoteProtocolError(malformed_message)``; ``encode`` is for our own and asserts. A class whose fields must also agree with each other
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
    """A kind of field: how its CBOR value is read, and the bytes of its Python value. Both refuse what the field may not hold."""

    load: Callable[[Any], Any]
    encode: Callable[[Any], bytes]


def uint(most: int = UINT64_MAX, *, least: int = 0) -> Kind:
    """An integer of ``least`` to ``most``, none below zero."""
    assert least >= 0
    return integer(least, most)


def integer(least: int, most: int) -> Kind:
    """An integer of ``least`` to ``most``."""

    def load(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise malformed(f"an integer is not in {least}..{most}")
        return value

    def encode(value: int) -> bytes:
        assert least <= value <= most, f"{value} is not in {least}..{most}"
        return cbor.integer(value)

    return Kind(load, encode)


def blob(least: int, most: int | None = None) -> Kind:
    """A byte string of exactly ``least`` bytes, or of ``least`` to ``most``."""
    longest = least if most is None else most
    head = cbor.head(2, least)

    def load(value: Any) -> bytes:
        if type(value) is not bytes or not least <= len(value) <= longest:
            raise malformed(f"a byte string is not {least}..{longest} bytes long")
        return value

    def encode(value: bytes) -> bytes:
        assert type(value) is bytes and least <= len(value) <= longest, f"{value!r} is not {least}..{longest} bytes"  # noqa: PT018
        return head + value if least == longest else cbor.byte_string(value)

    return Kind(load, encode)


def text(most: int) -> Kind:
    """Text of at most ``most`` characters."""

    def load(value: Any) -> str:
        if type(value) is not str or len(value) > most:
            raise malformed(f"a text is longer than {most} characters")
        return value

    def encode(value: str) -> bytes:
        assert len(value) <= most, f"{value!r} is longer than {most} characters"
        return cbor.text(value)

    return Kind(load, encode)


def _load_flag(value: Any) -> bool:
    if type(value) is not bool:
        raise malformed("a flag is neither true nor false")
    return value


def _encode_flag(value: bool) -> bytes:
    assert type(value) is bool
    return cbor.CONSTANTS[value]


def _load_amount(value: Any) -> int:
    if type(value) is not bytes or len(value) > 16 or value[:1] == b"\0":
        raise malformed("an amount is not a minimal big-endian integer of at most 16 bytes")
    return int.from_bytes(value, "big")


def dump_amount(amount: int) -> bytes:
    """An amount as minimal big-endian bytes; zero is empty. A CBOR integer stops at 2^64, a voucher at 2^128."""
    assert 0 <= amount <= AMOUNT_MAX
    return amount.to_bytes((amount.bit_length() + 7) // 8, "big")


def _encode_amount(amount: int) -> bytes:
    return cbor.byte_string(dump_amount(amount))


flag: Final = Kind(_load_flag, _encode_flag)
amount: Final = Kind(_load_amount, _encode_amount)


def many(kind: Kind, most: int, *, least: int = 0) -> Kind:
    """An array of ``least`` to ``most`` values of one kind, a tuple in Python."""

    def load(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or not least <= len(value) <= most:
            raise malformed(f"an array does not hold {least}..{most} values")
        return tuple([kind.load(item) for item in value])

    def encode(items: tuple[Any, ...]) -> bytes:
        assert least <= len(items) <= most, f"{len(items)} values are not {least}..{most}"
        return cbor.head(4, len(items)) + b"".join([kind.encode(item) for item in items])

    return Kind(load, encode)


def nested(cls: type[Any]) -> Kind:
    """Another shape, as a map inside the map."""
    return Kind(partial(load, cls), encode)


def wire(key: int, kind: Kind, *, optional: bool = False) -> Any:
    """Declare a dataclass field: its map key and kind. An optional field is absent from the map when it is None."""
    metadata = {"key": key, "kind": kind, "optional": optional}
    return field(default=None, metadata=metadata) if optional else field(metadata=metadata)


def dump(message: Any) -> dict[int, Any]:
    """The CBOR map of a message, its keys in ascending order."""
    fields: dict[int, Any] = cbor.decode(encode(message))
    return fields


def load(cls: type[T], value: Any) -> T:
    """The message of a CBOR map. Unknown keys are refused: what is not understood was not agreed."""
    layout = _LAYOUTS[cls]
    if type(value) is not dict:
        raise malformed(f"the {cls.__name__} is not a map")
    loaded: dict[str, Any] = {}
    for key, name, load_value, optional in layout.readers:
        if key in value:
            loaded[name] = load_value(value[key])
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
    parts = [b""]
    for key, name, encode_value in _LAYOUTS[type(message)].writers:
        value = getattr(message, name)
        if value is not None:
            parts += (key, encode_value(value))
    parts[0] = cbor.head(5, len(parts) >> 1)
    encoded = b"".join(parts)
    assert len(encoded) <= cbor.MESSAGE_SIZE_MAX, "our own message is above the control frame limit"
    return encoded


def decode(cls: type[T], data: bytes) -> T:
    """The message of foreign bytes. Raises ``RemoteProtocolError(malformed_message)``."""
    return load(cls, cbor.decode(data))


def malformed(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, why)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The fields of a class by key, each way."""

    readers: tuple[tuple[int, str, Callable[[Any], Any], bool], ...]
    """Key, name, how it is loaded, and whether it is optional."""
    writers: tuple[tuple[bytes, str, Callable[[Any], bytes]], ...]
    """Encoded key, name, and how it is encoded."""
    keys: frozenset[int]


class _Layouts(dict[type[Any], _Layout]):
    """The layout of each class, worked out when it is first asked for."""

    def __missing__(self, cls: type[Any]) -> _Layout:
        rows = sorted((_row(declared) for declared in fields(cls)), key=lambda row: row[0])
        keys = frozenset(row[0] for row in rows)
        assert len(keys) == len(rows), f"{cls.__name__} uses a key twice"
        assert max(keys, default=0) <= cbor.KEY_MAX, f"{cls.__name__} uses a key above {cbor.KEY_MAX}"
        layout = self[cls] = _Layout(
            readers=tuple((key, name, kind.load, optional) for key, name, kind, optional in rows),
            writers=tuple((cbor.integer(key), name, kind.encode) for key, name, kind, _ in rows),
            keys=keys,
        )
        return layout


_LAYOUTS: Final = _Layouts()


def _row(declared: Field[Any]) -> tuple[int, str, Kind, bool]:
    metadata = declared.metadata
    assert metadata["optional"] == (declared.default is not MISSING)
    return metadata["key"], declared.name, metadata["kind"], metadata["optional"]
