"""What a person asks for: ``CID`` or ``CID/path``, and everything that follows from the words alone."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.cid import Cid, format_cid, parse_cid
from retrieval.dag.byterange import ByteRange
from retrieval.dag.path import parse_path
from retrieval.dag.walk import Walk
from retrieval.wire.messages import Scope, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Content by name: what the path leads to, with all below it unless a scope says less."""

    root: Cid
    path: tuple[str, ...] = ()
    scope: Scope = Scope.ALL
    byte_range: ByteRange | None = None
    """With the scope ``entity``: the part of a file that is wanted."""

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read ``bafy…``, ``bafy…/docs/a.txt``, ``/ipfs/bafy…`` or ``ipfs://bafy…``.

        Raises ``RemoteProtocolError``: ``invalid_cid``, ``invalid_path``.
        """
        root, _, path = text.strip().removeprefix("ipfs://").removeprefix("/ipfs/").partition("/")
        return cls(root=parse_cid(root), path=parse_path(path))

    @classmethod
    def of(cls, selection: Selection) -> Source:
        """What a deal in the journal was about."""
        return cls(root=Cid(selection.root), path=selection.path, scope=Scope(selection.scope), byte_range=ByteRange.of(selection))

    def __str__(self) -> str:
        return "/".join((format_cid(self.root), *self.path))

    @property
    def is_everything(self) -> bool:
        """Whether all below what the path leads to is wanted: what ``str`` names."""
        return self.scope is Scope.ALL

    @property
    def name(self) -> str:
        """What to call the file or directory: the last name of the path, else the CID."""
        return self.path[-1] if self.path else format_cid(self.root)

    @property
    def selection(self) -> Selection:
        first, last = (None, None) if self.byte_range is None else (self.byte_range.first, self.byte_range.last)
        return Selection(root=self.root, path=self.path, scope=self.scope, range_start=first, range_end=last)

    def walk(self) -> Walk:
        """A walk at its beginning. Raises as ``Walk`` does."""
        return Walk(self.root, self.path, self.scope, self.byte_range)
