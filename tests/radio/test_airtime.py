"""Airtime to the microsecond, and where one may send at all."""

from __future__ import annotations

import math
from itertools import pairwise

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.radio.airtime import BANDWIDTHS_HZ, CODING_RATES, SPREADING_FACTORS, Modulation, airtime_us
from retrieval.radio.regions import BANDS, HOUR_US, RELAY_BAND, RELAY_HZ, band_of

VECTORS = golden.load("radio_airtime")
modulations = st.builds(
    Modulation,
    spreading_factor=st.sampled_from(SPREADING_FACTORS),
    bandwidth_hz=st.sampled_from(BANDWIDTHS_HZ),
    coding_rate=st.sampled_from(CODING_RATES),
    preamble=st.integers(6, 65_535),
    crc=st.booleans(),
    explicit_header=st.booleans(),
)


def by_the_data_sheet_us(size_bytes: int, modulation: Modulation) -> float:
    """The formula as the data sheet has it, in floating point."""
    factor, symbol_us = modulation.spreading_factor, 1e6 * 2**modulation.spreading_factor / modulation.bandwidth_hz
    optimised = symbol_us >= 16_000 and factor >= 7
    numerator = 8 * size_bytes + 16 * modulation.crc - 4 * factor + 20 * modulation.explicit_header + (8 if factor >= 7 else 0)
    blocks = math.ceil(max(numerator, 0) / (4 * (factor - 2 * optimised)))
    return (modulation.preamble + (4.25 if factor >= 7 else 6.25) + 8 + blocks * modulation.coding_rate) * symbol_us


@pytest.mark.parametrize("vector", VECTORS["airtime"], ids=lambda vector: vector["why"])
def test_a_frame_takes_the_time_of_its_vector(vector):
    modulation = Modulation(**vector["modulation"])
    assert airtime_us(vector["size_bytes"], modulation) == vector["airtime_us"]
    assert modulation.low_data_rate is vector["low_data_rate"]


@given(st.integers(0, 255), modulations)
def test_integers_agree_with_the_data_sheet_within_a_microsecond(size_bytes, modulation):
    exact = by_the_data_sheet_us(size_bytes, modulation)
    assert abs(airtime_us(size_bytes, modulation) - exact) <= 1 + exact * 1e-9


def test_bands_are_those_of_their_vectors():
    for vector in VECTORS["bands"]:
        band = band_of(vector["frequency_hz"], vector["bandwidth_hz"])
        assert (band and band.budget_us) == vector["budget_us"], vector["why"]
        assert (band and band.dwell_max_us) == vector["dwell_max_us"], vector["why"]


def test_bands_do_not_overlap_and_none_allows_more_than_the_hour():
    edges = [(band.low_hz, band.high_hz) for band in BANDS]
    assert all(high <= low for (_, high), (low, _) in pairwise(edges))
    assert all(0 < band.budget_us <= HOUR_US for band in BANDS)
    assert band_of(RELAY_HZ, 250_000) is RELAY_BAND
    assert RELAY_BAND.budget_us == 360_000_000
