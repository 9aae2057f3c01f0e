"""Results on a terminal and in a pipe."""

from __future__ import annotations

import io
import json

import pytest
from terminal import Terminal

from retrieval.console import Console, facts, table

ROWS = [{"root": "bafy1", "bytes": 3}, {"root": "bafy2", "bytes": 4}]


def console_on(stdout: io.StringIO) -> Console:
    return Console(stdout, io.StringIO())


def test_a_pipe_gets_one_json_object_a_line() -> None:
    out = io.StringIO()
    console_on(out).emit(ROWS, table=lambda: pytest.fail("no table belongs in a pipe"))
    assert [json.loads(line) for line in out.getvalue().splitlines()] == ROWS


def test_one_result_is_one_line_and_none_is_none() -> None:
    out = io.StringIO()
    console_on(out).emit(ROWS[0], table=lambda: "")
    console_on(out).emit([], table=lambda: "")
    assert out.getvalue() == '{"root": "bafy1", "bytes": 3}\n'


def test_a_terminal_gets_the_table() -> None:
    out = Terminal()
    console_on(out).emit(ROWS, table=lambda: table(("root", "bytes"), [("bafy1", "3")], numbers=("bytes",)))
    assert "root" in out.text
    assert "{" not in out.text


def test_json_on_a_terminal_when_asked() -> None:
    out = Terminal()
    console = console_on(out)
    console.json = True
    console.emit(ROWS[0], table=lambda: "")
    assert json.loads(out.getvalue()) == ROWS[0]


def test_an_empty_table_says_so() -> None:
    out = Terminal()
    console_on(out).emit([], table=lambda: table(("root",), [], empty="no channels yet"))
    assert out.text == "no channels yet\n"


def test_names_from_outside_are_neither_markup_nor_control_sequences() -> None:
    out = Terminal()
    console_on(out).emit({}, table=lambda: facts({"name": "[red]x[/red] :smile: \x1b[2J\x07"}))
    assert out.text == "name  [red]x[/red] :smile: \\x1b[2J\\x07\n"


def test_surrogates_in_a_file_name_survive_json() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    Console(out, io.StringIO()).emit({"name": "a\udcff"}, table=lambda: "")
    assert json.loads(out.buffer.getvalue())["name"] == "a\udcff"  # type: ignore[attr-defined]


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_no_line_of_a_table_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    address = "/ip4/203.0.113.7/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    console_on(out).emit({}, table=lambda: table(("provider", "spent"), [(address, "0.05 USD")], numbers=("spent",)))
    assert max(map(len, out.text.splitlines())) <= columns
    assert "0.05 USD" in out.text


def test_notes_reach_people_on_stderr_and_not_scripts() -> None:
    for stdout, told in ((Terminal(), "half way\n"), (io.StringIO(), "")):
        console = Console(stdout, io.StringIO())
        console.note("half way")
        assert console.stderr.getvalue() == told  # type: ignore[attr-defined]
        assert stdout.getvalue() == ""
