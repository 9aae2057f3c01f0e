"""Logs: one event a line on stderr, for operators.

The rule: only our own modules speak below warnings. Libraries log whole requests at lower levels, and a request can carry an RPC token.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import Final, Literal

from retrieval.console.words import printable, show_time

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")
OUR_LOGGERS: Final = ("retrieval", "retrieval_provider", "retrieval_client")


def configure_logging(level: str, *, form: Literal["text", "json"] = "text") -> None:
    """Send events of ``level`` (one of LEVELS) and above to stderr. Calling it again changes the level and the form."""
    handler = _StderrHandler(as_json=form == "json", with_traceback=level == "debug")
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level.upper())


def logging_now() -> tuple[str, Literal["text", "json"]]:
    """Level and form as they were last configured: what to give a process of ours that is to log as this one does."""
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, _StderrHandler)]
    level = logging.getLevelName(logging.getLogger(OUR_LOGGERS[0]).getEffectiveLevel()).lower()
    return level if level in LEVELS else "warning", "json" if handlers and handlers[-1].is_json else "text"


class _StderrHandler(logging.Handler):
    """Writes to whatever sys.stderr is at the moment: while a progress bar is drawn, that is a stream which keeps clear of it."""

    def __init__(self, *, as_json: bool, with_traceback: bool) -> None:
        super().__init__()
        self.is_json: Final = as_json
        self._with_traceback: Final = with_traceback

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self._line(record))
            sys.stderr.flush()
        except (OSError, ValueError, TypeError):  # a closed stream, or arguments that do not fit their format
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            message += f": {type(error).__name__}: {error}"
        told = "".join(traceback.format_exception(error)) if error is not None and self._with_traceback else ""
        if self.is_json:
            event = {"time": show_time(record.created), "level": record.levelname.lower(), "logger": record.name, "message": message}
            return json.dumps(event | ({"traceback": told} if told else {})) + "\n"
        return f"{show_time(record.created)} {record.levelname.lower():7} {record.name}: {printable(message)}\n{told}"
