"""Frames on a line that may be cut, garbled or joined anywhere."""

from __future__ import annotations

import itertools

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.radio.kiss import FEND, FRAME_SIZE_MAX, KissDecoder, KissFrame, encode_kiss

VECTORS = golden.load("radio_kiss")
frames = st.builds(KissFrame, st.integers(0, 255), st.binary(max_size=FRAME_SIZE_MAX - 1))


def feed_cut(line: bytes, cuts: list[int]) -> list[KissFrame]:
    decoder, found = KissDecoder(), []
    edges = [0, *sorted(cut % (len(line) + 1) for cut in cuts), len(line)]
    for start, end in itertools.pairwise(edges):
        found += decoder.feed(line[start:end])
    return found


@pytest.mark.parametrize("vector", VECTORS["decoded"], ids=lambda vector: vector["why"])
def test_a_line_holds_the_frames_of_its_vector_however_it_is_cut(vector):
    line = bytes.fromhex(vector["line"])
    expected = [KissFrame(frame["command"], bytes.fromhex(frame["data"])) for frame in vector["frames"]]
    assert feed_cut(line, []) == expected
    assert feed_cut(line, list(range(len(line)))) == expected


def test_a_frame_has_the_bytes_of_its_vector():
    for vector in VECTORS["encoded"]:
        assert encode_kiss(vector["command"], bytes.fromhex(vector["data"])).hex() == vector["line"]


@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 5000), max_size=8))
def test_frames_survive_the_line(sent, cuts):
    assert feed_cut(b"".join(encode_kiss(frame.command, frame.data) for frame in sent), cuts) == sent


@given(st.binary(max_size=600), frames)
def test_after_any_noise_a_frame_comes_through(noise, frame):
    found = KissDecoder().feed(noise + bytes((FEND,)) + encode_kiss(frame.command, frame.data))
    assert found[-1] == frame


@given(st.binary(max_size=2000))
def test_noise_holds_no_frame_above_the_limit(noise):
    assert all(1 + len(frame.data) <= FRAME_SIZE_MAX for frame in KissDecoder().feed(noise))
