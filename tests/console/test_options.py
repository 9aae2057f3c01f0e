"""The common options: where they may stand, and what a verb sees of them."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from retrieval.console import Console, common_options, run, verb
from retrieval.home import Home

Seen = tuple[Console, Home]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    """Run `a-program` with arguments, and return what its verb received."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.delenv("RETRIEVAL_HOME", raising=False)
    monkeypatch.delenv("RETRIEVAL_DEBUG", raising=False)

    def run_with(*arguments: str) -> Seen:
        seen: list[Seen] = []

        @click.group()
        @common_options
        def cli() -> None: ...

        @cli.group()
        def journal() -> None: ...

        @journal.command()
        @verb
        def check(console: Console, home: Home) -> None:
            seen.append((console, home))

        assert run(cli, program="a-program", arguments=arguments) == 0
        return seen[0]

    return run_with


@pytest.mark.parametrize("before", [True, False])
def test_an_option_means_the_same_before_and_after_the_verb(see: Callable[..., Seen], tmp_path: Path, before: bool) -> None:
    options = ("--home", str(tmp_path), "--json", "--verbose", "--log-level", "error", "--debug")
    console, home = see(*options, "journal", "check") if before else see("journal", "check", *options)
    assert home == Home(tmp_path, "a-program")
    assert (console.json, console.verbose, console.debug, console.log_level) == (True, True, True, "error")


def test_the_option_nearest_to_the_verb_wins(see: Callable[..., Seen], tmp_path: Path) -> None:
    _, home = see("--home", "elsewhere", "journal", "check", "--home", str(tmp_path))
    assert home.path == tmp_path


def test_without_options_the_environment_names_the_home(see: Callable[..., Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_HOME", str(tmp_path))
    console, home = see("journal", "check")
    assert home.path == tmp_path
    assert (console.verbose, console.debug, console.log_level) == (False, False, None)


@pytest.mark.parametrize(
    ("options", "level"),
    [((), "WARNING"), (("-v",), "INFO"), (("--debug",), "DEBUG"), (("-v", "--log-level", "error"), "ERROR")],
)
def test_the_log_level_follows_from_the_options(see: Callable[..., Seen], options: tuple[str, ...], level: str) -> None:
    see("journal", "check", *options)
    assert logging.getLevelName(logging.getLogger("retrieval").level) == level


def test_the_shared_options_leave_a_verbs_own_arguments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    seen = []

    @click.command()
    @click.argument("paths", nargs=-1)
    @click.option("--car", is_flag=True)
    @verb
    def add(console: Console, home: Home, paths: tuple[str, ...], car: bool) -> None:
        seen.append((paths, car))

    assert run(add, program="a-program", arguments=["x", "--car", "--json", "y"]) == 0
    assert seen == [(("x", "y"), True)]
