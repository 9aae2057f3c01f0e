"""The tables of `radio status`, from the very rows that a script gets as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.console import View, facts, show_amount, show_duration


def status(row: Mapping[str, Any]) -> View:
    """What the radio is doing."""
    money = {
        "our relay": f"{row['receipts_held']} receipts held; {row['carriages_earned']} carriages earned {_usd(row['amount_earned'])}",
        "packets promised for": f"{row['packets_promised']}, {row['packets_delivered']} of them receipted",
        "relays are owed": f"{_usd(row['amount_owed'])}, of {_usd(row['amount_set_aside'])} set aside",
        "relays were paid": f"{_usd(row['amount_paid'])} for {row['carriages_paid']} carriages",
    }
    if not row["serving"]:
        return facts({"radio": "nobody serves over it now", **money})
    bands = [f"{show_duration(band['spent_us'] / 1e6)} of {show_duration(band['budget_us'] / 1e6)}" for band in row["bands"]]
    sent = ", ".join(f"{name.lower()} {count}" for name, count in row["sent_by_type"].items())
    return facts(
        {
            "port": f"{row['port']}, {'on the air' if row['online'] else 'gone, and tried again'}",
            "station": row["station"],
            "board": row["board"] or "not of our firmware: it carries nothing for others",
            "airtime": f"{show_duration(row['airtime_us'] / 1e6)} since it started" + (f"; {'; '.join(bands)}" if bands else ""),
            "frames": f"{row['frames_sent']} sent ({sent or 'none'}), {row['frames_heard']} heard, {row['frames_refused']} refused",
            "sessions": str(row["sessions"]),
            "nodes": "\n".join(map(_node, row["nodes"])) or "none heard yet",
            **money,
        }
    )


def _usd(amount: str) -> str:
    return show_amount(int(amount))


def _node(node: Mapping[str, Any]) -> str:
    relays = "a neighbour" if node["hops"] == 0 else f"over {node['hops']} relays for {show_amount(int(node['price']))} a packet"
    return f"{node['id']} {'+'.join(node['roles']).lower() or 'node'}, {relays}, {show_duration(node['heard_s_ago'])} ago"
