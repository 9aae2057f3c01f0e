"""The tables a person sees. Each function takes the very rows that a script gets as JSON, so that the two never differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Final, TextIO

from retrieval.console import View, facts, short_cid, show_amount, show_duration, show_price, show_rate, show_size, stacked, table

from .rows import Row

ID_SHOWN: Final = 10  # characters of a deal's or channel's id: enough to find it, and to close by
PEER_SHOWN: Final = 6  # last characters of a peer id: the first are the same for all


def new_home(row: Row) -> View:
    lines = {"home": row["home"], "peer id": row["peer_id"], "wallet": row["address"]}
    if row["rpc"] is None:
        lines["chain"] = "none: only free content can be fetched; name one with chain.rpc in config.toml"
    elif row["gas_from"] is None:
        lines["chain"] = f"{row['rpc']}, chain id {row['chain_id']}"
        lines["limits"] = "zero: nothing is spent until wallet.per_fetch in config.toml says how much"
    else:
        lines |= {
            "chain": f"{row['rpc']}, a development chain",
            "money": f"{_usd(row['minted'])} in test dollars, and gas money from {row['gas_from']}",
            "limits": f"{_usd(row['per_fetch'])} for one get (wallet.per_fetch in config.toml)",
        }
    return facts(lines | {"next": "retrieval-client fund '1 USD' --provider ADDR, then retrieval-client get CID --from ADDR"})


def funded(row: Row) -> View:
    sent = _usd(row["deposited"]) if row["sent"] else "nothing new: the deposit of an earlier, interrupted fund was found"
    return facts(
        {
            "channel": row["channel_id"],
            "deposited": sent,
            "balance": f"{_usd(row['balance'])}, {_usd(row['left'])} of it free",
            "provider": "has seen it" if row["confirmed"] else "waits for it to be confirmed; the first get shows it again",
        }
    )


def offer(row: Row) -> View:
    size = f"{show_size(row['bytes'])} in {row['blocks']:,} blocks"
    total = "free" if row["total"] == "0" else _usd(row["total"])
    fee = f" + {_usd(row['flat_fee'])}" if row["flat_fee"] != "0" else ""
    lines = {
        "content": "/".join(filter(None, (row["root"], row["path"]))),
        "size": size if row["exact"] else f"at most {size}",
        "price": show_price(int(row["price_per_gib"])) + fee,
        "total": total if row["exact"] else f"at most {total}",
        "valid for": show_duration(row["lifetime_s"]),
    }
    if row["channel_id"] is not None:
        lines["channel"] = f"{_usd(row['channel_left'])} free now, {_usd(row['left_after'])} after it"
    elif row["receiver"] is not None:
        lines["channel"] = "none that this provider knows; `retrieval-client fund` opens one"
    if not row["within_per_fetch"]:
        lines["limit"] = "above wallet.per_fetch: a get would refuse it"
    return facts(lines | {"signed": "by the provider; nothing by us"})


def price(row: Row) -> View:
    """What a gateway asks; nobody signed it."""
    fee = f" + {_usd(row['flat_fee'])}" if row["flat_fee"] != "0" else ""
    is_free = row["total"] == "0"
    lines = {
        "content": "/".join(filter(None, (row["root"], row["path"]))),
        "size": "not said" if is_free and not row["bytes"] else f"at most {show_size(row['bytes'])}",
        "price": "free" if is_free else show_price(int(row["price_per_gib"])) + fee,
        "total": "free" if is_free else f"at most {_usd(row['total'])}",
    }
    if not is_free:
        if row["free_bytes_per_day"]:
            lines["or less"] = (
                f"each address has {show_size(row['free_bytes_per_day'])} a day for nothing; what you have left of it is not in this"
            )
        lines["paid by"] = ", ".join(row["pays_by"])
    if not row["within_per_fetch"]:
        lines["limit"] = "above wallet.per_fetch: a get would refuse it"
    return facts(lines | {"signed": "by nobody: each answer says what it costs before it is paid"})


def retrieved(row: Row) -> View:
    lines = {"written": f"{row['path']}, {show_size(row['bytes'])} in {row['blocks']:,} blocks, every one verified"}
    if row["deal_id"] is None:
        return facts(lines | {"paid": "nothing: it was all here already"})
    rate = show_rate((row["bytes"] - min(row["bytes"], row["resumed_bytes"])) / max(row["seconds"], 0.001))
    lines["took"] = f"{show_duration(row['seconds'])} ({rate})"
    if row["ttfb_ms"] is not None:
        lines["took"] += f", the first block after {show_duration(row['ttfb_ms'] / 1000)}"
    if row["channel_open_ms"]:
        lines["channel"] = f"looked at or opened on the chain first, in {show_duration(row['channel_open_ms'] / 1000)}"
    if row["resumed_bytes"]:
        lines["resumed"] = f"{show_size(row['resumed_bytes'])} were here already, and cost nothing more"
    lines["paid"] = _usd(row["paid"]) if row["paid"] != "0" else "nothing: it is free"
    receipt = "countersigned by the provider; it checks" if row["receipt_verified"] else "signed by us only; the same get asks for the rest"
    return facts(lines | {"deal": row["deal_id"], "receipt": receipt})


def channels(rows: Sequence[Row]) -> View:
    """Amounts without their unit, so that six columns fit 80."""
    drawn = table(
        ("channel", "provider", "balance", "promised", "claimed", "left", "state"),
        [
            (_id(row["channel_id"]), _peer(row), *(_figure(row[name]) for name in ("balance", "promised", "claimed", "left")), row["state"])
            for row in rows
        ],
        numbers=("balance", "promised", "claimed", "left"),
        empty="there is no channel yet; `retrieval-client fund` opens one",
    )
    notes = {"amounts": "in USD"} if rows else {}
    for row in rows:
        if row["withdraw_at"]:
            notes[_id(row["channel_id"])] = (
                f"can be taken from {row['withdraw_at']} on: `retrieval-client close {row['channel_id'][:ID_SHOWN]}`"
            )
    return stacked(drawn, facts(notes)) if notes else drawn


def closing(row: Row) -> View:
    said = {
        "closing": f"{_usd(row['amount'])} can be taken from {row['withdraw_at']} on: run the same command then",
        "closed": f"{_usd(row['amount'])} came back to {row['payer']}",
    }
    return facts(
        {
            "channel": row["channel_id"],
            "state": row["state"],
            "money": "nothing is left in it" if row["amount"] == "0" else said[row["state"]],
        }
    )


def statement(row: Row) -> View:
    """The deals, then each channel's sum beside its voucher."""
    return stacked(
        table(
            ("time", "content", "provider", "bytes", "paid", "outcome"),
            [
                (_minute(deal), _content(deal), _peer(deal), show_size(deal["bytes"]), _usd(deal["paid"]), deal["outcome"])
                for deal in row["deals"]
            ],
            numbers=("bytes", "paid"),
            empty="nothing was fetched yet",
        ),
        table(
            ("channel", "provider", "deals", "paid", "voucher", "agrees"),
            [
                (
                    _id(line["channel_id"]),
                    _peer(line),
                    f"{line['deals']:,}",
                    _usd(line["paid"]),
                    _usd(line["promised"]),
                    "yes" if line["agrees"] else "no",
                )
                for line in row["channels"]
            ],
            numbers=("deals", "paid", "voucher"),
            empty="no channel was ever funded",
        ),
        facts({"paid in all": _usd(row["paid"])}),
    )


def receipts(rows: Sequence[Row]) -> View:
    return table(
        ("time", "deal", "content", "paid", "status"),
        [
            (
                _minute(row),
                row["deal_id"][:ID_SHOWN],
                _content(row),
                _usd(row["paid"]),
                "ours only" if row["status"] == "client_signed_only" else row["status"],
            )
            for row in rows
        ],
        numbers=("paid",),
        empty="there is no receipt yet",
    )


def new_token(row: Row) -> View:
    return stacked(facts({"token": row["token"], "shown": "now, and never again"}), tokens([row]))


def tokens(rows: Sequence[Row]) -> View:
    return table(
        ("id", "name", "scopes", "cap", "a request", "spent", "good for", "expires", "state"),
        [
            (
                row["id"][:ID_SHOWN],
                row["name"],
                ", ".join(row["scopes"]),
                _usd(row["cap"]),
                _usd(row["per_request"]),
                _usd(str(int(row["spent"]) + int(row["held"]))),
                "\n".join(row["origins"]) or "any",
                row["expires"],
                row["state"],
            )
            for row in rows
        ],
        numbers=("cap", "a request", "spent"),
        empty="there is no token yet",
    )


def exported(rows: Sequence[Row]) -> View:
    return table(
        ("deal", "file", "status"), [(row["deal_id"], row["path"], row["status"]) for row in rows], empty="there is no receipt yet"
    )


def proof(row: Row, *, apart: bool = False) -> View:
    """``apart`` leaves a line below, where another follows."""
    signed = "both parties" if row["status"] == "verified" else "the client only: the provider has not confirmed it"
    covered = f"{row['bytes']:,} bytes in {row['blocks']:,} blocks" + (", all of it" if row["complete"] else "")
    if row["blocks_before"]:
        covered += f", after {row['blocks_before']:,} blocks that the client had before"
    lines = {
        "file": row["file"],
        "status": row["status"],
        "signed by": signed,
        "content": "/".join(filter(None, (row["root"], row["path"]))),
        "delivered": covered,
        "paid": f"{_usd(row['paid'])} at {show_price(int(row['price_per_gib']))}" if row["channel_id"] else "nothing: it was free",
        "provider": row["provider"],
        "client": row["client"],
        "deal": row["deal_id"],
    }
    if row["channel_id"]:
        lines |= {"channel": row["channel_id"], "paid to": f"{row['receiver']} on chain {row['chain_id']}"}
    drawn = facts(lines | {"time": f"{row['time']}, by the client's clock"})
    return stacked(drawn, "") if apart else drawn


def sale(row: Row, *, apart: bool = False) -> View:
    """The receipt of an answer over HTTP; ``apart`` as for ``proof``."""
    lines = {
        "file": row["file"],
        "status": row["status"],
        "signed by": "the provider" + (", and the payer's voucher covers it" if row["channel_id"] else ""),
        "content": "/".join(filter(None, (row["root"], row["path"]))),
        "sold": f"{row['bytes']:,} bytes over HTTP",
        "paid": f"{_usd(row['paid'])} at {show_price(int(row['price_per_gib']))}",
        "provider": row["provider"],
        "payer": row["payer"],
        "order": row["order_id"],
        "paid to": f"{row['receiver']} on chain {row['chain_id']}",
    }
    if row["channel_id"]:
        lines["channel"] = row["channel_id"]
    drawn = facts(lines | {"time": f"{row['time']}, by the provider's clock"})
    return stacked(drawn, "") if apart else drawn


def audit(row: Row) -> View:
    return facts(
        {
            "journal": f"{row['entries']:,} entries; they replay to the live state",
            "head": row["head"],
            "deals": f"{row['deals']:,}, {row['deals_open']} of them open, the others with one outcome each",
            "channels": f"{row['channels']:,}; the deals of each sum to its voucher",
            "paid": _usd(row["paid"]),
        }
    )


def write_csv(stream: TextIO, rows: Sequence[Row]) -> None:
    """Rows as CSV (RFC 4180) with a header."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    stream.write(text.getvalue())


def _usd(amount: str) -> str:
    return show_amount(int(amount))


def _figure(amount: str) -> str:
    return _usd(amount).removesuffix(" USD")


def _id(text: str) -> str:
    return f"{text[:ID_SHOWN]}…"


def _peer(row: Row) -> str:
    return f"…{row['provider'][-PEER_SHOWN:]}"


def _minute(row: Row) -> str:
    """Month, day and time; the year is in the JSON."""
    return str(row["time"][5:16].replace("T", " "))


def _content(row: Row) -> str:
    return "/".join(filter(None, (short_cid(row["root"]), row["path"])))
