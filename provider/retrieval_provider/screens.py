"""The tables a person sees. Each function takes the very rows that a script gets as JSON, so that the two never differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TextIO

from retrieval.console import View, facts, show_amount, show_price, show_rate, show_size, table
from retrieval.units import format_amount

Row = Mapping[str, Any]  # one JSON object
ETHER_DECIMALS: Final = 18
ID_SHOWN: Final = 10  # characters of a channel's or transaction's id: enough to find it, and to claim by
TAIL_SHOWN: Final = 6  # characters of an id that only tells rows apart
WIDE_FROM: Final = 110  # columns of a terminal that has room for every column of a statement


def new_home(row: Row) -> View:
    gas = format_amount(int(row["gas_wei"]), decimals=ETHER_DECIMALS, symbol="ETH")
    lines = {"home": row["home"], "peer id": row["peer_id"], "paid to": row["receiver"]}
    if row["rpc"] is None:
        lines["chain"] = "none: name one with --rpc, or sell at a price of 0"
    else:
        gift = f", a gift of the development chain ({_id(row['gas_transaction'])})" if row["gas_transaction"] else ""
        lines |= {"chain": row["rpc"], "gas money": f"{gas}{gift}" if int(row["gas_wei"]) else f"none: send some to {row['receiver']}"}
    return facts(lines | {"next": "retrieval-provider add PATH, then retrieval-provider serve"})


def added(rows: Sequence[Row]) -> View:
    return table(
        ("root", "bytes", "blocks", "path"),
        [(row["root"], show_size(row["bytes"]), f"{row['blocks']:,}", row["path"]) for row in rows],
        numbers=("bytes", "blocks"),
    )


def pinned(rows: Sequence[Row]) -> View:
    return table(
        ("root", "name", "bytes", "blocks", "price"),
        [(row["root"], row["name"], show_size(row["bytes"]), f"{row['blocks']:,}", _price(row)) for row in rows],
        numbers=("bytes", "blocks", "price"),
        empty="nothing is pinned yet; `retrieval-provider add PATH` does it",
    )


def removed(row: Row) -> View:
    return facts({"removed": row["root"], "freed": f"{show_size(row['removed_bytes'])} in {_count(row['removed_blocks'], 'block')}"})


def prices(rows: Sequence[Row]) -> View:
    cells = [(row["cid"], show_price(int(row["price_per_gib"])), show_amount(int(row["flat_fee"]))) for row in rows]
    return table(("content", "price", "flat fee"), cells, numbers=("price", "flat fee"))


def status(row: Row) -> View:
    if row["serving"]:
        now = f"yes, by process {row['pid']}: {_count(row['sessions'], 'session')}, {_count(row['deals_open'], 'open deal')}"
    else:
        now = "no; `retrieval-provider serve` starts it"
    channels = f"{row['channels']:,}" + (f", {row['closing']} of them closing" if row["closing"] else "")
    return facts(
        {
            "serving": now,
            "peer id": row["peer_id"],
            "addresses": "\n".join(row["addresses"]) or "none while it does not serve",
            "paid on": row["rpc"] or "nothing: chain.rpc is empty",
            "paid to": row["receiver"],
            "content": f"{_count(row['roots'], 'root')}, {show_size(row['stored_bytes'])} of {show_size(row['stored_bytes_max'])}",
            "price": _price(row),
            "channels": channels,
            "earned": show_amount(int(row["earned"])),
            "claimed": show_amount(int(row["claimed"])),
            "unclaimed": show_amount(int(row["unclaimed"])),
            "at risk": _at_risk(row),
        }
    )


def operator(row: Row) -> View:
    if row["urls"]:
        page = "\n".join(f"{url}/?token={row['token']}" for url in row["urls"])
    elif row["serving"]:
        page = "none: `serve` runs without operator.listen; start it with --operator /ip4/127.0.0.1/tcp/4804"
    else:
        page = "none while it does not serve; `retrieval-provider serve --operator /ip4/127.0.0.1/tcp/4804` shows it"
    return facts({"your page": page, "token": row["token"]})


def serving(now: Row, recent: Sequence[Row]) -> tuple[View, View]:
    """What moves while a provider serves: its sums, and the deals that ended last."""
    sums = facts(
        {
            "serving": f"{_count(now['sessions'], 'session')}, {_count(now['deals_open'], 'open deal')}",
            "sending": f"{show_rate(now['bytes_per_s'])}, {show_size(now['sent_bytes'])} so far",
            "earned": show_amount(int(now["earned"])),
            "unclaimed": show_amount(int(now["unclaimed"])),
            "at risk": _at_risk(now),
        }
    )
    ended = table(
        ("root", "client", "bytes", "earned", "ended"),
        [
            (
                f"…{row['root'][-TAIL_SHOWN:]}",
                f"…{row['peer'][-TAIL_SHOWN:]}",
                show_size(row["bytes"]),
                show_amount(int(row["amount"])),
                row["outcome"],
            )
            for row in recent
        ],
        numbers=("bytes", "earned"),
        empty="No deal has ended yet. Ctrl-C stops.",
    )
    return sums, ended


def earnings(rows: Sequence[Row], by: str, *, width: int) -> View:
    """``width`` is that of the terminal: a narrow one shows when, what, how much and the claim; a wide one also who and which voucher."""
    if by not in ("deal", "receipt"):
        return _sums(rows, by)
    columns: dict[str, Callable[[Row], str]] = {
        "time": lambda row: row["time"][:16].replace("T", " "),
        "root": lambda row: f"…{row['root'][-TAIL_SHOWN:]}",
        "client": lambda row: f"…{(row['peer'] or row['payer'])[-TAIL_SHOWN:]}",
        "deal": lambda row: row["deal_id"][:TAIL_SHOWN],
        "bytes": lambda row: show_size(row["bytes"]),
        "earned": lambda row: show_amount(int(row["amount"])),
        "voucher": lambda row: show_amount(int(row["voucher_amount"])),
        "claim": _claims,
    }
    if by == "receipt":
        columns["deal"] = lambda row: f"{row['deal_id'][:TAIL_SHOWN]} #{row['sequence']}"
    if width < WIDE_FROM:
        del columns["client"], columns["voucher"]
    return table(
        list(columns),
        [[show(row) for show in columns.values()] for row in rows],
        numbers=("bytes", "earned", "voucher"),
        empty="nothing has been earned yet",
    )


def _sums(rows: Sequence[Row], by: str) -> View:
    return table(
        (by, "deals", "bytes", "earned", "claimed"),
        [
            (
                row[by] or "nobody: free",
                f"{row['deals']:,}",
                show_size(row["bytes"]),
                show_amount(int(row["amount"])),
                show_amount(int(row["claimed"])),
            )
            for row in rows
        ],
        numbers=("deals", "bytes", "earned", "claimed"),
        empty="nothing has been earned yet",
    )


def claimed(row: Row) -> View:
    if not row["channels"] and not row["transactions"]:
        return facts({"claimed": "nothing: there is no voucher above what was claimed"})
    return facts(
        {
            "claimed": f"{show_amount(int(row['claimed']))} over {_count(len(row['channels']), 'channel')}",
            "settled": f"{show_amount(int(row['settled']))} reached the receiver",
            "transactions": "\n".join(row["transactions"]) or "none were needed",
        }
    )


def audit(row: Row) -> View:
    return facts(
        {
            "journal": f"{row['entries']:,} entries; they replay to the live state",
            "head": row["head"],
            "deals": f"{row['deals']:,}, {row['deals_open']} of them open, the others with one outcome each",
            "channels": f"{row['channels']:,}; the deals of each sum to its best voucher",
            "earned": show_amount(int(row["earned"])),
            "claimed": show_amount(int(row["claimed"])),
            "paid to relays": show_amount(int(row["paid"])),
        }
    )


def settings(rows: Sequence[Row]) -> View:
    return table(("key", "value", "from"), [(row["key"], _value(row), row["from"]) for row in rows])


def write_csv(stream: TextIO, rows: Sequence[Row]) -> None:
    """Rows as CSV (RFC 4180) with a header; lists are joined by spaces."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({name: " ".join(value) if isinstance(value, list) else value for name, value in row.items()} for row in rows)
    stream.write(text.getvalue())


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _at_risk(row: Row) -> str:
    if not row["at_risk_bytes"]:
        return "nothing: all that was sent is paid"
    return f"{show_amount(int(row['at_risk']))} for {show_size(row['at_risk_bytes'])} sent and not paid"


def _value(row: Row) -> str:
    value = row["value"]
    if isinstance(value, list):
        return "\n".join(value)
    return f"{value} s" if row["kind"] == "seconds" else str(value)


def _price(row: Row) -> str:
    if int(row["price_per_gib"]) == 0 and int(row["flat_fee"]) == 0:
        return "free"
    fee = f" + {show_amount(int(row['flat_fee']))}" if int(row["flat_fee"]) else ""
    return show_price(int(row["price_per_gib"])) + fee


def _claims(row: Row) -> str:
    transactions = row["transactions"] if "transactions" in row else [row["transaction"]] if row["transaction"] else []
    if transactions:
        return _id(transactions[-1]) + (f" +{len(transactions) - 1}" if len(transactions) > 1 else "")
    return "claimed" if int(row["claimed"]) else "free" if row["channel"] is None else "not yet"


def _id(text: str) -> str:
    return f"{text[:ID_SHOWN]}…"
