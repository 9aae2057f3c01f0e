"""The fuzz targets without a fuzzer: on their seeds, on what they once failed on, and on mutations of both."""

from __future__ import annotations

import pytest
from fuzz.targets import TARGETS, inputs_of
from hypothesis import given, settings
from hypothesis import strategies as st

MUTATIONS_MAX = 4

edits = st.tuples(
    st.integers(0, 1 << 16),  # where, modulo the size
    st.sampled_from((0, 0, 1, 2, 8, 1 << 16)),  # how many bytes go
    st.one_of(st.binary(max_size=6), st.sampled_from((b"\xff" * 8, b"\x80" * 10, bytes(12), b"\x7f\xff\xff\xff"))),  # what comes
)


def mutated(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for place, n_gone, come in changes:
        at = place % (len(data) + 1)
        data = data[:at] + come + data[at + n_gone :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_and_every_input_that_once_failed_passes(name: str) -> None:
    inputs = inputs_of(name)
    assert inputs
    for data in inputs:
        TARGETS[name].check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_pass(name: str) -> None:
    @settings(max_examples=150)
    @given(st.sampled_from(inputs_of(name)), st.lists(edits, max_size=MUTATIONS_MAX))
    def check(data: bytes, changes: list[tuple[int, int, bytes]]) -> None:
        TARGETS[name].check(mutated(data, changes))

    check()
