"""The page: each section made of the very rows that its JSON has.

A section is replaced by itself while the page is open, so each stands alone. Without scripts the page is whole, and stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from retrieval.console import short_cid, show_amount, show_duration, show_price, show_rate, show_size, show_time

from .html import Child, Html, document, h
from .plots import Bar, bars, share

Row: TypeAlias = dict[str, Any]  # one JSON object
Column: TypeAlias = tuple[str, str, Callable[[Row], Child]]
"""Title, class, and what a cell shows. ``n`` is a number, ``id`` has many letters, ``wide`` is left out where there is little room."""

TITLE: Final = "Retrieval provider"
TAIL: Final = 6  # characters of an id that tell rows apart
ROWS: Final = 10
MARKS: Final = {"ok": "✓", "warning": "!", "failing": "✕"}


def whole(*, peer: str, parts: dict[str, Html]) -> bytes:
    """The page, with its sections by name."""
    top = h(
        "header",
        h("div", h("h1", TITLE), h("p", _id(peer), class_="peer")),
        h("form", h("button", "Sign out", type="submit"), method="post", action="/logout"),
    )
    silent = h("p", "The provider does not answer. What you see is as it was.", id="silent", hidden=True, role="status")
    sections = [h("section", found, id=name, class_="card" if name != "overview" else None) for name, found in parts.items()]
    return document([_HEAD, h("script", type="module", src="/page.js")], [top, h("main", silent, sections)])


def sign_in(*, is_refused: bool) -> bytes:
    """What is shown instead where nobody has shown a token."""
    how = ["This page needs the operator's token. ", h("code", "retrieval-provider operator"), " shows it, in a link that opens the page."]
    form = h(
        "form",
        h("h1", TITLE),
        h("p", how),
        h("p", "That was not the token.", class_="bad", role="alert") if is_refused else None,
        h("label", "Token", for_="token"),
        h("input", id="token", name="token", type="password", autocomplete="current-password", required=True, autofocus=True),
        h("button", "Sign in", type="submit"),
        method="post",
        action="/login",
        class_="card sign-in",
    )
    return document(_HEAD, h("main", form))


# sections


def overview(figures: Row, live: Row | None, today: Row, health: Row, last_claim_s: float | None, now_s: float) -> Html:
    """What matters most, in six numbers, and whether all is well."""
    wrong = [name for name, check in health["checks"].items() if check["state"] == "failing"]
    watch = [name for name, check in health["checks"].items() if check["state"] == "warning"]
    if wrong:
        pill = h("a", f"Not ready: {', '.join(wrong)}", href="#health", class_="pill failing")
    elif watch:
        pill = h("a", f"Ready; look at {', '.join(watch)}", href="#health", class_="pill warning")
    else:
        pill = h("a", "Ready", href="#health", class_="pill ok")
    at_risk = f"for {show_size(figures['at_risk_bytes'])} sent and not paid" if figures["at_risk_bytes"] else "all that was sent is paid"
    last_claim = "nothing was claimed yet" if last_claim_s is None else f"last claim {_ago(now_s - last_claim_s)}"
    if figures["earned"] == "0":
        claimed = "nothing yet"
    else:
        is_all = figures["claimed"] == figures["earned"]
        claimed = "all of it claimed" if is_all else f"{show_amount(int(figures['claimed']))} of it claimed"
    closing = f"{figures['closing']} closing" if figures["closing"] else "none is closing"
    tiles = [
        _tile("Earned", show_amount(int(figures["earned"])), claimed),
        _tile("Unclaimed", show_amount(int(figures["unclaimed"])), last_claim),
        _tile("At risk", show_amount(int(figures["at_risk"])), at_risk),
        _tile("Last 24 hours", show_amount(int(today["amount"])), f"{show_size(today['bytes'])} in {_count(today['deals'], 'deal')}"),
        _tile("Channels", f"{figures['channels']:,}", closing, is_watched=bool(figures["closing"])),
        _now_tile(live),
    ]
    return h("div", pill, h("div", tiles, class_="tiles"))


def over_time(rows: Sequence[Row], by: str) -> Html:
    """What was earned, hour by hour or day by day."""
    found = [
        Bar(
            label=row[by][5:10] if by == "day" else row[by][11:16],
            says=f"{_moment(row[by], by)}: {show_amount(int(row['amount']))} for {show_size(row['bytes'])}",
            lower=int(row["amount"]) - int(row["over_http"]),
            upper=int(row["over_http"]),
        )
        for row in rows
    ]
    total, most = sum(int(row["amount"]) for row in rows), max((int(row["amount"]) for row in rows), default=0)
    span = {"hour": f"last {len(rows)} hours", "day": f"last {len(rows)} days"}
    choice = [h("a", f"{unit}s", href=f"/?by={unit}#over_time", aria_current="true" if unit == by else None) for unit in ("hour", "day")]
    legend = h("p", h("i", class_="lower"), "libp2p ", h("i", class_="upper"), "HTTP ", h("span", "times are UTC"), class_="legend")
    about = f"{show_amount(total)} earned in the {span[by]}; the most in one {by} was {show_amount(most)}"
    return h(
        "div",
        _head(f"Earned per {by}", h("nav", choice, class_="choice")),
        h("p", h("b", show_amount(total)), f" in the {span[by]}", class_="note"),
        bars(found, top=show_amount(most) if most else "nothing yet", about=about),
        legend,
    )


def transfers(live: Row | None) -> Html:
    """What is on its way now."""
    if live is None:
        return h("div", _head("On its way now"), h("p", "The provider does not answer.", class_="empty"))
    rows = live["transfers"]
    more = live["n_transfers"] - len(rows)
    table = _table(
        rows,
        ("Content, client", "id", lambda row: [_cid(row["root"]), h("div", _over(row["over"]), " ", _who(row))]),
        ("Sent", "n", _progress),
        ("Rate, unpaid", "n", lambda row: [show_rate(row["bytes_per_s"]), h("div", _unpaid(row), class_="small")]),
        empty="Nothing is being sent.",
    )
    sessions = f"{_count(live['sessions'], 'session')} over libp2p, {_count(live['requests'], 'request')} over HTTP"
    return h("div", _head("On its way now", h("span", sessions, class_="note")), table, h("p", f"and {more} more") if more > 0 else None)


def payers(rows: Sequence[Row], n_rows: int) -> Html:
    """Who paid, the most first."""
    most = max((int(row["amount"]) for row in rows), default=0)
    table = _table(
        rows,
        ("Payer", "id", lambda row: _id(row["payer"]) if row["payer"] else "nobody: free"),
        ("", "wide", lambda row: share(int(row["amount"]), most)),
        ("Deals", "n", lambda row: f"{row['deals']:,}"),
        ("Sent", "n wide", lambda row: show_size(row["bytes"])),
        ("Earned, USD", "n", lambda row: _money(row["amount"])),
        empty="Nobody has bought anything yet.",
    )
    return h("div", _head("Payers", _of(len(rows), n_rows)), table)


def content(rows: Sequence[Row], n_rows: int, offset: int) -> Html:
    """What is held, what it costs and what it brought."""
    most = max((int(row["amount"]) for row in rows), default=0)
    table = _table(
        rows,
        ("Content", "id", lambda row: [h("b", row["name"], class_="name", title=row["name"]) if row["name"] else None, _cid(row["root"])]),
        ("", "wide", lambda row: share(int(row["amount"]), most)),
        ("Size", "n wide", lambda row: show_size(row["size"]) if row["pinned"] else h("span", "not held", class_="faint")),
        ("Price", "n wide", _price),
        ("Sent", "n", lambda row: show_size(row["bytes"]) if row["bytes"] else "–"),
        ("Earned, USD", "n", lambda row: _money(row["amount"]) if int(row["amount"]) else "–"),
        empty=["Nothing is pinned yet; ", h("code", "retrieval-provider add PATH"), " does it."],
    )
    return h("div", _head("Content", _of(len(rows), n_rows)), table, _pager("content", offset, len(rows), n_rows))


def prices(rows: Sequence[Row]) -> Html:
    """What is asked."""
    table = _table(
        rows[:ROWS],
        ("Content", "id", lambda row: _subject(row["cid"], is_alone=len(rows) == 1)),
        ("Price", "n", _price),
        empty="",
    )
    how = h("p", "Changed by ", h("code", "retrieval-provider price"), "; it counts from the next quote on.", class_="note")
    return h("div", _head("Prices", _of(min(len(rows), ROWS), len(rows))), table, how)


def channels(rows: Sequence[Row], n_rows: int, offset: int) -> Html:
    """Where the money lies."""
    table = _table(
        rows,
        ("Channel", "id", lambda row: h("code", row["channel"][:10], "…", title=row["channel"])),
        ("Payer", "id wide", lambda row: _id(row["payer"])),
        ("Over", "wide", lambda row: _over(row["over"])),
        ("Deposit, USD", "n wide", lambda row: _money(row["balance"])),
        ("Earned, USD", "n wide", lambda row: _money(row["promised"])),
        ("Unclaimed", "n", lambda row: _money(row["unclaimed"]) if int(row["unclaimed"]) else "–"),
        ("State", "", lambda row: _closing(row) if row["closing"] else h("span", "open", class_="faint")),
        empty="No channel yet: clients open one with their first deposit.",
    )
    return h("div", _head("Channels", _of(len(rows), n_rows)), table, _pager("channels", offset, len(rows), n_rows))


def deals(rows: Sequence[Row], n_rows: int, offset: int) -> Html:
    """Deals and answers over HTTP that were paid for, the newest first."""
    table = _table(
        rows,
        ("Time", "", lambda row: h("time", row["time"][5:16].replace("T", " "), datetime=row["time"])),
        ("Content", "id", lambda row: _cid(row["root"])),
        ("Client", "id wide", lambda row: _id(row["payer"] or row["peer"])),
        ("Over", "wide", lambda row: _over("libp2p" if row["peer"] else "http")),
        ("Sent", "n wide", lambda row: show_size(row["bytes"])),
        ("Earned, USD", "n", lambda row: _money(row["amount"])),
        ("Claim", "wide", _claim),
        ("End", "wide", lambda row: row["outcome"]),
        empty="No deal yet.",
    )
    return h("div", _head("Deals", _of(len(rows), n_rows)), table, _pager("deals", offset, len(rows), n_rows))


def health(found: Row) -> Html:
    """The checks of /readyz."""
    rows = [h("li", _mark(check["state"]), h("b", name), h("span", check["says"])) for name, check in found["checks"].items()]
    return h("div", _head("Health", h("span", "ready" if found["ready"] else "not ready", class_="note")), h("ul", rows, class_="checks"))


def errors(live: Row | None) -> Html:
    """What went wrong lately, the newest first."""
    rows = [] if live is None else live["errors"][::-1][:ROWS]
    table = _table(
        rows,
        ("Time", "", lambda row: h("time", show_time(row["time"])[5:16].replace("T", " "), datetime=show_time(row["time"]))),
        ("", "wide", lambda row: h("span", row["kind"], class_=f"tag {row['kind']}")),
        ("", "text", lambda row: row["says"]),
        empty="Nothing since it was started.",
    )
    return h("div", _head("Lately went wrong"), table)


# cells


def _table(rows: Sequence[Row], *columns: Column, empty: Child) -> Html:
    if not rows:
        return h("p", empty, class_="empty")
    head = h("tr", [h("th", title, class_=kind or None) for title, kind, _ in columns])
    body = [h("tr", [h("td", show(row), class_=kind or None) for _, kind, show in columns]) for row in rows]
    return h("div", h("table", h("thead", head), h("tbody", body)), class_="scroll")


def _head(title: str, *beside: Child) -> Html:
    return h("div", h("h2", title), beside, class_="head")


def _tile(title: str, number: str, below: str, *, is_watched: bool = False) -> Html:
    amount, _, unit = number.partition(" ")
    number_and_unit = h("p", amount, " ", h("small", unit), class_="number")
    return h("div", h("h3", title), number_and_unit, h("p", below, class_="watch" if is_watched else "faint"), class_="tile")


def _mark(state: str) -> Html:
    return h("span", MARKS[state], class_=f"mark {state}", title=state)


def _now_tile(live: Row | None) -> Html:
    if live is None:
        return _tile("Sending now", "?", "the provider does not answer", is_watched=True)
    rate = sum(row["bytes_per_s"] for row in live["transfers"])
    return _tile("Sending now", show_rate(rate), f"{_count(live['n_transfers'], 'transfer')} in {_count(live['sessions'], 'session')}")


def _pager(part: str, offset: int, n_shown: int, n_rows: int) -> Html | None:
    """Links to the rows before and behind these."""
    if n_rows <= ROWS:
        return None
    before = h("a", "‹ before", href=f"/?{part}={max(0, offset - ROWS)}#{part}") if offset else h("span", "‹ before", class_="faint")
    after = h("a", "next ›", href=f"/?{part}={offset + ROWS}#{part}") if offset + n_shown < n_rows else h("span", "next ›", class_="faint")
    return h("nav", before, h("span", f"{offset + 1:,} to {offset + n_shown:,} of {n_rows:,}"), after, class_="pager")


def _of(n_shown: int, n_rows: int) -> Html:
    return h("span", f"{n_rows:,}" if n_shown == n_rows else f"{n_shown} of {n_rows:,}", class_="note")


def _progress(row: Row) -> Child:
    if not row["bytes_max"]:
        return show_size(row["bytes"])
    done, of_all = min(row["bytes"], row["bytes_max"]), f" of {show_size(row['bytes_max'])}"
    bar = h("progress", max=row["bytes_max"], value=done, aria_label=show_size(done) + of_all)
    return [bar, h("span", show_size(done), h("span", of_all, class_="wide"))]


def _cid(cid: str) -> Html:
    return h("code", short_cid(cid), title=cid)


def _id(text: str | None) -> Html:
    """A peer id or an address: its end tells it apart."""
    if not text:
        return h("span", "–", class_="faint")
    return h("code", f"{text[:6]}…{text[-TAIL:]}", title=text)


def _who(row: Row) -> Html:
    if row["payer"]:
        return _id(row["payer"])
    return h("code", row["client"]) if row["over"] == "http" else _id(row["client"])


def _over(over: str) -> Html:
    return h("span", {"http": "HTTP"}.get(over, over), class_=f"tag {over}")


def _unpaid(row: Row) -> str:
    if row["over"] == "http":
        return "paid before" if row["payer"] else "free"
    return f"{show_size(row['unpaid_bytes'])} unpaid" if row["unpaid_bytes"] else "all paid"


def _subject(cid: str, *, is_alone: bool) -> Html | str:
    if cid != "default":
        return _cid(cid)
    return "all content" if is_alone else "all other content"


def _price(row: Row) -> str:
    per_gib, fee = int(row["price_per_gib"]), int(row["flat_fee"])
    if not per_gib and not fee:
        return "free"
    return show_price(per_gib) + (f" + {show_amount(fee)}" if fee else "")


def _money(amount: str) -> str:
    """An amount under a heading that names its unit."""
    return show_amount(int(amount)).partition(" ")[0]


def _closing(row: Row) -> Html:
    left = " ".join(show_duration(row["left_s"]).split()[:2])
    return h("span", f"closing, {left} left" if row["left_s"] else "may be withdrawn", class_="tag closing")


def _claim(row: Row) -> Child:
    if row["transactions"]:
        last = row["transactions"][-1]
        return h("code", f"{last[:8]}…", title=last)
    if int(row["claimed"]):
        return "claimed" if row["channel"] else "sent to us"
    return h("span", "not yet" if int(row["amount"]) else "free", class_="faint")


def _moment(text: str, by: str) -> str:
    return text if by == "day" else text.replace("T", " ").removesuffix("Z")


def _ago(seconds: float) -> str:
    return f"{show_duration(max(0.0, seconds))} ago"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


_HEAD: Final = [
    h("title", TITLE),
    h("meta", name="viewport", content="width=device-width, initial-scale=1"),
    h("meta", name="color-scheme", content="light dark"),
    h("link", rel="stylesheet", href="/page.css"),
    h("link", rel="icon", href="/icon.svg", type="image/svg+xml"),
]
