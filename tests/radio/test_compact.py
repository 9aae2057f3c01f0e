"""Records made small for the air come out as they were, in order, and nothing grows beyond a record."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.deal import hello
from retrieval.errors import RemoteProtocolError
from retrieval.identity import PeerKey
from retrieval.radio.compact import RECORD_SIZE_MAX, Compactor, Expander, dictionary
from retrieval.wire.framing import encode_frame

WORDS = dictionary(PeerKey.from_seed(b"c" * 32).peer_id, PeerKey.from_seed(b"p" * 32).peer_id)


@given(st.lists(st.binary(min_size=1, max_size=600), max_size=6))
def test_records_come_out_as_they_were(records):
    compactor, expander = Compactor(WORDS), Expander(WORDS)
    assert [expander.expand(compactor.compact(record)) for record in records] == records


def test_what_every_session_says_costs_next_to_nothing():
    frame = encode_frame(hello.ours(True))
    assert len(Compactor(WORDS).compact(frame)) < len(frame) / 4


def test_what_was_said_before_costs_next_to_nothing():
    compactor, said = Compactor(WORDS), bytes(range(256))
    compactor.compact(said)
    assert len(compactor.compact(said)) < 16


def test_noise_grows_by_a_few_bytes_only():
    noise = b"".join(zlib.crc32(bytes([a, b])).to_bytes(4, "big") for a in range(16) for b in range(128))
    assert len(noise) == RECORD_SIZE_MAX
    assert len(Compactor(WORDS).compact(noise)) < RECORD_SIZE_MAX + 16


def test_a_record_that_grows_without_end_is_refused():
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=WORDS)
    data = bomb.compress(bytes(1 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(RemoteProtocolError):
        Expander(WORDS).expand(data[:-4])


@given(st.binary(max_size=400))
def test_noise_raises_one_kind_of_error(noise):
    with suppress(RemoteProtocolError):
        assert len(Expander(WORDS).expand(noise)) <= RECORD_SIZE_MAX
