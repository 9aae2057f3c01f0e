"""Every message against its golden vector, and hostile bytes against every message.

``tests/vectors/messages.json`` comes from ``tests/wire_examples.py``, whose docstring says how to write it anew. A change there is a
change of the protocol.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import golden
import pytest
import wire_examples as examples
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId, PeerKey, verify_peer
from retrieval.wire import cbor, messages, shape
from retrieval.wire.framing import FrameDecoder, encode_frame

VECTORS = golden.load("messages")
SHAPES = (*examples.MESSAGES, *examples.BODIES)
SIGNED = {"SignedQuote": ("quote", "provider"), "Accept": ("accept", "client"), "SignedDone": ("done", "provider")}


def _name(value: Any) -> str:
    return value["name"] if isinstance(value, dict) else type(value).__name__


@pytest.mark.parametrize(("vector", "message"), zip(VECTORS["messages"], examples.MESSAGES, strict=True), ids=_name)
def test_a_message_has_the_bytes_of_its_vector(vector, message):
    frame = bytes.fromhex(vector["frame"])
    assert vector["type"] == messages.TYPE_OF_MESSAGE[type(message)]
    assert encode_frame(message) == frame
    [received] = FrameDecoder().feed(frame)
    assert type(received) is type(message)
    assert received == message
    assert examples.plain(received) == vector["fields"]


@pytest.mark.parametrize(("vector", "body"), zip(VECTORS["bodies"], examples.BODIES, strict=True), ids=_name)
def test_a_body_has_the_bytes_of_its_vector(vector, body):
    encoded = bytes.fromhex(vector["encoded"])
    assert shape.encode(body) == encoded
    assert shape.decode(type(body), encoded) == body
    assert examples.plain(body) == vector["fields"]


def test_digests_are_those_of_the_vectors():
    vectors, bodies = VECTORS["digests"], {vector["name"]: bytes.fromhex(vector["encoded"]) for vector in VECTORS["bodies"]}
    client = PeerKey.from_seed(bytes.fromhex(VECTORS["seeds"]["client"])).peer_id
    hellos = [shape.encode(message) for message in examples.MESSAGES if isinstance(message, messages.Hello)]
    assert shape.decode(messages.Selection, bodies["Selection"]).digest.hex() == vectors["selection"]
    assert messages.hellos_digest(*hellos).hex() == vectors["hellos"]
    assert messages.quote_digest(bodies["Quote"]).hex() == vectors["quote"]
    assert messages.deal_id(bodies["Quote"], client).hex() == vectors["deal_id"]


@pytest.mark.parametrize("vector", [vector for vector in VECTORS["messages"] if vector["name"] in SIGNED], ids=_name)
def test_signed_messages_verify_under_the_key_of_their_vector(vector):
    kind, signer = SIGNED[vector["name"]]
    key = PeerKey.from_seed(bytes.fromhex(VECTORS["seeds"][signer]))
    verify_peer(PeerId(key.peer_id), kind, bytes.fromhex(vector["fields"]["body"]), bytes.fromhex(vector["fields"]["signature"]))


def test_every_message_has_a_type_and_a_vector():
    classes = set(get_args(messages.Message))
    assert set(messages.MESSAGE_OF_TYPE.values()) == classes
    assert {type(message) for message in examples.MESSAGES} == classes
    assert set(messages.FrameType) == {*messages.MESSAGE_OF_TYPE, messages.FrameType.BLOCK}


def test_types_that_carry_the_same_shape_are_not_the_same_message():
    body, signature = b"\0", bytes(64)
    assert messages.SignedQuote(body=body, signature=signature) != messages.SignedDone(body=body, signature=signature)


@pytest.mark.parametrize("message", SHAPES, ids=_name)
@given(data=st.data())
def test_mutated_messages_are_malformed_or_encode_to_themselves(message, data):
    encoded = bytearray(shape.encode(message))
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(encoded)))
        encoded[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    _check_if_accepted(type(message), bytes(encoded))


@pytest.mark.parametrize("message", SHAPES, ids=_name)
def test_flipped_bits_are_malformed_or_another_message(message):
    encoded = shape.encode(message)
    for bit in range(8 * len(encoded)):
        flipped = (int.from_bytes(encoded, "big") ^ 1 << bit).to_bytes(len(encoded), "big")
        assert _check_if_accepted(type(message), flipped) != message


@pytest.mark.parametrize("message", SHAPES, ids=_name)
def test_cut_messages_are_malformed(message):
    encoded = shape.encode(message)
    for end in range(len(encoded)):
        assert _check_if_accepted(type(message), encoded[:end]) is None


def _check_if_accepted(cls: type[Any], data: bytes) -> Any:
    try:
        message = shape.decode(cls, data)
    except RemoteProtocolError as error:
        if error.code is not ErrorCode.MALFORMED_MESSAGE:
            raise
        return None
    assert shape.encode(message) == data
    return message


@pytest.mark.parametrize("fields", [{}, {"selection": examples.SELECTION, "deal_id": examples.DEAL}], ids=["neither", "both"])
def test_a_query_names_either_a_selection_or_a_deal(fields):
    with pytest.raises(ValueError, match="either"):
        messages.Query(query_id=1, cursor=0, **fields)
    encoded = {1: 1, 3: 0}
    if fields:
        encoded = {1: 1, 2: shape.dump(examples.SELECTION), 3: 0, 5: examples.DEAL}
    with pytest.raises(RemoteProtocolError) as refused:
        shape.decode(messages.Query, cbor.encode(encoded))
    assert refused.value.code is ErrorCode.MALFORMED_MESSAGE


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        (messages.Hello, 1, 256), (messages.Hello, 2, ["x" * 65]), (messages.Hello, 3, ["x"] * 65), (messages.Hello, 4, 0),
        (messages.Hello, 4, 1025), (messages.Hello, 5, "x" * 129),
        (messages.Selection, 1, b"abc"), (messages.Selection, 1, bytes(129)), (messages.Selection, 2, ["x" * 256]),
        (messages.Selection, 2, ["x"] * 129), (messages.Selection, 3, 3),
        (messages.Quote, 1, 0), (messages.Quote, 1, 2), (messages.Quote, 6, bytes(37)), (messages.Quote, 10, 2**63),
        (messages.Quote, 14, 0), (messages.Quote, 15, 2**30 + 1), (messages.Quote, 17, 7 * 86_400 + 1), (messages.Quote, 20, 2**21 + 1),
        (messages.SignedQuote, 1, b""), (messages.SignedQuote, 1, bytes(8193)), (messages.SignedQuote, 2, bytes(63)),
        (messages.Payment, 2, []), (messages.Payment, 2, [shape.dump(examples.SIGNED_RECEIPT)] * 17),
        (messages.Refuse, 1, 1000), (messages.Refuse, 2, "x" * 257),
        (messages.Present, 1, bytes(136)),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)  # fmt: skip
def test_a_field_beyond_its_limit_is_malformed(cls, key, value):
    example = next(message for message in SHAPES if type(message) is cls)
    with pytest.raises(RemoteProtocolError) as refused:
        shape.load(cls, {**shape.dump(example), key: value})
    assert refused.value.code is ErrorCode.MALFORMED_MESSAGE


def test_the_largest_messages_fit_a_control_frame():
    path = ("n" * messages.PATH_SEGMENT_MAX,) * messages.PATH_SEGMENTS_MAX
    encode_frame(messages.Query(query_id=1, selection=replace(examples.SELECTION, path=path), cursor=0))
    receipts = (examples.SIGNED_RECEIPT,) * messages.RECEIPTS_PER_PAYMENT_MAX
    encode_frame(messages.Payment(voucher=examples.VOUCHER, receipts=receipts))
    names = ("c" * messages.CAPABILITY_MAX,) * messages.CAPABILITIES_MAX
    encode_frame(replace(examples.CLIENT_HELLO, required=names, optional=names))


def test_digests_tell_the_parts_of_a_selection_apart():
    selection = examples.SELECTION
    others = [
        replace(selection, path=()),
        replace(selection, path=("docs/Übersicht.txt",)),
        replace(selection, scope=0),
        replace(selection, range_start=0),
    ]
    assert len({selection.digest, *(other.digest for other in others)}) == 5
