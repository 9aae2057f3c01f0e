"""How many control messages does a core answer, and how long does an answer take while fifty sessions are busy?"""

from __future__ import annotations

import time
from typing import Final

from retrieval_client.bench.metrics import percentile

from benchmarks.machines import Customer, Shop
from benchmarks.market import open_market
from benchmarks.measure import Setting, Sheet
from benchmarks.processes import start_worker
from retrieval.ledger.state import MemoryStateStorage
from retrieval.units import MIB

FRAMES_PER_S_MIN: Final = 10_000
BUSY_P95_MAX_MS: Final = 50.0
BATCH: Final = 16
"""Queries a session may have open; the client forgets them with it."""
WARM_UP_S: Final = 1.0
"""Until the busy sessions are all in the middle of their content."""


def run(setting: Setting, sheet: Sheet) -> None:
    rates = [_answers_per_s(setting.workload.n_queries) for _ in range(setting.runs)]
    sheet.add("Query to signed Quote, in memory", rates, "/s", target=FRAMES_PER_S_MIN)
    _beside_busy_sessions(setting, sheet)


def _answers_per_s(n_queries: int) -> float:
    """Per second of CPU: the query's frame decoded and validated, the quote signed and encoded. Making the queries is not counted."""
    shop, busy_s, n_answered = Shop(MemoryStateStorage(), MIB), 0.0, 0
    while n_answered < n_queries:
        customer = Customer(shop)
        frames = [customer.query_frame() for _ in range(BATCH)]
        before = time.thread_time()
        for frame in frames:
            assert customer.answer(frame)
        busy_s += time.thread_time() - before
        n_answered += BATCH
    return n_answered / busy_s


def _beside_busy_sessions(setting: Setting, sheet: Sheet) -> None:
    workload = setting.workload
    idle, busy = [], []
    with open_market(setting.folder / "market", paid=False) as market:
        root, asked_for = market.add(workload.lone_bytes, seed=8), market.add(workload.page_bytes, seed=9)
        address = market.serve().address
        with start_worker("benchmarks.node_crowd") as asking, start_worker("benchmarks.node_crowd") as crowd:

            def ask() -> list[float]:
                answer = asking.ask(do="quotes", address=address, root=asked_for, n=workload.n_asked)
                return [1000 * seconds for seconds in answer["quotes_s"]]

            for _ in range(setting.runs):
                idle.append(percentile(ask(), 95))
                crowd.tell(do="busy", address=address, root=root, n=workload.n_busy)
                crowd.hear()
                time.sleep(WARM_UP_S)
                busy.append(percentile(ask(), 95))
                crowd.ask(do="rest")
    sheet.add("quote p95, provider idle", idle, "ms")
    sheet.add(f"quote p95, {workload.n_busy} sessions busy", busy, "ms", target=BUSY_P95_MAX_MS)
