"""Deterministic files and directories, described by the small JSON objects of ``tests/vectors/unixfs.json``.

A file is ``{"size", "fill"}`` (``zeros``, or ``counter``: the SHA-256 of 0, 1, 2 … as eight big-endian bytes, one after another), a
symlink ``{"target"}``, a directory ``{"names": {name: node}}``, and a wide directory ``{"entries", "widen"}``: that many empty files,
numbered in eight digits, the last name widened by so many x's.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Node = Mapping[str, Any]


def content(node: Node) -> bytes:
    """The bytes of a file."""
    size = node["size"]
    if node["fill"] == "zeros":
        return bytes(size)
    assert node["fill"] == "counter"
    blocks = (hashlib.sha256(n.to_bytes(8, "big")).digest() for n in range(-(-size // 32)))
    return b"".join(blocks)[:size]


class Zeros(io.RawIOBase):
    """A stream of zero bytes that takes no memory."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        n = self._left if size < 0 else min(size, self._left)
        self._left -= n
        return bytes(n)


def make(node: Node, path: Path) -> Path:
    """Create what ``node`` describes at ``path``."""
    if "target" in node:
        path.symlink_to(node["target"])
    elif "names" in node:
        path.mkdir()
        for name, below in node["names"].items():
            make(below, path / name)
    elif "entries" in node:
        path.mkdir()
        for n in range(node["entries"]):
            (path / (f"{n:08d}" + "x" * (node["widen"] if n == node["entries"] - 1 else 0))).touch()
    else:
        path.write_bytes(content(node))
    return path
