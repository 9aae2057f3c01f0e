"""Trio. A measurement with somebody watching: a line for each fetch, and one error where a group of them was raised."""

from __future__ import annotations

from functools import partial

import trio

from retrieval.console import Console, show_duration, show_rate
from retrieval.home import Home

from ..unwrap import one_error
from .order import Order, carry_out
from .rounds import Measured


def measure_in_foreground(console: Console, home: Home, order: Order) -> list[Measured]:
    """Carry out an order. Raises ``RetrievalError``."""
    with one_error():
        return trio.run(partial(carry_out, home, order, on_fetch=partial(_tell, console, order.runs)))


def _tell(console: Console, runs: int, measured: Measured) -> None:
    head = f"{measured.source.name[:24]}, {measured.start.value} {measured.n_attempts} of {runs}"
    if measured.runs:
        last = measured.runs[-1]
        console.note(f"{head}: {show_duration(last.seconds)}, {show_rate(last.n_bytes / last.seconds)}")
    else:
        console.note(f"{head}: {measured.last_error}")
