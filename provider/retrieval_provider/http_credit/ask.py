"""What a worker asks the node about an answer, and how it looks on the socket between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from retrieval.wire.messages import Selection

LINE_MAX: Final = 512 * 1024  # bytes; a path of 128 names in JSON escapes, an address and a payment take a third of it

Json: TypeAlias = dict[str, Any]  # written and read by this one package


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """An answer that a worker is about to send."""

    prefix: str
    """What limits count the client's address under."""
    target: str
    """The address that was asked for, after the host."""
    selection: Selection
    n_bytes: int
    """Of the body; of a CAR the most it can have."""
    payment: str | None
    """The header the client pays by."""


def ask_json(ask: Ask) -> Json:
    """An order as a worker sends it."""
    selection = ask.selection
    return {
        "prefix": ask.prefix,
        "target": ask.target,
        "root": selection.root.hex(),
        "path": selection.path,
        "scope": int(selection.scope),
        "range": [selection.range_start, selection.range_end],
        "n_bytes": ask.n_bytes,
        "payment": ask.payment,
    }


def read_ask(told: Json) -> Ask:
    return Ask(
        prefix=told["prefix"], target=told["target"], selection=read_selection(told), n_bytes=told["n_bytes"], payment=told["payment"]
    )


def read_selection(told: Json) -> Selection:
    start, end = told["range"]
    return Selection(root=bytes.fromhex(told["root"]), path=tuple(told["path"]), scope=told["scope"], range_start=start, range_end=end)
