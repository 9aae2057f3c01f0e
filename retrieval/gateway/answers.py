"""What a request is answered with: which form of the content, under which headers, and of which pieces.

Reads the store, so it runs in a thread; it touches no socket. The same address gives the same bytes for as long as CIDs do, so nearly
everything may be kept for ever; the exceptions are the pages we make ourselves.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

from retrieval.cid import Cid, format_cid
from retrieval.dag.block import BlockKind, inline_payload, kind_of, not_held
from retrieval.dag.links import document
from retrieval.dag.lookup import EntityKind, Reached, Resolved, look, reach, resolve
from retrieval.dag.protobuf import malformed
from retrieval.dag.reader import RawPart
from retrieval.dag.walk import Walk
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.store.blocks import BlockStore

from . import pages
from .ask import Ask
from .bodies import Piece, block_pieces, car_pieces, file_pieces
from .conditions import has_it, wanted_bytes
from .denylist import NOTHING_DENIED, Denylist
from .formats import Format
from .media import SNIFFED_BYTES, media_type_by_beginning, media_type_by_name

FOR_EVER: Final = "public, max-age=29030400, immutable"
FOR_A_WEEK: Final = "public, max-age=604800, stale-while-revalidate=2678400"
"""Pages that we made: the content stays, the page about it may not."""
PATH_SHOWN_MAX: Final = 4096
"""Characters of ``X-Ipfs-Path``; a longer one is left out, since clients give up on headers of 8 KiB."""
_NOT_PLAIN: Final = re.compile(r'[^ -~]|["\\%]')
_QUERY_SAFE: Final = "%!$&'()*+,;=:@/?-._~"
INDEX_NAME: Final = "index.html"
SMALL_BYTES: Final = 64 << 10
"""A body up to this size is read at once: it leaves in one write with its headers, and what goes wrong with it has a status."""

SANDBOX: Final = "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads"
"""For content that a browser may run: every CID is served from one origin, so without it each could read what another stores there."""

_DOCUMENTS: Final = {
    EntityKind.DAG_JSON: Format.DAG_JSON,
    EntityKind.DAG_CBOR: Format.DAG_CBOR,
    EntityKind.JSON: Format.JSON,
    EntityKind.CBOR: Format.CBOR,
}
"""The form that a document has by itself."""
_SERVED_AS: Final = {
    Format.DAG_JSON: (EntityKind.DAG_JSON,),
    Format.DAG_CBOR: (EntityKind.DAG_CBOR,),
    Format.JSON: (EntityKind.JSON, EntityKind.DAG_JSON),
    Format.CBOR: (EntityKind.CBOR, EntityKind.DAG_CBOR),
}
"""The documents that have a form without being converted, which gateways no longer do (IPIP-524)."""
_UNIXFS: Final = (EntityKind.FILE, EntityKind.RAW, EntityKind.DIRECTORY, EntityKind.SYMLINK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to send."""

    status: int
    headers: Mapping[str, str]
    size: int | None
    """Bytes of the body; None where only sending it will tell."""
    pieces: Iterator[Piece] = field(default_factory=lambda: iter(()))
    form: Format | None = None

    @property
    def is_charged(self) -> bool:
        """Whether it is put to the till: it brings content."""
        return self.status in (200, 206) and self.size != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """One form of the content."""

    etag: str
    media_type: str
    size: int | None
    pieces: Callable[[int, int], Iterator[Piece]]
    """Those from one byte to before another; of a shape without a size always all."""
    disposition: str | None
    cache_control: str = FOR_EVER
    policy: str | None = SANDBOX
    """``Content-Security-Policy``."""
    form: Format | None = None
    found_through: tuple[Cid, ...] = ()
    """CIDs that lead to it, besides those of the path."""


def answer(store: BlockStore, ask: Ask, denylist: Denylist = NOTHING_DENIED) -> Answer:
    """The answer to a request, with its body still in the store.

    Raises ``RetrievalError`` as ``lookup.resolve`` does, and ``not_cached``, ``unsupported_format``, ``inside_document``,
    ``range_not_satisfiable``, ``content_gone``, ``content_restricted``.
    """
    denylist.require_allowed(ask.root, ask.path)
    try:
        reached = reach(store, ask.root, ask.path)
        denylist.require_all_allowed(reached.path_cids[1:])
        headers = _path_headers(ask, reached)
        shape = _verifiable(store, ask, reached, ask.wish.formats[0])
        if shape is None:
            found = look(store, reached)
            if _is_a_page(ask, found) and not ask.names_folder:
                return Answer(status=301, headers=headers | {"Location": _with_query(f"{ask.url_path}/", ask.query)}, size=0)
            shape = _shape(store, ask, found)
    except LocalProtocolError as error:
        if error.code is ErrorCode.NOT_FOUND and ask.only_if_held:
            raise RemoteProtocolError(ErrorCode.NOT_CACHED, error.detail) from error
        raise
    denylist.require_all_allowed(shape.found_through)
    return _conditional(ask, shape, headers | _shape_headers(ask, shape))


def _conditional(ask: Ask, shape: _Shape, headers: dict[str, str]) -> Answer:
    """As much of it as the client does not have."""
    if has_it(ask.if_none_match, shape.etag):
        return Answer(status=304, headers=headers, size=0)
    headers["Content-Type"] = shape.media_type
    if shape.size is None:
        return Answer(status=200, headers=headers, size=None, pieces=shape.pieces(0, 0), form=shape.form)
    wanted = wanted_bytes(ask.range, ask.if_range, shape.etag, shape.size)
    if wanted is None:
        return Answer(status=200, headers=headers, size=shape.size, pieces=shape.pieces(0, shape.size), form=shape.form)
    start, stop = wanted
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{shape.size}"
    return Answer(status=206, headers=headers, size=stop - start, pieces=shape.pieces(start, stop), form=shape.form)


def _verifiable(store: BlockStore, ask: Ask, reached: Reached, form: Format | None) -> _Shape | None:
    """A form that any block has, so that nobody need look at it."""
    match form:
        case Format.CAR:
            return _car(store, ask, reached)
        case Format.RAW:
            return _block(store, ask, reached)
        case _:
            return None


def _shape(store: BlockStore, ask: Ask, found: Resolved) -> _Shape:
    """The liked form among those the content has."""
    for form in ask.wish.formats:
        if (shape := _verifiable(store, ask, found, form)) is not None:
            return shape
        if form is None or (form in (Format.JSON, Format.CBOR) and found.kind in _UNIXFS):
            return _for_people(store, ask, found)  # a file is what it is, whatever it is hoped to be
        if found.kind in _SERVED_AS[form]:
            return _document(store, ask, found, form)
    asked = next(form for form in ask.wish.formats if form is not None)
    raise RemoteProtocolError(ErrorCode.UNSUPPORTED_FORMAT, f"{found.kind.value} is not converted to {asked.value}")


def _car(store: BlockStore, ask: Ask, reached: Reached) -> _Shape:
    _block_size(store, reached.cid)  # to find now, while it can be said, that it is not held
    dups = ask.wish.car_dups
    chosen = f"{ask.url_path} {ask.scope.name} {ask.byte_range} {dups}"
    root = format_cid(ask.root)
    return _Shape(
        etag=f'"{root}.car.{hashlib.sha256(chosen.encode()).hexdigest()[:16]}"',
        media_type=ask.wish.car_type,
        size=None,
        pieces=lambda start, stop: car_pieces(store, ask.root, Walk(ask.root, ask.path, ask.scope, ask.byte_range, repeats=dups)),
        disposition=_disposition("attachment", ask.filename or f"{root}.car"),
        policy=None,
        form=Format.CAR,
    )


def _block(store: BlockStore, ask: Ask, reached: Reached) -> _Shape:
    _require_whole(reached)
    cid, size = reached.cid, _block_size(store, reached.cid)
    return _Shape(
        etag=f'"{format_cid(cid)}.raw"',
        media_type=Format.RAW.media_type,
        size=size,
        pieces=lambda start, stop: block_pieces(cid, start, stop, size),
        disposition=_disposition("attachment", ask.filename or f"{format_cid(cid)}.bin"),
        policy=None,
        form=Format.RAW,
    )


def _document(store: BlockStore, ask: Ask, found: Resolved, form: Format) -> _Shape:
    """A document as its block has it."""
    _require_whole(found)
    cid, size = found.cid, _block_size(store, found.cid)
    is_json = form in (Format.JSON, Format.DAG_JSON)
    name = ask.filename or f"{format_cid(cid)}.{'json' if is_json else 'cbor'}"
    return _Shape(
        etag=f'"{format_cid(cid)}.{form.value}"',
        media_type=form.media_type,
        size=size,
        pieces=lambda start, stop: block_pieces(cid, start, stop, size),
        disposition=_disposition("inline" if is_json and not ask.download else "attachment", name),
        form=form,
    )


def _for_people(store: BlockStore, ask: Ask, found: Resolved) -> _Shape:
    if found.kind is EntityKind.DIRECTORY:
        return _directory(store, ask, found)
    if _is_a_page(ask, found):
        return _document_page(store, ask, found)
    if found.kind in _DOCUMENTS:
        return _document(store, ask, found, _DOCUMENTS[found.kind])
    return _file(store, ask, found, f'"{format_cid(found.cid)}"')


def _directory(store: BlockStore, ask: Ask, found: Resolved) -> _Shape:
    """Its index.html, or a page that lists it."""
    try:
        index = resolve(store, found.cid, (INDEX_NAME,))
    except RemoteProtocolError as error:
        if error.code is not ErrorCode.PATH_NOT_FOUND:
            raise
    else:
        if index.is_bytes:
            return replace(_file(store, ask, index, f'"{format_cid(found.cid)}"', name=INDEX_NAME), found_through=index.path_cids[1:])
    page = pages.directory_page(store, ask, found.cid)
    return _page(page, f'"DirIndex-{pages.VERSION}_CID-{format_cid(found.cid)}"')


def _document_page(store: BlockStore, ask: Ask, found: Resolved) -> _Shape:
    """What a document says, for a browser."""
    _require_whole(found)
    payload = b"".join(_held(store, block_pieces(found.cid, 0, _block_size(store, found.cid), _block_size(store, found.cid))))
    page = pages.document_page(ask, found.cid, document(found.cid, payload))
    return _page(page, f'"DagIndex-{pages.VERSION}_CID-{format_cid(found.cid)}"')


def _page(page: bytes, etag: str) -> _Shape:
    return _Shape(
        etag=etag,
        media_type="text/html; charset=utf-8",
        size=len(page),
        pieces=lambda start, stop: iter((page[start:stop],)),
        disposition=None,
        cache_control=FOR_A_WEEK,
        policy=pages.POLICY,
    )


def _file(store: BlockStore, ask: Ask, found: Resolved, etag: str, *, name: str | None = None) -> _Shape:
    cid, size, target = found.cid, found.size_bytes, found.target
    assert size is not None

    def body(start: int, stop: int) -> Iterator[Piece]:
        if target is not None:
            return iter((target[start:stop],))
        return block_pieces(cid, start, stop, size) if found.file is None else file_pieces(store, found.file, start, stop)

    name = name or ask.filename or (ask.path[-1] if ask.path else None)
    media_type = None if name is None else media_type_by_name(name)
    if target is not None:
        media_type = "inode/symlink"
    elif media_type is None:
        media_type = media_type_by_beginning(_head(store, body(0, min(size, SNIFFED_BYTES))), is_whole=size <= SNIFFED_BYTES)
    shown = None
    if ask.download or ask.filename is not None:
        shown = _disposition("attachment" if ask.download else "inline", name or format_cid(cid))
    return _Shape(etag=etag, media_type=media_type, size=size, pieces=body, disposition=shown)


def _head(store: BlockStore, pieces: Iterator[Piece]) -> bytes:
    """How a file begins, as far as its first blocks are held: a range that lies behind what is missing is served nevertheless."""
    head = b""
    try:
        for part in _held(store, pieces):
            head += part
    except LocalProtocolError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
    return head[:SNIFFED_BYTES]


def _held(store: BlockStore, pieces: Iterator[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        yield read_part(store, piece) if isinstance(piece, RawPart) else piece


def answer_at_once(
    store: BlockStore, ask: Ask, denylist: Denylist = NOTHING_DENIED, *, is_head: bool = False
) -> tuple[Answer, bytes | None]:
    """The answer, and all its bytes where they are wanted and few. Raises as ``answer`` and ``read_part``."""
    found = answer(store, ask, denylist)
    if is_head or not found.is_charged or found.size is None or found.size > SMALL_BYTES:
        return found, None
    content = b"".join(read_part(store, piece) if isinstance(piece, RawPart) else piece for piece in found.pieces)
    if len(content) != found.size:
        raise malformed(f"a file has {len(content)} bytes and claims {found.size}")
    return found, content


def read_part(store: BlockStore, part: RawPart) -> bytes:
    """The bytes of a part of a block. Raises ``LocalProtocolError(not_found)``, ``RemoteProtocolError(malformed_block)``."""
    found = store.view_many([part.cid], lambda views: None if views[0] is None else bytes(part.cut(views[0])))
    if found is None:
        raise not_held(part.cid)
    return found


def _is_a_page(ask: Ask, found: Resolved) -> bool:
    """Whether a page, whose links are relative to its folder, is what a browser gets."""
    if ask.wish.formats[0] is not None:
        return False
    if found.kind is EntityKind.DIRECTORY:
        return True
    return found.kind in (EntityKind.DAG_CBOR, EntityKind.DAG_JSON) and ask.wish.likes_pages and not ask.download


def _require_whole(found: Reached) -> None:
    if found.remainder:
        raise RemoteProtocolError(ErrorCode.INSIDE_DOCUMENT, f"{'/'.join(found.remainder)[:64]!r} of {format_cid(found.cid)}")


def _block_size(store: BlockStore, cid: Cid) -> int:
    if kind_of(cid) in (BlockKind.INLINE_LEAF, BlockKind.INLINE_NODE):
        return len(inline_payload(cid))
    size = store.size(cid)
    if size is None:
        raise not_held(cid)
    return size


def _path_headers(ask: Ask, found: Reached) -> dict[str, str]:
    shown = {"X-Ipfs-Path": ask.url_path} if len(ask.url_path) <= PATH_SHOWN_MAX else {}
    return shown | {"X-Ipfs-Roots": ",".join(map(format_cid, found.path_cids))}


def _shape_headers(ask: Ask, shape: _Shape) -> dict[str, str]:
    headers = {
        "Etag": shape.etag,
        "Cache-Control": shape.cache_control,
        "Vary": "Accept",
        "Accept-Ranges": "none" if shape.size is None else "bytes",
    }
    if shape.disposition is not None:
        headers["Content-Disposition"] = shape.disposition
    if shape.policy is not None:
        headers["Content-Security-Policy"] = shape.policy
    if shape.form is not None and not ask.wish.is_named_by_url and ask.wish.formats[0] is not None:
        headers["Content-Location"] = _with_query(ask.url_path, _named_form(ask, shape.form))
    return headers


def _named_form(ask: Ask, form: Format) -> str:
    """The query of an address that names what ``Accept`` chose."""
    named = f"format={form.value}"
    if form is Format.CAR and "car-dups=" not in ask.query:
        named += f"&car-dups={'y' if ask.wish.car_dups else 'n'}"
    return f"{ask.query}&{named}" if ask.query else named


def _with_query(path: str, query: str) -> str:
    return f"{path}?{quote(query, safe=_QUERY_SAFE)}" if query else path


def _disposition(how: str, name: str) -> str:
    """``Content-Disposition`` (RFC 6266): a name in ASCII for everybody, and the right one where that was not enough."""
    plain = _NOT_PLAIN.sub("_", name)
    shown = f'{how}; filename="{plain}"'
    return shown if plain == name else f"{shown}; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"
