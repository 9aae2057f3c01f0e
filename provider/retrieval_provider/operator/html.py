"""HTML, made so that text from outside stays text: what is not made by ``h`` is escaped by it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

VOID: Final = frozenset({"meta", "link", "input", "br"})


class Html(str):
    """Text that is HTML already. Only ``h``, ``join`` and ``page`` make it."""

    __slots__ = ()


Child: TypeAlias = "str | Html | Iterable[Child] | None"
Value: TypeAlias = str | int | float | bool | None


def h(tag: str, *children: Child, **attributes: Value) -> Html:
    """An element. Attributes end in an underscore where Python wants it, and have one for a dash; None and False leave one out."""
    named = "".join(_attribute(name, value) for name, value in attributes.items())
    return Html(f"<{tag}{named}>" if tag in VOID else f"<{tag}{named}>{join(children)}</{tag}>")


def join(children: Child) -> Html:
    """Children, one behind the other."""
    if children is None:
        return Html()
    if isinstance(children, str):
        return children if isinstance(children, Html) else Html(escape(children))
    return Html("".join(map(join, children)))


def document(head: Child, body: Child) -> bytes:
    """A whole page."""
    page = h("html", h("head", h("meta", charset="utf-8"), head), h("body", body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n".encode("utf-8", "replace")


def _attribute(name: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    shown = name.rstrip("_").replace("_", "-")
    return f" {shown}" if value is True else f' {shown}="{escape(str(value))}"'
