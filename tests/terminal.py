"""Streams that say they are terminals, and a program to run on them."""

from __future__ import annotations

import io
import re

_CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        """What was written, without colours and cursor movements."""
        return _CONTROL_SEQUENCE.sub("", self.getvalue())

    @property
    def has_colours(self) -> bool:
        return _CONTROL_SEQUENCE.search(self.getvalue()) is not None
