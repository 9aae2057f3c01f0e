"""The pages made here: what a directory holds, and what a document says.

Whatever is shown comes from strangers and is escaped; the pages run no script and load nothing. A page of fixed size is made of any
content: what is beyond the limits is counted, not shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from itertools import islice
from typing import Final
from urllib.parse import quote

from retrieval.cid import Cid, format_cid
from retrieval.dag import directory
from retrieval.dag.block import Loader
from retrieval.dag.datamodel import Link, Value
from retrieval.store.blocks import BlockStore
from retrieval.units import format_size

from .ask import PREFIX, Ask, content_path, quote_name

VERSION: Final = "2"
"""Of the pages' looks, in their tags: raise it with every change, so that nobody keeps the old ones."""
ENTRIES_MAX: Final = 2048
"""Entries of a directory that a page lists; they take some 40 ms of a processor."""
VALUES_MAX: Final = 4096
"""Values of a document that a page shows."""
TEXT_MAX: Final = 1024  # characters shown of one value

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --faint: #777; --link: #0b63c5; }
@media (prefers-color-scheme: dark) { :root { --link: #74b3ff; --faint: #999; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1 { font-size: 1.1rem; overflow-wrap: anywhere; margin: 0 0 .25rem; }
p { color: var(--faint); margin: 0 0 1rem; overflow-wrap: anywhere; font-size: .85rem; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
table { width: 100%; border-collapse: collapse; }
td { padding: .4rem .5rem; border-top: 1px solid var(--line); vertical-align: top; }
td:first-child { overflow-wrap: anywhere; }
td.size { text-align: right; white-space: nowrap; color: var(--faint); font-variant-numeric: tabular-nums; }
td.cid { width: 9rem; font: .8rem/1.9 ui-monospace, monospace; }
pre { font: .85rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 40rem) { td.cid { display: none; } }
"""


def directory_page(store: BlockStore, ask: Ask, cid: Cid) -> bytes:
    """The names in a directory, each a link. Raises as ``directory.list_entries`` does."""
    listed = directory.list_entries(Loader(store), cid)
    here = content_path(ask.path, ask.root_text)
    rows = [_row(here, entry.name or b"", entry.cid, entry.tsize) for entry in islice(listed, ENTRIES_MAX)]
    if ask.path:
        rows.insert(0, f'<tr><td><a href="{escape(here)}/..">..</a></td><td class="cid"></td><td class="size"></td></tr>')
    more = (
        ""
        if next(listed, None) is None
        else f"<p>Only the first {ENTRIES_MAX} entries are listed. All are there by name, and in a CAR.</p>"
    )
    return _page(ask, f"<p>{escape(format_cid(cid))}</p>", f"<table>{''.join(rows)}</table>{more}")


def document_page(ask: Ask, cid: Cid, value: Value) -> bytes:
    """A document as indented text whose links can be followed."""
    about = f'<p>{escape(format_cid(cid))} · <a href="{escape(content_path((), format_cid(cid)))}?format=raw">block</a></p>'
    lines = list(islice(_lines(value, ""), VALUES_MAX + 1))
    more = "" if len(lines) <= VALUES_MAX else f"<p>Only the first {VALUES_MAX} lines are shown.</p>"
    return _page(ask, about, f"<pre>{chr(10).join(lines[:VALUES_MAX])}</pre>{more}")


def _page(ask: Ask, about: str, body: str) -> bytes:
    title = escape("/".join([PREFIX.rstrip("/"), ask.root_text, *ask.path]))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Index of {title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body><h1>Index of {_crumbs(ask)}</h1>{about}\n{body}\n</body></html>\n"
    ).encode("utf-8", "replace")


def _crumbs(ask: Ask) -> str:
    """The path with a link to each folder on it."""
    names = (ask.root_text, *ask.path)
    links = (content_path(ask.path[:n], ask.root_text) for n in range(len(names)))
    return PREFIX + "/".join(f'<a href="{escape(link)}">{escape(name)}</a>' for name, link in zip(names, links, strict=True))


def _row(here: str, name: bytes, cid: Cid, size_bytes: int | None) -> str:
    shown = name.decode("utf-8", "replace")
    link = f"{here}/{quote_name(name.decode('utf-8', 'surrogateescape'))}"
    cid_text = format_cid(cid)
    by_cid = f"{PREFIX}{cid_text}?filename={quote(shown, safe='')}"
    size = "" if size_bytes is None else format_size(size_bytes)
    return (
        f'<tr><td><a href="{escape(link)}">{escape(shown)}</a></td>'
        f'<td class="cid"><a class="ipfs-hash" translate="no" href="{escape(by_cid)}">{_short(cid_text)}</a></td>'
        f'<td class="size">{size}</td></tr>'
    )


def _short(cid_text: str) -> str:
    return cid_text if len(cid_text) <= 16 else f"{cid_text[:4]}…{cid_text[-8:]}"


def _lines(value: Value, indent: str, before: str = "") -> Iterator[str]:
    """A value as escaped lines. It is not deeper than ``datamodel.DEPTH_MAX``."""
    match value:
        case Link(cid):
            yield f'{indent}{before}<a href="{PREFIX}{format_cid(cid)}">{format_cid(cid)}</a>'
        case dict() if value:
            yield f"{indent}{before}{{"
            for key, inner in value.items():
                yield from _lines(inner, f"{indent}  ", f"{_text(key)}: ")
            yield f"{indent}}}"
        case list() if value:
            yield f"{indent}{before}["
            for inner in value:
                yield from _lines(inner, f"{indent}  ")
            yield f"{indent}]"
        case bytes():
            yield f"{indent}{before}{len(value)} bytes {value[:32].hex()}{'…' if len(value) > 32 else ''}"
        case str():
            yield f"{indent}{before}{_text(value)}"
        case _:
            yield f"{indent}{before}{escape(json.dumps(value))}"


def _text(text: str) -> str:
    cut = text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
    return escape(json.dumps(cut, ensure_ascii=False))
