"""The page is whole in itself, says what was met in words too, and takes no name for markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from benchmarks.measure import Sheet
from benchmarks.peers.kubo_bitswap import ANCHOR_LABEL
from benchmarks.report import page
from benchmarks.results import Results, gathered

HOSTILE = "<script>&\"'"


def results_of(*sheets: Sheet, word: str = "plain") -> Results:
    machine = {"processor": word, "cores": word, "quiet": False, "load_before": word}
    return gathered(sheets, taken=word, machine=machine, versions={word: word}, commit=word, runs=1)


def full_sheets(word: str) -> list[Sheet]:
    """With something in every section of the page."""
    transfer = Sheet("transfer")
    for label in ("paid", word):
        transfer.add(label, [3.0, 4.0], "MiB/s")
        transfer.add(f"{label}: provider", [1.0], "CPU s/GiB")
        transfer.add(f"{label}: client", [2.0], "CPU s/GiB")
    transfer.add(f"paid against {ANCHOR_LABEL}", [8.0], "MiB/s", baseline=1.0, target=7.0)
    for stage in ("encrypt", "send", "receive", "decrypt", "copy", "hash", "store", "store into the page cache"):
        transfer.add(f"stage: {stage}", [0.1], "CPU s/GiB")
    transfer.skip(word, word)
    verify = Sheet("verify")
    verify.add(word, [5.0], "MiB/s")
    other = Sheet(word)
    other.add(word, [30.0], "ms", target=10.0)
    return [transfer, verify, other]


class Balance(HTMLParser):
    """Every element that must be closed is, in its turn."""

    VOID = ("meta", "br")
    OPTIONAL = ("td", "th", "html")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in (*self.VOID, *self.OPTIONAL):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.OPTIONAL:
            assert self.open.pop() == tag


@pytest.mark.parametrize("word", ["plain", HOSTILE])
def test_the_page_is_well_formed_whatever_things_are_called(word: str) -> None:
    parser = Balance()
    parser.feed(page(results_of(*full_sheets(word), word=word)))
    assert parser.open == []


def test_no_name_becomes_markup() -> None:
    shown = page(results_of(*full_sheets(HOSTILE), word=HOSTILE))
    assert HOSTILE not in shown
    assert "<script" not in shown


def test_nothing_is_loaded_from_elsewhere() -> None:
    shown = page(results_of(*full_sheets("plain")))
    assert not re.search(r"(src|href|url\(|@import)", shown)


def test_a_target_is_met_or_missed_in_a_sign_and_not_in_a_colour_alone() -> None:
    shown = page(results_of(*full_sheets("plain")))
    assert "8.00× ✓" in shown
    assert "30 ms ✗" in shown
    assert "1 of 2" in shown


def test_what_lies_on_a_plot_stays_on_it() -> None:
    shown = page(results_of(*full_sheets("plain")))
    places = [float(place) for place in re.findall(r"left:(-?[\d.]+)%", shown)]
    assert places
    assert 0 <= min(places) <= max(places) <= 100


def test_a_page_without_a_figure_is_still_a_page() -> None:
    parser = Balance()
    parser.feed(page(results_of()))
    assert parser.open == []
