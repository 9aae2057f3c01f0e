"""Whole lives of a relay, thought up by Hypothesis: the script and what must hold throughout are in ``fuzz_relay.c``."""

from __future__ import annotations

import ctypes

from hypothesis import given, settings
from hypothesis import strategies as st

ACTIONS = 14

actions = st.tuples(st.integers(0, ACTIONS - 1), st.integers(0, 255), st.binary(max_size=120)).map(lambda one: bytes(one[:2]) + one[2])


@settings(max_examples=150)
@given(st.lists(actions, max_size=40).map(b"".join))
def test_no_life_breaks_a_relay_or_its_hour(relay: ctypes.CDLL, script: bytes) -> None:
    relay.LLVMFuzzerTestOneInput(script, len(script))


@settings(max_examples=20)
@given(st.integers(0, 255), st.integers(500, 3000))
def test_a_flood_of_one_thing_breaks_nothing(relay: ctypes.CDLL, action: int, times: int) -> None:
    script = bytes((0, action % ACTIONS, 1)) * times
    relay.LLVMFuzzerTestOneInput(script, len(script))
