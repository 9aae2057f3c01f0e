"""The CBOR subset: one encoding a value, nothing else accepted, ``cbor2`` as the referee, and hostile bytes at a bounded cost.

``tests/vectors/cbor.json`` is written by hand: each entry stands for a rule.
"""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import cbor2
import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.wire import cbor
from retrieval.wire.cbor import DEPTH_MAX, ITEMS_MAX, MESSAGE_SIZE_MAX

VECTORS = golden.load("cbor")

scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=100)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=30)
        | st.dictionaries(st.integers(0, 23), inner).map(lambda fields: dict(sorted(fields.items())))
    ),
    max_leaves=40,
).filter(lambda value: _depth(value) <= DEPTH_MAX)  # fmt: skip


def _depth(value: Any) -> int:
    if isinstance(value, list | dict):
        return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def _diagnostic(value: Any) -> str:
    match value:
        case bytes():
            return f"h'{value.hex()}'"
        case list():
            return f"[{', '.join(map(_diagnostic, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {_diagnostic(item)}' for key, item in value.items())}}}"
        case _:
            return json.dumps(value, ensure_ascii=False)


def refusal(data: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as refused:
        cbor.decode(data)
    assert refused.value.code is ErrorCode.MALFORMED_MESSAGE
    return refused.value.detail


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["encoded"][:20])
def test_accepted_encodings_mean_their_value(vector):
    encoded = bytes.fromhex(vector["encoded"])
    value = cbor.decode(encoded)
    assert _diagnostic(value) == vector["value"]
    assert cbor.encode(value) == encoded


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["what"])
def test_whatever_has_another_form_is_refused(vector):
    refusal(bytes.fromhex(vector["encoded"]))


@given(values)
def test_values_read_back_as_they_were_written(value):
    assert cbor.decode(cbor.encode(value)) == value


@given(values)
def test_what_we_write_is_what_rfc_8949_calls_deterministic(value):
    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


@given(st.binary(max_size=40))
def test_accepted_bytes_mean_the_same_to_cbor2_and_encode_to_themselves(data):
    _check_if_accepted(data)


@given(values, st.data())
def test_mutated_messages_are_refused_or_another_whole_message(value, data):
    encoded = bytearray(cbor.encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded)))
        encoded[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _check_if_accepted(bytes(encoded))


def _check_if_accepted(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except RemoteProtocolError as error:
        if error.code is not ErrorCode.MALFORMED_MESSAGE:
            raise
        return
    assert _diagnostic(cbor2.loads(data)) == _diagnostic(value)  # by text, since 1 == True
    assert cbor.encode(value) == data


@given(values)
def test_every_prefix_is_refused(value):
    encoded = cbor.encode(value)
    for end in range(len(encoded)):
        refusal(encoded[:end])


def test_the_largest_message_is_accepted_and_one_byte_more_refused():
    payload = bytes(MESSAGE_SIZE_MAX - 3)  # behind a head of three bytes
    encoded = cbor.encode(payload)
    assert len(encoded) == MESSAGE_SIZE_MAX
    assert cbor.decode(encoded) == payload
    assert "above the limit" in refusal(b"\x5a\x00\x01\x00\x00" + bytes(MESSAGE_SIZE_MAX))


def test_we_never_write_a_message_above_the_limit():
    with pytest.raises(AssertionError):
        cbor.encode(bytes(MESSAGE_SIZE_MAX))


def test_the_most_values_are_accepted_and_one_more_refused():
    assert len(cbor.decode(cbor.encode([0] * (ITEMS_MAX - 1)))) == ITEMS_MAX - 1
    assert "values" in refusal(cbor.encode([0] * ITEMS_MAX))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80" * MESSAGE_SIZE_MAX,
        b"\x99\xff\xfc" + b"\x80" * (MESSAGE_SIZE_MAX - 3),
        b"\x99\x40\x00" + b"\xa0" * (MESSAGE_SIZE_MAX - 3),
        b"\x81" * MESSAGE_SIZE_MAX,
        b"\xa1\x00" * (MESSAGE_SIZE_MAX // 2),
        b"\x9b" + b"\xff" * (MESSAGE_SIZE_MAX - 1),
        b"\x9b" + b"\xff" * 8 + b"\x00" * (MESSAGE_SIZE_MAX - 9),
        b"\x99\x3f\xff" + b"\x83\x00\x00\x00" * ((MESSAGE_SIZE_MAX - 3) // 4),
    ],
    ids=["arrays in a row", "65,532 arrays", "16,384 maps", "nested arrays", "nested maps", "ones", "2^64 - 1 zeros", "65,532 in threes"],
)
def test_a_message_full_of_values_is_refused_before_they_are_made(bomb):
    tracemalloc.start()
    refusal(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_the_worst_message_that_is_accepted_takes_little_memory():
    values = b"\x99\x3f\xff" + b"\x1a\x00\x01\x00\x00" * 10_000 + b"\x80" * (ITEMS_MAX - 1 - 10_000)
    tracemalloc.start()
    cbor.decode(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_a_buffer_that_is_not_bytes_gives_bytes():
    value = cbor.decode(memoryview(bytearray(b"\x42ab")))
    assert type(value) is bytes
