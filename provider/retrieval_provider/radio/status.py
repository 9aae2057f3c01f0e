"""What a provider's radio is doing, for a person or a script.

One rule: a running `serve` says what it does now; without one, the journal says what is on disk.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from typing import Final

from retrieval.deal import fold
from retrieval.deal.records import (
    RADIO_ID_SIZE,
    CarriageRecord,
    ChannelRecord,
    DeliveryRecord,
    LineRecord,
    PacketRecord,
    RelayReceiptRecord,
)
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home
from retrieval.identity import format_peer_id
from retrieval.ledger.state import StateView
from retrieval.radio.account import CLAIM_WITHIN_S
from retrieval.radio.proof import DeliveryReceipt
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.control import Json, call_control

from ..serving import Service
from .desk import Desk

ANSWER_DUE_S: Final = 5.0


def radio_status(home: Home) -> Json:
    """What `radio status` shows. Raises ``LocalProtocolError``."""
    try:
        live = call_control(home.require().control_path, "radio", {}, ANSWER_DUE_S)["radio"]
    except LocalProtocolError as error:
        if error.code is not ErrorCode.CONTROL_UNAVAILABLE:
            raise
        live = None
    if live is not None:
        return {"serving": True, **live}
    with closing(LmdbStateStorage.open_readonly(home.state_path)) as state:
        return {"serving": False, **_money(state, time.time())}


def status_of(desk: Desk, service: Service) -> Json:
    """The same of a desk that is open."""
    station, board, now = desk.station, desk.board, service.clock()
    counts = station.counts
    return {
        "port": board.port,
        "online": board.is_online,
        "connections": board.n_connections,
        "station": station.id.hex(),
        "board": None if desk.board_id is None else desk.board_id.hex(),
        "frames_heard": counts.heard,
        "frames_refused": counts.refused,
        "frames_sent": counts.sent,
        "frames_dropped": counts.dropped,
        "sent_by_type": dict(sorted(counts.by_type.items())),
        "airtime_us": counts.sent_us,
        "bands": [{"spent_us": spent, "budget_us": budget} for spent, budget in desk.duty],
        "sessions": len(station.sessions),
        "nodes": [
            {
                "id": id_.hex(),
                "peer_id": format_peer_id(node.peer),
                "roles": [] if node.advert is None else [role.name for role in node.advert.roles if role.name],
                "fee": None if node.advert is None else str(node.advert.fee),
                "hops": len(node.route),
                "price": str(sum(entry.fee for entry in node.route)),
                "latency_ms": node.way.latency_ms,
                "bandwidth_bps": node.way.bandwidth_bps,
                "heard_s_ago": round(now - node.heard_at),
            }
            for id_, node in reversed(station.nodes.items())
        ],
        **_money(service.state, now),
    }


def _money(state: StateView, now: float) -> Json:
    """What the journal knows: what our relay carried and earned, our own packets, and what relays of others are owed and were paid."""
    packets = dict(fold.scan(state, PacketRecord))
    spending = {key: row for key, row in fold.scan(state, ChannelRecord) if row.is_paid_by_us}
    earned, paid = list[int](), list[int]()
    by_packet = Counter[bytes]()
    for subject, row in fold.scan(state, CarriageRecord):
        if row.channel in spending:
            paid.append(row.amount)
            by_packet[subject[:-RADIO_ID_SIZE]] += row.amount
        else:
            earned.append(row.amount)
    asked = {key: sum(entry.fee for entry in DeliveryReceipt.decode(row.signed).trail) for key, row in fold.scan(state, DeliveryRecord)}
    lines = ((row, fold.get(state, LineRecord, key)) for key, row in spending.items())
    return {
        "receipts_held": sum(1 for _ in fold.scan(state, RelayReceiptRecord)),
        "carriages_earned": len(earned),
        "amount_earned": str(sum(earned)),
        "packets_promised": len(packets),
        "packets_delivered": sum(1 for row in packets.values() if row.delivery),
        "amount_owed": str(sum(max(0, asked[row.delivery] - by_packet[key]) for key, row in packets.items() if _may_be_claimed(row, now))),
        "carriages_paid": len(paid),
        "amount_paid": str(sum(paid)),
        "amount_set_aside": str(sum(row.balance - (line.best.amount if line and line.best else 0) for row, line in lines)),
    }


def _may_be_claimed(packet: PacketRecord, now: float) -> bool:
    return bool(packet.delivery) and packet.sent_ms > int((now - CLAIM_WITHIN_S) * 1000)
