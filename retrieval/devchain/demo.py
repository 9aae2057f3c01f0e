"""The demo: a chain, a provider and a client as separate processes on this machine, and one retrieval sold, settled and proven.

One rule: it believes no program's word. It compares what arrived with what was sold, asks the chain what the provider received, and
has the receipt and both journals checked, each in a process of its own.
"""

from __future__ import annotations

import filecmp
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from retrieval import _native
from retrieval.console import show_amount, show_duration, show_rate, show_size
from retrieval.devchain.children import Child, ChildFailed, Children, Json
from retrieval.units import MIB

FILE_BYTES: Final = 64 * MIB
FILE_SEED: Final = 20_000  # of the bytes in the file that is sold when the caller names none: the same root CID everywhere
DEPOSIT: Final = "1 USD"
SLOW_BYTES_PER_S: Final = 1 * MIB  # a machine that moves less than this is stuck, not slow
PATIENCE_S: Final = 120
RPC_TIMEOUT_S: Final = 10
BALANCE_OF: Final = "0x70a08231"  # ERC-20 balanceOf(address)


class DemoFailed(Exception):
    """Something in the demo is not as it must be."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, readable=True), required=False)
@click.option("--keep", is_flag=True, help="Leave the homes, the receipt and the output where they are, to look around.")
def main(file: Path | None, keep: bool) -> None:
    """Sell FILE, a file or a directory (64 MiB made up here, when none is named), to a client on this machine."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us means our children too
    try:
        with _workplace(keep) as place:
            outcome = _Demo(place).run(file.resolve() if file is not None else None)
            if keep:
                _tell("kept", f"{place}: try `retrieval-client --home {place / 'client'} statement`")
    except (ChildFailed, DemoFailed) as error:
        sys.exit(f"demo failed: {error}")
    except KeyboardInterrupt:
        sys.exit("demo interrupted; its processes have ended")
    sys.stderr.flush()
    click.echo(json.dumps(outcome))


class _Demo:
    """One run, in one folder."""

    def __init__(self, place: Path) -> None:
        self._place: Final = place
        self._provider_home: Final = ("--home", place / "provider")
        self._client_home: Final = ("--home", place / "client")
        self._began: Final = time.monotonic()

    def run(self, file: Path | None) -> Json:
        if _native.NOTICE is not None:
            _tell("notice", _native.NOTICE)
        with Children(self._place) as children:
            return self._sell(children, file)
