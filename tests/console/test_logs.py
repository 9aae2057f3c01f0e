"""Log lines: one an event, on stderr, with no secret in them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from retrieval.console import configure_logging
from retrieval.home import Secret

log = logging.getLogger("retrieval.somewhere")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_event_is_one_line_with_its_time_level_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    log.info("%s paid %d bytes\n\x1b[2J", "12D3", 7)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("Z info    retrieval.somewhere: 12D3 paid 7 bytes\\n\\x1b[2J\n")


def test_json_lines_carry_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", form="json")
    log.warning("it happened")
    event = json.loads(capsys.readouterr().err)
    assert (event["level"], event["logger"], event["message"]) == ("warning", "retrieval.somewhere", "it happened")


def test_an_event_below_the_level_and_a_librarys_chatter_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug")
    logging.getLogger("web3.providers").debug("POST https://rpc.example/token")
    assert capsys.readouterr().err == ""
    configure_logging("error")
    log.warning("unheard")
    assert capsys.readouterr().err == ""


def test_configuring_twice_does_not_write_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    configure_logging("info")
    log.info("once")
    assert capsys.readouterr().err.count("once") == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_named_and_its_traceback_is_for_debugging(capsys: pytest.CaptureFixture[str], form: str) -> None:
    for level, shown in (("info", False), ("debug", True)):
        configure_logging(level, form="json" if form == "json" else "text")
        try:
            raise KeyError("k")
        except KeyError:
            log.exception("it failed")
        err = capsys.readouterr().err
        assert "it failed: KeyError: 'k'" in err
        assert ("Traceback" in err) is shown


def test_a_secret_that_reaches_the_log_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug")
    log.error("key %s %r", Secret(b"k" * 32), {"key": Secret(b"k" * 32)})
    assert "kkk" not in capsys.readouterr().err
    assert b"k".hex() * 4 not in capsys.readouterr().err
