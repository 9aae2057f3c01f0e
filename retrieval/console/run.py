"""Running a program from its first argument to its exit status.

The rule: this is the only place that catches everything. Whatever a verb raises becomes one report and one status of the table in
PROTOCOL.md, "Errors and deadlines".
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import click

from retrieval.console.report import WHOSE, Report, report_of, show_report
from retrieval.console.screen import Console
from retrieval.errors import Blame, ErrorCode, Exit, RetrievalError

UNEXPECTED_MAX: Final = 200  # characters of a message that nobody wrote for people

_OPTIMISED: Final = Report(
    code=ErrorCode.INTERNAL,
    happened="Python's assertions are switched off, and here they guard money",
    whose=WHOSE[Blame.OPERATOR],
    hint="start it without -O, and with PYTHONOPTIMIZE unset",
)
_INTERRUPTED: Final = Report(
    code=ErrorCode.CANCELLED,
    happened="interrupted from the keyboard",
    whose=WHOSE[Blame.OPERATOR],
    hint="run the same command again; a transfer resumes, and what was paid stays paid",
)


def run(command: click.Command, *, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run ``command`` with the process's arguments and streams; return the exit status. A verb may return a status of its own."""
    given = sys.argv[1:] if arguments is None else arguments
    console = Console()
    # Known before click reads them, because click's own refusals are reported like any other.
    console.json = console.json or "--json" in given
    console.debug = console.debug or "--debug" in given
    if not __debug__:
        show_report(_OPTIMISED, console)
        return _OPTIMISED.exit_status
    try:
        with command.make_context(program, list(given), obj=console) as context:
            status = command.invoke(context)
        console.stdout.flush()
        return status if isinstance(status, int) else Exit.OK
    except click.exceptions.Exit as leaving:  # --help and --version
        return leaving.exit_code
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:  # noqa: BLE001  # the boundary: see the module's rule
        return _conclude(error, console)


def _conclude(error: BaseException, console: Console) -> int:
    """Report what ended the program, and give its exit status."""
    cause = _main_cause(error)
    if isinstance(cause, BrokenPipeError):
        _abandon_stdout()
        return Exit.INTERNAL
    with contextlib.suppress(BrokenPipeError):  # nobody listens on stderr either; the status still tells
        if console.debug and not isinstance(cause, click.ClickException):
            traceback.print_exception(error, file=console.stderr)
        if isinstance(cause, click.exceptions.NoArgsIsHelpError) and not console.json:
            console.stderr.write(cause.format_message() + "\n")
            return Exit.USAGE
        report = _report_of(cause)
        show_report(report, console)
        return report.exit_status
    return Exit.INTERNAL


def _main_cause(error: BaseException) -> BaseException:
    """The exception to report. A Trio nursery raises a group, where one failure often brought the others about."""
    leaves = [error]
    while any(isinstance(leaf, BaseExceptionGroup) for leaf in leaves):
        leaves = [inner for leaf in leaves for inner in (leaf.exceptions if isinstance(leaf, BaseExceptionGroup) else (leaf,))]
    return min(leaves, key=_precedence)


def _precedence(error: BaseException) -> int:
    """The person's wish to stop first, then our defects, which must not hide behind an expected error."""
    match error:
        case KeyboardInterrupt() | click.Abort():
            return 0
        case RetrievalError():
            return 2
        case click.ClickException():
            return 3
        case BrokenPipeError():
            return 4
        case _:
            return 1


def _report_of(cause: BaseException) -> Report:
    match cause:
        case KeyboardInterrupt() | click.Abort():
            return _INTERRUPTED
        case RetrievalError():
            return report_of(cause)
        case click.exceptions.NoArgsIsHelpError():
            return _usage("a command is missing", cause)
        case click.UsageError():
            return _usage(cause.format_message(), cause)
        case click.ClickException():
            return Report(
                code=ErrorCode.FILE_UNREADABLE,
                happened=cause.format_message(),
                whose=WHOSE[Blame.OPERATOR],
                hint="check the path and its permissions",
            )
        case _:
            message = f"{type(cause).__name__}: {cause}"[:UNEXPECTED_MAX]
            return Report(
                code=ErrorCode.INTERNAL,
                happened=f"something went wrong inside: {message}",
                whose="this program's: a defect in it",
                hint="report it, with what --debug shows",
            )


def _usage(happened: str, error: click.UsageError) -> Report:
    command = error.ctx.command_path if error.ctx else "the command"
    return Report(code=ErrorCode.USAGE, happened=happened, whose=WHOSE[Blame.OPERATOR], hint=f"see `{command} --help`")


def _abandon_stdout() -> None:
    """Point stdout at nothing, or the interpreter would complain about the broken pipe while it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
