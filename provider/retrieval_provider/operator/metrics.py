"""Every metric there is, declared once: the name, what it counts, its labels.

The names are those that this project's dashboards use (``rm_`` for retrieval market). A label has few values, known beforehand or ours to
choose: never a CID, a peer, an address or a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets for what a client waits for: 50 ms and a second, which are promised, are bounds of their own."""
SHORT_SECONDS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
"""For what is computed and not waited for."""


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    name: str
    kind: Kind
    says: str
    """One sentence, with the unit where the name has none."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Of a histogram: upper bounds, rising; beyond the last there is one more."""


def _counter(name: str, says: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, says=says, labels=labels)


def _gauge(name: str, says: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, says=says, labels=labels)


def _histogram(name: str, says: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> Metric:
    return Metric(name=name, kind=Kind.HISTOGRAM, says=says, labels=labels, buckets=buckets)


# what clients do, over libp2p
SESSIONS: Final = _counter("rm_sessions_total", "Sessions by how they began: `served`, or `turned_away`.", "result")
QUERIES: Final = _counter("rm_queries_total", "Queries by their answer: `quoted`, `answered` (a past deal), `refused`.", "result")
OFFERS: Final = _counter("rm_offers_total", "Quotes: `made`, and `accepted`, for the first time or to go on.", "outcome")
OFFER_SECONDS: Final = _histogram("rm_offer_seconds", "From a query to its answer.")
DEALS: Final = _counter("rm_deals_total", "Deals by their end: `done`, `cancelled`, `refused`, `failed`.", "outcome")
TTFB_SECONDS: Final = _histogram(
    "rm_ttfb_seconds", "From an Accept (`libp2p`) or a request for content (`http`) to the first byte that leaves.", "over"
)
BYTES: Final = _counter("rm_bytes_total", "Bytes of content that left (`out`), by whether they had a price.", "dir", "over", "paid")
BLOCKS: Final = _counter("rm_blocks_total", "Blocks that left over libp2p.", "dir", "result")

# money
VOUCHERS: Final = _counter("rm_vouchers_total", "Payments by what became of them: `taken`, or the error they met.", "over", "result")
VOUCHER_SECONDS: Final = _histogram(
    "rm_voucher_verify_seconds", "To judge one payment over libp2p, its signatures included.", buckets=SHORT_SECONDS
)
RECEIPTS: Final = _counter("rm_receipts_total", "Receipts: `taken` from clients, `signed` for answers over HTTP.", "result")
SETTLEMENTS: Final = _counter("rm_settlements_total", "Rounds of claims by their end: `claimed`, `held_up`.", "result")
UNPAID_BYTES: Final = _gauge("rm_unpaid_bytes", "Bytes sent and not paid: what is at risk now.")
EARNED: Final = _gauge("rm_earned", "What vouchers promise and transfers brought, in the asset's smallest unit.", "asset")
UNCLAIMED: Final = _gauge("rm_unclaimed", "What a claim would still take, in the asset's smallest unit.", "asset")
CHANNEL_BALANCE: Final = _gauge("rm_channel_balance", "What the contract holds for us to claim from, in the smallest unit.", "asset")
CHANNELS: Final = _gauge("rm_channels", "Channels, by whether a withdrawal has begun: `open`, `closing`.", "state")
CHAIN_LAG_BLOCKS: Final = _gauge("rm_chain_lag_blocks", "Blocks that the chain is ahead of our last look at the channels.")

# the machine
CONNECTIONS: Final = _gauge("rm_connections", "Under way now: sessions (`libp2p`) and requests (`http`).", "role")
ERRORS: Final = _counter("rm_errors_total", "Errors that clients were told, by their registered label.", "over", "code")
RATE_LIMITED: Final = _counter("rm_rate_limited_total", "Clients told to come back later: at a `session`, a `query`, over `http`.", "scope")
JOURNAL_SECONDS: Final = _histogram("rm_journal_commit_seconds", "To put one group of records on disk.")
JOURNAL_RECORDS: Final = _counter("rm_journal_records_total", "Records put on disk, by kind.", "scope")
HTTP_REQUESTS: Final = _counter(
    "rm_http_requests_total",
    "Requests, by the template of their route; the status is `cut` where an answer did not leave whole.",
    "method",
    "route",
    "status",
)
HTTP_SECONDS: Final = _histogram("rm_http_request_seconds", "From a request to the end of its answer.", "route")
PROCESS_RESTARTS: Final = _counter("rm_process_restarts_total", "Processes that fell and were started again.", "process")
STORE_BYTES: Final = _gauge("rm_store_bytes", "Content held.")
STORE_BYTES_MAX: Final = _gauge("rm_store_bytes_max", "Content that may be held.")
READY: Final = _gauge("rm_ready", "Whether a check of /readyz passes: 1 or 0.", "check")
BUILD_INFO: Final = _gauge("rm_build_info", "Always 1; what runs is in the labels.", "version", "python")

ALL: Final = (
    *(SESSIONS, QUERIES, OFFERS, OFFER_SECONDS, DEALS, TTFB_SECONDS, BYTES, BLOCKS),
    *(VOUCHERS, VOUCHER_SECONDS, RECEIPTS, SETTLEMENTS, UNPAID_BYTES, EARNED, UNCLAIMED, CHANNEL_BALANCE, CHANNELS, CHAIN_LAG_BLOCKS),
    *(CONNECTIONS, ERRORS, RATE_LIMITED, JOURNAL_SECONDS, JOURNAL_RECORDS, HTTP_REQUESTS, HTTP_SECONDS, PROCESS_RESTARTS),
    *(STORE_BYTES, STORE_BYTES_MAX, READY, BUILD_INFO),
)
BY_NAME: Final = {metric.name: metric for metric in ALL}


def table() -> str:
    """The metrics as a table for a README."""
    rows = [f"| `{each.name}` | {each.kind.value} | {', '.join(f'`{name}`' for name in each.labels)} | {each.says} |" for each in ALL]
    return "\n".join(["| name | kind | labels | what it says |", "|---|---|---|---|", *rows]) + "\n"
