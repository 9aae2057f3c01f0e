"""What one request asks for, read out of its address and its headers.

Pure. The address is taken apart once, as it was sent: a name that decodes to something with a slash, a dot alone or a zero byte is
refused rather than resolved, so that what is asked, priced, cached and delivered is one thing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from retrieval.cid import Cid, parse_cid
from retrieval.dag.byterange import ByteRange
from retrieval.dag.path import encode_path
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.wire.messages import Scope

from .formats import Wish, wish_of

PREFIX: Final = "/ipfs/"
ADDRESS_MAX: Final = 8192
"""Characters of path and query: more than browsers show, and what proxies commonly let through."""
QUERY_FIELDS_MAX: Final = 32
FILENAME_MAX: Final = 255  # characters; the bytes of a name on most file systems

_KNOWN: Final = frozenset(["format", "dag-scope", "entity-bytes", "car-version", "car-order", "car-dups", "filename", "download"])
"""Query parameters that mean something here. The others are ignored: people add them to get past caches."""
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
CID_TEXT: Final = r"[A-Za-z0-9_-]+"
_CID_TEXT: Final = re.compile(CID_TEXT)
SCOPES: Final = {"block": Scope.BLOCK, "entity": Scope.ENTITY, "all": Scope.ALL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request for content."""

    root: Cid
    root_text: str
    """The CID as the client wrote it."""
    path: tuple[str, ...]
    names_folder: bool
    """Whether the address ends with a slash."""
    query: str
    """As it was sent, without the question mark."""
    wish: Wish
    scope: Scope
    byte_range: ByteRange | None
    """What a CAR is to hold of a file, where it is to hold a part."""
    filename: str | None
    """What a browser is to call the download."""
    download: bool
    only_if_held: bool
    if_none_match: str
    if_range: str
    range: str

    @property
    def url_path(self) -> str:
        """The path of the address, in its one canonical form but for the text of the CID."""
        return content_path(self.path, self.root_text) + ("/" if self.names_folder else "")


def content_path(path: tuple[str, ...], root_text: str) -> str:
    """The path of a URL that leads to ``path`` below a root, without a slash behind it."""
    return "/".join([PREFIX + quote(root_text, safe=""), *(quote_name(name) for name in path)])


def quote_name(name: str) -> str:
    """A name as it stands in an address."""
    return quote(name.encode("utf-8", "surrogateescape"), safe="!$&'()*+,;=:@-._~")


def read_ask(target: str, headers: Mapping[str, str]) -> Ask:
    """Read a request. ``target`` is the address after the host, ``headers`` are by their names in small letters.

    Raises ``RemoteProtocolError``: ``malformed_request``, ``address_too_long``, ``invalid_cid``, ``invalid_path``, ``invalid_range``,
    ``unsupported_format``, ``unknown_route``.
    """
    path_text, _, query_text = target.partition("?")
    if len(target) > ADDRESS_MAX:
        raise RemoteProtocolError(ErrorCode.ADDRESS_TOO_LONG, f"the address has {len(target)} characters, the limit is {ADDRESS_MAX}")
    if not path_text.startswith(PREFIX):
        raise RemoteProtocolError(ErrorCode.UNKNOWN_ROUTE, "an address begins with a slash")
    if _BROKEN_ESCAPE.search(path_text):
        raise RemoteProtocolError(ErrorCode.INVALID_PATH, "the address has a '%' that escapes nothing")
    root_text, *path = [
        unquote_to_bytes(name).decode("utf-8", "surrogateescape") for name in path_text[len(PREFIX) :].split("/") if name
    ] or [""]
    encode_path(path)
    query = read_query(query_text, _KNOWN)
    scope, byte_range = _scope_of(query)
    return Ask(
        root=parse_root(root_text),
        root_text=root_text,
        path=tuple(path),
        names_folder=path_text.endswith("/"),
        query=query_text,
        wish=wish_of(query, headers.get("accept", "")),
        scope=scope,
        byte_range=byte_range,
        filename=_filename(query.get("filename")),
        download=query.get("download") == "true",
        only_if_held="only-if-cached" in headers.get("cache-control", "").lower(),
        if_none_match=headers.get("if-none-match", ""),
        if_range=headers.get("if-range", ""),
        range=headers.get("range", ""),
    )


def parse_root(text: str) -> Cid:
    """The CID that an address names, and nothing that is only like one. Raises ``RemoteProtocolError(invalid_cid)``."""
    if _CID_TEXT.fullmatch(text) is None:
        raise RemoteProtocolError(ErrorCode.INVALID_CID, repr(text[:64]))
    return parse_cid(text)


def read_query(text: str, known: Collection[str]) -> dict[str, str]:
    """The parameters that are ``known``, each once; others are ignored. Raises ``RemoteProtocolError(malformed_request)``."""
    try:
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, "the query is no text, or has too many parameters") from error
    query: dict[str, str] = {}
    for name, value in fields:
        if name in known:
            if name in query:
                raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"the query says {name} twice")
            query[name] = value
    return query


def _scope_of(query: Mapping[str, str]) -> tuple[Scope, ByteRange | None]:
    """What ``dag-scope`` and ``entity-bytes`` say together; a part is always a part of an entity (IPIP-402)."""
    byte_range = ByteRange.parse(query["entity-bytes"]) if "entity-bytes" in query else None
    name = query.get("dag-scope", "all" if byte_range is None else "entity")
    if name not in SCOPES:
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, "dag-scope is 'block', 'entity' or 'all'")
    if byte_range is not None and name != "entity":
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, f"entity-bytes goes with dag-scope=entity, not with dag-scope={name}")
    return SCOPES[name], byte_range


def _filename(name: str | None) -> str | None:
    """A name to show in a header: without control characters, and without what would be a folder."""
    if name is None:
        return None
    shown = "".join(letter for letter in name.rpartition("/")[2] if letter.isprintable())[:FILENAME_MAX]
    return shown or None
