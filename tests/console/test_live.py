"""The view that is redrawn: on terminals only, and gone when it ends."""

from __future__ import annotations

import io

from terminal import Terminal

from retrieval.console import Console, facts
from retrieval.console.live import LiveView


def test_a_terminal_sees_the_newest_view() -> None:
    terminal = Terminal()
    with LiveView(Console(Terminal(), terminal)) as view:
        view.show(facts({"sessions": "one"}))
        view.show(facts({"sessions": "two"}), facts({"earned": "0.01 USD"}))
    assert terminal.text.index("one") < terminal.text.index("two") < terminal.text.index("0.01 USD")
    assert terminal.has_colours


def test_a_file_sees_nothing() -> None:
    file = io.StringIO()
    with LiveView(Console(Terminal(), file)) as view:
        view.show(facts({"sessions": "one"}))
    assert file.getvalue() == ""
