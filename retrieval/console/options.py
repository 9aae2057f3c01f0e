"""The options every verb understands, before or after its name.

The rule: they mean the same in both programs, and what they set is found in the console and the home that a verb receives.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click

from retrieval.console.logs import FORMATS, LEVELS, configure_logging
from retrieval.console.screen import Console
from retrieval.home import Home

P = ParamSpec("P")
R = TypeVar("R")

_HOME: Final = "retrieval.home"  # keys in click's Context.meta, which a group shares with its verbs
_LOG_FORMAT: Final = "retrieval.log_format"


def common_options(function: Callable[P, R]) -> Callable[P, R]:
    """Let a group take the common options, so that they may stand before the verb."""
    for option in _OPTIONS:
        function = option(function)
    return function


def verb(function: Callable[Concatenate[Console, Home, P], R]) -> Callable[P, R]:
    """Make a function a verb: it takes the common options, and receives the console and the home ahead of its own arguments.

    Stands directly above ``def``. The home is named, not required to exist: a verb that needs one calls ``home.require()``.
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        context = click.get_current_context()
        console = context.ensure_object(Console)
        level = console.log_level or ("debug" if console.debug else "info" if console.verbose else "warning")
        configure_logging(level, form=context.meta.get(_LOG_FORMAT, "text"))
        home = Home.locate(context.find_root().info_name or "retrieval", context.meta.get(_HOME), os.environ)
        return function(console, home, *args, **kwargs)

    return common_options(called)


def _set_on_console(context: click.Context, parameter: click.Parameter, value: object) -> None:
    # An option that was not given leaves what the group, or the environment, has set.
    if value:
        assert parameter.name is not None
        setattr(context.ensure_object(Console), parameter.name, value)


def _set_in_context(key: str) -> Callable[[click.Context, click.Parameter, object], None]:
    def store(context: click.Context, _parameter: click.Parameter, value: object) -> None:
        if value:
            context.meta[key] = value

    return store


def _option(*names: str, callback: Callable[[click.Context, click.Parameter, object], None], **attributes: Any) -> Callable[[Any], Any]:
    """A click option that hands its value to ``callback`` only. ``Any`` as in click's own signature."""
    return click.option(*names, expose_value=False, callback=callback, **attributes)


_OPTIONS: Final = (  # click lists them in the reverse of this order
    _option("--log-format", callback=_set_in_context(_LOG_FORMAT), type=click.Choice(FORMATS), help="How log lines are written."),
    _option("--log-level", callback=_set_on_console, type=click.Choice(LEVELS), help="Least important events to log."),
    _option("--debug", callback=_set_on_console, is_flag=True, help="Log everything; show tracebacks (also RETRIEVAL_DEBUG=1)."),
    _option("-v", "--verbose", callback=_set_on_console, is_flag=True, help="Say what is being done."),
    _option("--json", callback=_set_on_console, is_flag=True, help="Write JSON, as when the output is piped."),
    _option(
        "--home",
        callback=_set_in_context(_HOME),
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Where keys, settings and stores live (also RETRIEVAL_HOME).",
    ),
)
