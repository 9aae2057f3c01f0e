"""Shapes: what a declaration reads it also writes, foreign values outside it are malformed, our own are bugs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import AMOUNT_MAX
from retrieval.wire import cbor, shape
from retrieval.wire.shape import UINT64_MAX, amount, blob, flag, many, nested, text, uint, wire


class Colour(IntEnum):
    RED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    number: int = wire(1, uint(9, least=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    late: int = wire(5, uint())
    early: bytes = wire(0, blob(2, 4))
    word: str = wire(1, text(3))
    yes: bool = wire(2, flag)
    price: int = wire(3, amount)
    inner: Inner | None = wire(4, nested(Inner), optional=True)
    numbers: tuple[int, ...] = wire(6, many(uint(3), 2))
    inners: tuple[Inner, ...] = wire(7, many(nested(Inner), 3, least=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    low: int = wire(0, uint())
    high: int = wire(1, uint())

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


OUTER = Outer(late=7, early=b"ab", word="wörd"[:3], yes=True, price=256, inner=Inner(number=1), numbers=(1, 2), inners=(Inner(number=9),))
MAP = {0: b"ab", 1: "wör", 2: True, 3: b"\1\0", 4: {1: 1}, 5: 7, 6: [1, 2], 7: [{1: 9}]}

inners = st.builds(Inner, number=st.integers(1, 9))
outers = st.builds(
    Outer, late=st.integers(0, UINT64_MAX), early=st.binary(min_size=2, max_size=4), word=st.text(max_size=3), yes=st.booleans(),
    price=st.integers(0, AMOUNT_MAX), inner=st.none() | inners, numbers=st.lists(st.integers(0, 3), max_size=2).map(tuple),
    inners=st.lists(inners, min_size=1, max_size=3).map(tuple),
)  # fmt: skip


def refusal(cls: type[Any], value: Any) -> str:
    with pytest.raises(RemoteProtocolError) as refused:
        shape.load(cls, value)
    assert refused.value.code is ErrorCode.MALFORMED_MESSAGE
    return refused.value.detail


def test_a_message_is_a_map_in_the_order_of_its_keys():
    dumped = shape.dump(OUTER)
    assert dumped == MAP
    assert list(dumped) == sorted(dumped)


@given(outers)
def test_what_was_written_is_read(outer):
    assert shape.decode(Outer, shape.encode(outer)) == outer


def test_an_enum_is_written_as_its_number():
    encoded = shape.encode(Outer(**{**_fields(OUTER), "late": Colour.RED}))
    assert cbor.decode(encoded)[5] == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (0, b"a"), (0, b"abcde"), (0, "ab"), (0, None),
        (1, "four"), (1, b"abc"), (1, 1),
        (2, 1), (2, 0), (2, None),
        (3, b"\0"), (3, b"\0\1"), (3, bytes(17)), (3, b"\1" * 17), (3, 256), (3, "1"),
        (4, None), (4, {}), (4, {1: 0}), (4, {1: 10}), (4, {1: True}), (4, {2: 1}), (4, [1]),
        (5, -1), (5, UINT64_MAX + 1), (5, True), (5, b"\7"), (5, None),
        (6, [1, 2, 3]), (6, [4]), (6, ["1"]), (6, {0: 1}), (6, b"\1\2"), (6, None),
        (7, []), (7, [{1: 1}] * 4), (7, [1]), (7, [[]]),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_outside_its_field_is_malformed(key, value):
    refusal(Outer, {**MAP, key: value})


@pytest.mark.parametrize("key", [0, 1, 2, 3, 5, 6, 7])
def test_a_missing_field_is_named(key):
    names = {0: "early", 1: "word", 2: "yes", 3: "price", 5: "late", 6: "numbers", 7: "inners"}
    assert refusal(Outer, {k: v for k, v in MAP.items() if k != key}) == f"the Outer lacks its {names[key]}"


def test_an_optional_field_may_be_missing_but_not_null():
    assert shape.load(Outer, {k: v for k, v in MAP.items() if k != 4}).inner is None
    refusal(Outer, {**MAP, 4: None})


def test_an_unknown_key_is_named():
    assert refusal(Outer, {**MAP, 9: 0, 8: 0}) == "the Outer has the unknown key 8"


@pytest.mark.parametrize("value", [None, 1, b"", "", [], [1]], ids=repr)
def test_what_is_no_map_is_no_message(value):
    refusal(Outer, value)


def test_fields_that_contradict_each_other_are_malformed():
    assert shape.load(Ordered, {0: 1, 1: 1}) == Ordered(low=1, high=1)
    assert refusal(Ordered, {0: 2, 1: 1}) == "low is above high"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("late", -1), ("late", UINT64_MAX + 1), ("early", b"a"), ("early", bytearray(b"ab")), ("word", "four"), ("yes", 1), ("price", -1),
        ("price", AMOUNT_MAX + 1), ("numbers", (1, 2, 3)), ("numbers", (4,)), ("inners", ()), ("inner", Inner(number=0)),
    ],
    ids=repr,
)  # fmt: skip
def test_our_own_value_outside_its_field_is_a_bug(name, value):
    with pytest.raises(AssertionError):
        shape.encode(Outer(**{**_fields(OUTER), name: value}))


@given(st.integers(0, AMOUNT_MAX))
def test_an_amount_has_one_encoding(value):
    encoded = shape.dump_amount(value)
    assert shape.amount.load(encoded) == value
    assert len(encoded) <= 16


@given(st.binary(max_size=60))
def test_hostile_bytes_are_malformed_or_encode_to_themselves(data):
    try:
        outer = shape.decode(Outer, data)
    except RemoteProtocolError as error:
        if error.code is not ErrorCode.MALFORMED_MESSAGE:
            raise
        return
    assert shape.encode(outer) == data


def _fields(outer: Outer) -> dict[str, Any]:
    return {name: getattr(outer, name) for name in Outer.__slots__}
