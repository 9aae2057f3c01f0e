"""Codes are in the order of their values, sums never shrink, bottlenecks never grow."""

from __future__ import annotations

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.radio.codes import (
    CODE8_MAX,
    CODE8_VALUE_MAX,
    CODE16_MAX,
    CODE16_VALUE_MAX,
    code8_down,
    code16_up,
    value_of_code8,
    value_of_code16,
)

VECTORS = golden.load("radio_packet")
values = st.integers(0, 1 << 63)


def test_code16_is_that_of_its_vectors():
    for vector in VECTORS["code16"]:
        assert code16_up(int(vector["value"])) == vector["up"]
        assert value_of_code16(vector["up"]) == int(vector["decoded"])


def test_code8_is_that_of_its_vectors():
    for vector in VECTORS["code8"]:
        assert code8_down(int(vector["value"])) == vector["down"]
        assert value_of_code8(vector["down"]) == int(vector["decoded"])


def test_each_code_stands_for_more_than_the_one_before():
    for codes, value_of in ((range(CODE16_MAX + 1), value_of_code16), (range(CODE8_MAX + 1), value_of_code8)):
        decoded = [value_of(code) for code in codes]
        assert decoded == sorted(set(decoded))


def test_every_code_is_the_code_of_its_value():
    assert all(code16_up(value_of_code16(code)) == code for code in range(CODE16_MAX + 1))
    assert all(code8_down(value_of_code8(code)) == code for code in range(CODE8_MAX + 1))


@given(values)
def test_a_sum_is_never_understated_and_by_little_overstated(value):
    decoded = value_of_code16(code16_up(value))
    if value > CODE16_VALUE_MAX:
        assert decoded == CODE16_VALUE_MAX
    else:
        assert value <= decoded <= value + (value >> 11)


@given(values)
def test_a_bottleneck_is_never_overstated_and_by_little_understated(value):
    decoded = value_of_code8(code8_down(value))
    assert decoded <= value
    assert decoded == CODE8_VALUE_MAX or value - decoded <= value >> 3


@given(st.integers(1, CODE16_VALUE_MAX >> 1), st.integers(1, 1 << 20))
def test_no_addend_is_lost(before, addend):
    code = code16_up(before)
    assert code16_up(value_of_code16(code) + addend) > code


@pytest.mark.parametrize("codec", [code16_up, code8_down])
def test_nothing_is_exactly_nothing(codec):
    assert codec(0) == 0
    assert codec(1) == 1
