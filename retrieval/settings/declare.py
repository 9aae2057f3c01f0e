"""Declaring settings: one function per kind, to stand as the default of a dataclass field.

The rule: a default is written as people would write it and read by the same code, so no declaration can hold a value that a file could
not. Every setting has one sentence that says what it does; it reaches config.toml and the README.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, TypeVar

from retrieval.settings import kinds
from retrieval.settings.kinds import Kind
from retrieval.units import Amount

ENVIRONMENT_PREFIX: Final = "RETRIEVAL_"

_SECTION_CLASS: Final = "retrieval.section"
_KIND: Final = "retrieval.kind"
_SENTENCE: Final = "retrieval.sentence"

S = TypeVar("S")
T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting, found in a declaration."""

    dotted: str
    """``wallet.per_fetch``"""
    kind: Kind[Any]
    """``Any``, because a list of keys holds every kind; the fields' annotations keep the types."""
    default: Any
    sentence: str

    @property
    def section(self) -> str:
        """``wallet``, or the empty string for a key above all sections."""
        return self.dotted.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.dotted.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """``RETRIEVAL_WALLET_PER_FETCH``"""
        return variable_name(self.dotted)


def amount(default: str, sentence: str) -> Amount:
    """A sum of money, in the token's smallest unit: ``"0.05 USD"``."""
    return _setting(kinds.AMOUNT, default, sentence)


def price(default: str, sentence: str) -> int:
    """A price in the token's smallest unit per GiB: ``"0.01 USD/GiB"``."""
    return _setting(kinds.PRICE, default, sentence)


def size(default: str, sentence: str) -> int:
    """A size in bytes: ``"10 GiB"``."""
    return _setting(kinds.SIZE, default, sentence)


def seconds(default: int | str, sentence: str) -> int:
    """A time in whole seconds: ``20``, ``"15 min"``, ``"1 day"``."""
    return _setting(kinds.SECONDS, default, sentence)


def switch(default: bool, sentence: str) -> bool:
    """True or false."""
    return _setting(kinds.SWITCH, default, sentence)


def integer(default: int, sentence: str, *, minimum: int, maximum: int) -> int:
    """A whole number within limits that are both allowed."""
    return _setting(kinds.integer_kind(minimum, maximum), default, sentence)


def multiaddrs(default: tuple[str, ...], sentence: str) -> tuple[str, ...]:
    """Addresses that begin with a slash; the transport has the last word on them."""
    return _setting(kinds.MULTIADDRS, default, sentence)


def endpoints(default: tuple[str, ...], sentence: str) -> tuple[str, ...]:
    """Whom to connect to: multiaddrs, and http or https addresses."""
    return _setting(kinds.ENDPOINTS, default, sentence)


def url(default: str, sentence: str) -> str:
    """An http or https address; where the default is empty, empty means that there is none."""
    return _setting(kinds.URL if default else kinds.optional_kind(kinds.URL), default, sentence)


def text(default: str, sentence: str) -> str:
    """A line of printable text."""
    return _setting(kinds.TEXT, default, sentence)


def choice(default: E, sentence: str) -> E:
    """A member of the default's ``StrEnum``."""
    return _setting(kinds.choice_kind(type(default)), default, sentence)


def section(declaration: type[S], sentence: str) -> S:
    """A group of settings: another dataclass whose fields are settings or sections."""
    return field(default=declaration(), metadata={_SECTION_CLASS: declaration, _SENTENCE: sentence})


def keys_of(declaration: type, prefix: str = "") -> Iterator[Key]:
    """Every setting of a declaration in its order, those above all sections first."""
    inner = {f.name: f.metadata[_SECTION_CLASS] for f in fields(declaration) if _SECTION_CLASS in f.metadata}
    for f in fields(declaration):
        if f.name not in inner:
            yield Key(dotted=prefix + f.name, kind=f.metadata[_KIND], default=f.default, sentence=f.metadata[_SENTENCE])
    for name, within in inner.items():
        yield from keys_of(within, f"{prefix}{name}.")


def sections_of(declaration: type, prefix: str = "") -> dict[str, str]:
    """Every section's dotted name, with its sentence, outer ones first."""
    found: dict[str, str] = {}
    for f in fields(declaration):
        if _SECTION_CLASS in f.metadata:
            found[prefix + f.name] = f.metadata[_SENTENCE]
            found |= sections_of(f.metadata[_SECTION_CLASS], f"{prefix}{f.name}.")
    return found


def build(declaration: type[S], values: dict[str, Any], prefix: str = "") -> S:
    """The declaration filled with a value for each dotted key."""
    arguments: dict[str, Any] = {}
    for f in fields(declaration):  # type: ignore[arg-type]  # a declaration is a dataclass; TypeVar has no such bound
        within = f.metadata.get(_SECTION_CLASS)
        arguments[f.name] = build(within, values, f"{prefix}{f.name}.") if within else values[prefix + f.name]
    return declaration(**arguments)


def variable_name(dotted: str) -> str:
    """The environment variable of a key or a section: ``wallet.per_fetch`` is RETRIEVAL_WALLET_PER_FETCH."""
    return ENVIRONMENT_PREFIX + dotted.replace(".", "_").upper()


def _setting(kind: Kind[T], default: object, sentence: str) -> T:
    assert sentence.endswith(".")
    return field(default=kind.parse(default), metadata={_KIND: kind, _SENTENCE: sentence})
