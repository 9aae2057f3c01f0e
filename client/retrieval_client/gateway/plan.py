"""Which blocks a request is about: what must be here for its answer, and nothing beyond.

Pure but for the look at a directory. A range of a file is the nodes above it and its leaves; the head of an answer is a file's first
leaf, by which its type is told; a directory is its own blocks, and then its index.html.
"""

from __future__ import annotations

from typing import Final

from retrieval.dag.byterange import ByteRange
from retrieval.dag.lookup import EntityKind, look, reach
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.gateway.answers import INDEX_NAME
from retrieval.gateway.ask import Ask
from retrieval.gateway.conditions import part_of
from retrieval.gateway.formats import Format
from retrieval.gateway.media import SNIFFED_BYTES
from retrieval.store.blocks import BlockStore
from retrieval.wire.messages import Scope

from ..source import Source

HEAD_OF_FILE: Final = ByteRange(first=0, last=SNIFFED_BYTES - 1)


def wanted(ask: Ask, *, is_head: bool) -> Source:
    """What a request is about, as far as its address and headers tell."""
    match ask.wish.formats[0]:
        case Format.CAR if not is_head:
            return Source(root=ask.root, path=ask.path, scope=ask.scope, byte_range=ask.byte_range)
        case Format.CAR | Format.RAW:
            return Source(root=ask.root, path=ask.path, scope=Scope.BLOCK)
        case _:
            return Source(root=ask.root, path=ask.path, scope=Scope.ENTITY, byte_range=_part(ask, is_head=is_head))


def look_first(ask: Ask) -> Source | None:
    """What to look at before anything else, where that may be all: whoever has an answer already is asking whether it still holds."""
    if ask.if_none_match or (ask.if_range and ask.range):
        return Source(root=ask.root, path=ask.path, scope=Scope.BLOCK)
    return None


def index_of(store: BlockStore, ask: Ask, *, is_head: bool) -> Source | None:
    """What a directory shows instead of itself, where it has it. Raises as ``lookup.resolve`` does."""
    form = ask.wish.formats[0]
    if form in (Format.CAR, Format.RAW) or (form is None and not ask.names_folder):
        return None
    found = look(store, reach(store, ask.root, ask.path))
    if found.kind is not EntityKind.DIRECTORY:
        return None
    try:
        reach(store, found.cid, (INDEX_NAME,))
    except RemoteProtocolError as error:
        if error.code is not ErrorCode.PATH_NOT_FOUND:
            raise
        return None
    return Source(root=ask.root, path=(*ask.path, INDEX_NAME), scope=Scope.ENTITY, byte_range=_part(ask, is_head=is_head))


def _part(ask: Ask, *, is_head: bool) -> ByteRange | None:
    return HEAD_OF_FILE if is_head else part_of(ask.range)
