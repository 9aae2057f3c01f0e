"""What to call bytes: the media type of a file, by its name or by how it begins.

Pure. The table of names is Python's own and not that of the machine, so that a file is called the same everywhere. What nobody
recognises is text where it can be, else ``application/octet-stream``.
"""

from __future__ import annotations

import codecs
import json
import re
from mimetypes import MimeTypes
from typing import Final

SNIFFED_BYTES: Final = 512
"""How much of a file is looked at; what browsers look at is no more (WHATWG, "MIME Sniffing")."""
OCTETS: Final = "application/octet-stream"

_BY_NAME: Final = MimeTypes()
for _extension, _media_type in {
    ".avif": "image/avif",
    ".car": "application/vnd.ipld.car",
    ".cbor": "application/cbor",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".md": "text/markdown",
    ".mkv": "video/x-matroska",
    ".ogg": "audio/ogg",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    _BY_NAME.add_type(_media_type, _extension)

_BEGINNINGS: Final = tuple(
    (re.compile(pattern, re.DOTALL), media_type)
    for pattern, media_type in (
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"RIFF....WEBP", "image/webp"),
        (rb"RIFF....WAVE", "audio/wav"),
        (rb"....ftypavif", "image/avif"),
        (rb"....ftyp", "video/mp4"),
        (rb"\x1aE\xdf\xa3.{0,32}webm", "video/webm"),
        (rb"\x1aE\xdf\xa3", "video/x-matroska"),
        (rb"OggS", "audio/ogg"),
        (rb"fLaC", "audio/flac"),
        (rb"ID3|\xff[\xf2\xf3\xfb]", "audio/mpeg"),
        (rb"%PDF-", "application/pdf"),
        (rb"PK\x03\x04", "application/zip"),
        (rb"\x1f\x8b\x08", "application/gzip"),
        (rb"\xfd7zXZ\0", "application/x-xz"),
        (rb"\x28\xb5\x2f\xfd", "application/zstd"),
        (rb"\0asm", "application/wasm"),
        (rb"wOF2", "font/woff2"),
    )
)
_MARKUP: Final = (
    (re.compile(rb"\s*(?:<!doctype html|<html|<head|<body)[\s>]", re.IGNORECASE), "text/html; charset=utf-8"),
    (re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg[\s>]", re.IGNORECASE | re.DOTALL), "image/svg+xml"),
    (re.compile(rb"\s*<\?xml\s"), "text/xml; charset=utf-8"),
)
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_JSON_BEGINS: Final = re.compile(rb'\s*(?:\{\s*(?:"|\})|\[\s*(?:["\[\]{0-9-]|true|false|null))')


def media_type_by_name(name: str) -> str | None:
    """The media type of a file with this name; None where the name says nothing."""
    media_type, encoding = _BY_NAME.guess_type(f"/{name}", strict=False)
    if encoding is not None or media_type is None:
        return None if media_type is None else f"application/{encoding}"
    return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


def media_type_by_beginning(head: bytes, *, is_whole: bool) -> str:
    """The media type of a file that begins with ``head``, its first ``SNIFFED_BYTES``, or all of it where ``is_whole``."""
    for beginning, media_type in _BEGINNINGS:
        if beginning.match(head):
            return media_type
    if not _is_text(head):
        return OCTETS
    for markup, media_type in _MARKUP:
        if markup.match(head):
            return media_type
    return "application/json" if _is_json(head, is_whole=is_whole) else "text/plain; charset=utf-8"


def _is_text(head: bytes) -> bool:
    """Whether it is UTF-8 without control characters; a letter may be cut at the end."""
    if _CONTROLS.search(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _is_json(head: bytes, *, is_whole: bool) -> bool:
    if not _JSON_BEGINS.match(head):
        return False
    if not is_whole:
        return True
    try:
        json.loads(head)
    except (ValueError, RecursionError):
        return False
    return True
