"""The kinds of values a setting can have: how each is written in TOML, read from text, and shown again.

The rule: a reader takes any TOML value and returns the program's value or raises ``ValueError`` with what was wrong; it never guesses a
unit. A bare number is no amount, because nobody could say of which unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from retrieval.errors import LocalProtocolError
from retrieval.units import (
    GIB,
    KIB,
    MIB,
    USD_DECIMALS,
    Amount,
    format_amount,
    format_price,
    parse_amount,
    parse_price,
    parse_size,
)

TEXT_MAX: Final = 512  # characters of one text value; the longest URLs of RPC services are under 200
LIST_MAX: Final = 16  # members of one list: nobody listens on more addresses
SECONDS_MAX: Final = 366 * 86_400  # a longer wait is a slip of the keyboard

_DURATION = re.compile(r"^([0-9]{1,9})\s*(s|min|h|d|days?)?$")
_DURATION_UNITS: Final = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "day": 86_400, "days": 86_400}
_SWITCH: Final = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


T = TypeVar("T")
U = TypeVar("U")
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """One kind of value, which the program sees as a ``T``."""

    name: str
    expected: str
    """What to write, with an example; completes the sentence "expected …"."""
    read: Callable[[object], T]
    """From a TOML value, or from a value the program passes; raises ``ValueError`` or the ``LocalProtocolError`` of units."""
    read_text: Callable[[str], T]
    """From the environment or a flag."""
    show: Callable[[T], object]
    """To the TOML value that `read` would take back."""

    def parse(self, raw: object) -> T:
        """The value in ``raw``. Raises ``ValueError`` with the reason."""
        return _with_reason(self.read, raw)

    def parse_text(self, text: str) -> T:
        """The value in a word of the environment or a flag. Raises ``ValueError`` with the reason."""
        return _with_reason(self.read_text, text.strip())


def name_type(raw: object) -> str:
    """What a TOML value is, in words. The value itself is not shown: an RPC address can carry an access token."""
    match raw:
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float():
            return "a number with a point"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case dict():
            return "a section"
        case _:
            return "a date or time"


def _with_reason(read: Callable[[U], T], raw: U) -> T:
    try:
        return read(raw)
    except LocalProtocolError as error:
        raise ValueError(error.detail) from error


def _from_text(parse: Callable[[str], T]) -> Callable[[object], T]:
    """A reader that takes text only."""

    def read(raw: object) -> T:
        if not isinstance(raw, str):
            raise ValueError(f"found {name_type(raw)}")
        return parse(raw)

    return read


def _parse_text(text: str) -> str:
    if len(text) > TEXT_MAX:
        raise ValueError(f"found more than {TEXT_MAX} characters")
    if not text.isprintable():
        raise ValueError("found characters that cannot be printed")
    return text


def _read_size(raw: object) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return parse_size(str(raw))
    return _from_text(parse_size)(raw)


def _show_size(size_bytes: int) -> object:
    """Whole binary units or plain bytes; units.format_size rounds, and what is written must read back as the same number."""
    for unit, scale in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes and size_bytes % scale == 0:
            return f"{size_bytes // scale} {unit}"
    return size_bytes


def _read_seconds(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise ValueError(f"found {name_type(raw)}")
    match = _DURATION.match(str(raw))
    if match is None:
        raise ValueError("found something else")
    seconds = int(match[1]) * _DURATION_UNITS[match[2] or "s"]
    if seconds > SECONDS_MAX:
        raise ValueError("found more than a year")
    return seconds


def _read_switch(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"found {name_type(raw)}")
    return raw


def _parse_switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise ValueError("found something else")
    return _SWITCH[text.lower()]


def _read_multiaddrs(raw: object) -> tuple[str, ...]:
    return _read_addresses(raw, ("/",), "not a multiaddr")


def _read_addresses(raw: object, beginnings: tuple[str, ...], wrong: str) -> tuple[str, ...]:
    if not isinstance(raw, list | tuple):
        raise ValueError(f"found {name_type(raw)}")
    if len(raw) > LIST_MAX:
        raise ValueError(f"found more than {LIST_MAX}")
    # Only the shape: which protocols can be listened on is known to the transport, the one door to multiaddr.
    for address in raw:
        if not isinstance(address, str) or not address.startswith(beginnings) or len(address) > TEXT_MAX or re.search(r"\s", address):
            raise ValueError(f"found something in it that is {wrong}")
    return tuple(raw)


def _parse_url(text: str) -> str:
    # urlsplit drops some white space inside; `port` raises ValueError when it is no port.
    parts = urlsplit(_parse_text(text))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or re.search(r"\s", text):
        raise ValueError("found something else")
    return text


AMOUNT: Final[Kind[Amount]] = Kind(
    name="amount",
    expected='an amount in quotes, such as "0.05 USD"',
    read=_from_text(lambda text: parse_amount(text, decimals=USD_DECIMALS)),
    read_text=lambda text: parse_amount(text, decimals=USD_DECIMALS),
    show=lambda value: format_amount(value, decimals=USD_DECIMALS),
)
PRICE: Final[Kind[int]] = Kind(
    name="price",
    expected='a price in quotes, such as "0.01 USD/GiB"',
    read=_from_text(lambda text: parse_price(text, decimals=USD_DECIMALS)),
    read_text=lambda text: parse_price(text, decimals=USD_DECIMALS),
    show=lambda value: format_price(value, decimals=USD_DECIMALS),
)
SIZE: Final[Kind[int]] = Kind(
    name="size",
    expected='a size, such as "10 GiB"',
    read=_read_size,
    read_text=parse_size,
    show=_show_size,
)
SECONDS: Final[Kind[int]] = Kind(
    name="seconds",
    expected='whole seconds, such as 20, or a duration, such as "15 min"',
    read=_read_seconds,
    read_text=_read_seconds,
    show=lambda value: value,
)
SWITCH: Final[Kind[bool]] = Kind(
    name="switch",
    expected="true or false",
    read=_read_switch,
    read_text=_parse_switch,
    show=lambda value: value,
)
MULTIADDRS: Final[Kind[tuple[str, ...]]] = Kind(
    name="multiaddrs",
    expected='a list of multiaddrs, such as ["/ip4/127.0.0.1/tcp/4001"]',
    read=_read_multiaddrs,
    read_text=lambda text: _read_multiaddrs(text.replace(",", " ").split()),
    show=list,
)
ENDPOINTS: Final[Kind[tuple[str, ...]]] = Kind(
    name="endpoints",
    expected='a list of multiaddrs and URLs, such as ["/ip4/192.0.2.1/tcp/4801/p2p/12D3KooW…", "https://gateway.example"]',
    read=lambda raw: _read_addresses(raw, ("/", "http://", "https://"), "neither a multiaddr nor a URL"),
    read_text=lambda text: _read_addresses(text.replace(",", " ").split(), ("/", "http://", "https://"), "neither a multiaddr nor a URL"),
    show=list,
)
URL: Final[Kind[str]] = Kind(
    name="URL",
    expected='an http or https address, such as "http://127.0.0.1:8545"',
    read=_from_text(_parse_url),
    read_text=_parse_url,
    show=lambda value: value,
)
TEXT: Final[Kind[str]] = Kind(
    name="text",
    expected='text in quotes, such as "a name"',
    read=_from_text(_parse_text),
    read_text=_parse_text,
    show=lambda value: value,
)


def integer_kind(minimum: int, maximum: int) -> Kind[int]:
    """Whole numbers from ``minimum`` to ``maximum``, both allowed."""

    def read(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise ValueError(f"found {name_type(raw)}")
        if not minimum <= raw <= maximum:
            raise ValueError(f"found {raw if abs(raw) < 1 << 64 else 'a far larger one'}")
        return raw

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            raise ValueError("found something else")
        return read(int(text))

    return Kind(
        name="integer",
        expected=f"a whole number from {minimum} to {maximum}",
        read=read,
        read_text=parse,
        show=lambda value: value,
    )


def choice_kind(options: type[E]) -> Kind[E]:
    """One word of a closed set."""

    def parse(text: str) -> E:
        try:
            return options(text)
        except ValueError as error:
            raise ValueError("found something else") from error

    expected = "one of " + ", ".join(f'"{option}"' for option in options)
    return Kind(name="choice", expected=expected, read=_from_text(parse), read_text=parse, show=str)


def optional_kind(kind: Kind[str]) -> Kind[str]:
    """``kind``, or empty text for "not set"."""
    return Kind(
        name=kind.name,
        expected=f'{kind.expected}, or "" for none',
        read=lambda raw: "" if raw == "" else kind.read(raw),
        read_text=lambda text: "" if text == "" else kind.read_text(text),
        show=kind.show,
    )
