"""How a program ends: the exit status, and what is said about it on stderr."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import click
import pytest
import trio
from terminal import Terminal

from retrieval.console import Console, common_options, run, verb
from retrieval.console.report import report_of, show_report
from retrieval.errors import REGISTRY, Blame, ErrorCode, Exit, LocalProtocolError, RemoteProtocolError, Retry
from retrieval.home import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def error(self) -> dict[str, object]:
        """The JSON error on the last line of stderr."""
        error = json.loads(self.err.splitlines()[-1])["error"]
        assert isinstance(error, dict)
        return error


Ending = Callable[..., Ended]


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> Ending:
    """Run a program whose verb `go` does what the test says; on a terminal, or in a pipe."""
    monkeypatch.delenv("RETRIEVAL_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run_with(body: Callable[[], object], *arguments: str, terminal: bool = False, verbs: tuple[str, ...] = ("go",)) -> Ended:
        out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)

        @click.group()
        @common_options
        def cli() -> None:
            """A program."""

        @cli.command()
        @click.option("--count", type=int)
        @verb
        def go(console: Console, home: Home, count: int | None) -> object:
            return body()

        status = run(cli, program="a-program", arguments=arguments or verbs)
        if isinstance(out, Terminal) and isinstance(err, Terminal):
            return Ended(status=status, out=out.text, err=err.text)
        return Ended(status=status, out=out.getvalue(), err=err.getvalue())

    return run_with


def raising(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def test_a_verb_that_returns_nothing_ends_well_and_one_may_choose_its_status(end: Ending) -> None:
    assert end(lambda: None).status == 0
    assert end(lambda: Exit.RESUMABLE).status == 7


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_of_the_registry_ends_with_its_status_and_its_words(end: Ending, code: ErrorCode) -> None:
    row = REGISTRY[code]
    ended = end(raising(RemoteProtocolError(code, "this time", retry_after_s=30)))
    assert ended.status == row.exit_status
    assert ended.out == ""
    assert ended.error == {
        "code": int(code),
        "label": code.label,
        "detail": f"{row.summary}: this time",
        "blame": row.blame.value,
        "hint": row.hint,
        "retryable": row.retry.value,
        "retry_after_s": 30,
    }
    assert Blame(ended.error["blame"])
    assert Retry(ended.error["retryable"])


def test_a_person_is_told_what_happened_whose_doing_it_was_and_what_to_try(end: Ending) -> None:
    ended = end(raising(RemoteProtocolError(ErrorCode.RATE_LIMITED, "32 queries a second", retry_after_s=90)), terminal=True)
    assert [line.rstrip() for line in ended.err.splitlines()] == [
        "error        too many requests: 32 queries a second [701 rate_limited]",
        "whose doing  the client's",
        "what to try  wait as long as the answer says; again in 1 min 30 s",
    ]


def test_what_a_peer_says_cannot_repaint_the_terminal(end: Ending) -> None:
    assert r"\x1b[2J" in end(raising(RemoteProtocolError(ErrorCode.NOT_FOUND, "\x1b[2J")), terminal=True).err


def test_colours_stay_away_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(LocalProtocolError(ErrorCode.DISK_FULL))
    for value, coloured in ((None, True), ("1", False)):
        monkeypatch.setenv("TERM", "xterm")
        if value:
            monkeypatch.setenv("NO_COLOR", value)
        screen = Terminal()
        show_report(report, Console(Terminal(), screen))
        assert ("\x1b[1;31m" in screen.getvalue() or "\x1b[31m" in screen.getvalue()) is coloured


def test_a_stderr_that_is_a_file_gets_plain_lines() -> None:
    plain = io.StringIO()
    show_report(report_of(LocalProtocolError(ErrorCode.DISK_FULL)), Console(Terminal(), plain))
    assert plain.getvalue().splitlines()[0] == "error: the disk is full [903 disk_full]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("go", "--nonsense"), "No such option"),
        (("gp",), "No such command"),
        (("go", "--count", "x"), "'x' is not a valid integer"),
        (("go", "--home"), "requires an argument"),
    ],
)
def test_a_command_that_cannot_be_understood_ends_with_2_and_points_at_the_help(end: Ending, arguments: tuple[str, ...], said: str) -> None:
    ended = end(lambda: None, *arguments)
    assert ended.status == 2
    assert ended.error["code"] == ErrorCode.USAGE
    assert said in str(ended.error["detail"])
    assert str(ended.error["hint"]).endswith("--help`")


def test_without_a_verb_a_person_reads_the_help_and_a_script_an_error(end: Ending) -> None:
    read = end(lambda: None, terminal=True, verbs=())
    assert read.status == 2
    assert "Commands:" in read.err
    ended = end(lambda: None, verbs=())
    assert ended.status == 2
    assert ended.error["detail"] == "a command is missing"


def test_help_goes_to_stdout_and_is_no_error(end: Ending) -> None:
    ended = end(lambda: None, "go", "--help")
    assert (ended.status, ended.err) == (0, "")
    assert "--home DIR" in ended.out


def test_an_interruption_ends_with_7_and_says_that_nothing_is_lost(end: Ending) -> None:
    for error in (KeyboardInterrupt(), click.Abort()):
        ended = end(raising(error))
        assert ended.status == 7
        assert ended.error["label"] == "cancelled"
        assert "resumes" in str(ended.error["hint"])


def test_a_defect_ends_with_1_and_shows_no_traceback(end: Ending) -> None:
    ended = end(raising(ZeroDivisionError("x" * 10_000)))
    assert ended.status == 1
    assert ended.error["code"] == ErrorCode.INTERNAL
    assert "ZeroDivisionError" in str(ended.error["detail"])
    assert len(ended.err) < 1_000
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("error", [ZeroDivisionError(), LocalProtocolError(ErrorCode.DISK_FULL)])
def test_debug_shows_the_traceback_ahead_of_the_report(end: Ending, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    assert end(raising(error), "go", "--debug").err.startswith("Traceback")
    assert end(raising(error), "--debug", "go").err.startswith("Traceback")
    monkeypatch.setenv("RETRIEVAL_DEBUG", "1")
    ended = end(raising(error))
    assert ended.err.startswith("Traceback")
    assert ended.error["code"]
    monkeypatch.setenv("RETRIEVAL_DEBUG", "0")
    assert not end(raising(error)).err.startswith("Traceback")


def test_an_error_inside_a_nursery_is_reported_as_itself(end: Ending) -> None:
    async def fail() -> None:
        raise RemoteProtocolError(ErrorCode.CORRUPT_BLOCK)

    async def main() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            inner.start_soon(fail)
            outer.start_soon(trio.sleep_forever)

    ended = end(lambda: trio.run(main))
    assert ended.status == Exit.PEER
    assert ended.error["code"] == ErrorCode.CORRUPT_BLOCK


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([LocalProtocolError(ErrorCode.DIAL_FAILED), KeyError("a defect")], Exit.INTERNAL),
        ([BrokenPipeError(), LocalProtocolError(ErrorCode.DIAL_FAILED)], Exit.PEER),
        ([LocalProtocolError(ErrorCode.DIAL_FAILED), KeyboardInterrupt()], Exit.RESUMABLE),
    ],
)
def test_of_several_errors_the_telling_one_is_reported(end: Ending, errors: list[BaseException], status: Exit) -> None:
    assert end(raising(BaseExceptionGroup("several", errors))).status == status


PROGRAM = """
import sys, time, click
from retrieval.console import Console, run, verb
from retrieval.home import Home

@click.group()
def cli(): pass

@cli.command()
@verb
def much(console, home):
    for number in range(100_000):
        console.emit({"number": number}, table=lambda: "")

@cli.command()
@verb
def wait(console, home):
    console.emit({"event": "ready"}, table=lambda: "")
    time.sleep(60)

sys.exit(run(cli, program="a-program"))
"""


def start(*arguments: str) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE"}
    return subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)


def test_a_reader_that_leaves_early_causes_no_noise() -> None:
    with start("-c", PROGRAM, "much") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline()) == {"number": 0}
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == Exit.INTERNAL


def test_ctrl_c_ends_the_process_with_7() -> None:
    with start("-c", PROGRAM, "wait") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline()) == {"event": "ready"}
        process.send_signal(signal.SIGINT)
        assert json.loads(process.stderr.read())["error"]["label"] == "cancelled"
        assert process.wait() == Exit.RESUMABLE


def test_the_program_refuses_to_run_without_assertions() -> None:
    with start("-O", "-c", PROGRAM, "much") as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert "assertions are switched off" in json.loads(err)["error"]["detail"]
