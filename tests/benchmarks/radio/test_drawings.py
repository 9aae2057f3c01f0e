"""What is drawn of a survey fits where it is drawn, is whole in itself, and takes no name for markup."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console
from survey_example import example

from benchmarks.radio.page import page
from benchmarks.radio.terminal import view

HOSTILE = "<script>&\"'[red]"


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
    shown = page(example(word))
    parser.feed(shown)
    assert parser.open == []
    assert HOSTILE not in shown


def test_the_page_loads_nothing() -> None:
    assert not re.search(r"(src|href|url\(|@import|<script)", page(example()))


def test_what_lies_on_the_map_stays_on_it() -> None:
    shown = page(example(n_nodes=30))
    found = re.search(r'viewBox="0 0 (\d+) (\d+)"', shown)
    assert found is not None
    width, height = map(int, found.groups())
    for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', shown):
        assert 20 <= float(x) <= width - 20
        assert 20 <= float(y) <= height - 20


def test_a_mesh_of_one_node_can_be_drawn() -> None:
    assert "<svg" in page(example(n_nodes=1))
    assert "0" in drawn(80, n_nodes=1)


def drawn(columns: int, *, n_nodes: int = 30) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=columns, color_system=None)
    console.print(view(example("n1", n_nodes=n_nodes, share=0.95), columns=columns))
    return stream.getvalue()


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_terminal_shows_every_node_in_every_width(columns: int) -> None:
    shown = drawn(columns)
    assert all(len(line) <= columns for line in shown.splitlines())
    assert shown.count("●") >= 25
    assert all(f"n1{number} " in shown for number in range(30))


def test_the_terminal_takes_no_name_for_markup() -> None:
    stream = io.StringIO()
    Console(file=stream, width=120, color_system=None).print(view(example(HOSTILE), columns=120))
    assert "[red]" in stream.getvalue()


def test_a_missed_target_is_marked_in_a_sign() -> None:
    shown = drawn(120)
    assert "✗" in shown
    assert "✓" in shown
