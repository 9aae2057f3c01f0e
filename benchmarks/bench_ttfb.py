"""How soon does the first verified byte come: warm, cold, and over a path of 50 ms each way?"""

from __future__ import annotations

from typing import Final

from retrieval_client.bench.metrics import percentile

from benchmarks.market import Market, Provider, open_market
from benchmarks.measure import Setting, Sheet
from benchmarks.processes import Json, Worker, start_worker
from benchmarks.proxy import MBIT, open_proxy
from retrieval.home import Home
from retrieval.units import MIB

DELAY_S: Final = 0.05
LINK_BITS_PER_S: Final = 200 * MBIT
LINK_RATE: Final = LINK_BITS_PER_S / 8 / MIB  # MiB/s
WARM_P95_MAX_MS: Final = 10.0
COLD_P95_MAX_MS: Final = 50.0
FAR_FIRST_MAX_S: Final = 1.0
LINK_SHARE_MIN: Final = 0.8


def run(setting: Setting, sheet: Sheet) -> None:
    workload = setting.workload
    with open_market(setting.folder / "market", paid=True) as market:
        pages = [market.add(workload.page_bytes, seed=100 + number) for number in range(workload.n_pages)]
        first, whole = market.add(workload.first_bytes, seed=2), market.add(workload.link_bytes, seed=3)
        provider = market.serve()
        client = market.new_client(provider)
        _on_loopback(setting, sheet, client, provider.address, pages)
        _far_away(setting, sheet, market, provider, first, whole)


def _on_loopback(setting: Setting, sheet: Sheet, client: Home, address: str, pages: list[str]) -> None:
    """Every round is a run: its percentiles are the samples."""
    connect, warm, cold = [], [], []
    for _ in range(setting.runs):
        with start_worker("benchmarks.node_client", client.path) as worker:
            answer = worker.ask(do="warm", roots=pages, address=address)
            connect.append(1000 * answer["connect_s"])
            warm.append([1000 * s for s in answer["first_s"]])
            cold.append([1000 * s for s in (_fetch(worker, page, address)["first_s"] for page in pages)])
    sheet.add("connect", connect, "ms")
    for label, rounds, target in (("warm", warm, WARM_P95_MAX_MS), ("cold", cold, COLD_P95_MAX_MS)):
        sheet.add(f"{label} p95", [percentile(samples, 95) for samples in rounds], "ms", target=target)
        sheet.add(f"{label} median", [percentile(samples, 50) for samples in rounds], "ms")


def _far_away(setting: Setting, sheet: Sheet, market: Market, provider: Provider, first: str, whole: str) -> None:
    client = market.new_client(provider)
    with open_proxy(provider.address, delay_s=DELAY_S) as far, start_worker("benchmarks.node_client", client.path) as worker:
        fetches = [_fetch(worker, first, far.address) for _ in range(setting.runs)]
        sheet.add("50 ms away, cold: first MiB verified and receipted", [each["seconds"] for each in fetches], "s", target=FAR_FIRST_MAX_S)
        sheet.add("50 ms away, cold: first verified byte", [each["first_s"] for each in fetches], "s")
    narrow = open_proxy(provider.address, delay_s=DELAY_S, bits_per_s=LINK_BITS_PER_S)
    with narrow as link, start_worker("benchmarks.node_client", client.path) as worker:
        fetches, overhead = [], []
        for _ in range(setting.runs):
            before = link.carried_bytes()
            fetches.append(_fetch(worker, whole, link.address))
            n_bytes = setting.workload.link_bytes
            overhead.append(100 * (link.carried_bytes() - before - n_bytes) / n_bytes)
        steady = [each["steady_bytes"] / MIB / each["steady_s"] for each in fetches if each["steady_s"]]
        if steady:
            metric = "200 Mbit/s, 50 ms away: first to last verified byte against the link"
            sheet.add(metric, steady, "MiB/s", baseline=LINK_RATE, target=LINK_SHARE_MIN)
        sheet.add("bytes on the wire beyond the file, both ways", overhead, "%")
        sheet.add("200 Mbit/s, 50 ms away, cold: total", [each["seconds"] for each in fetches], "s")


def _fetch(worker: Worker, root: str, address: str) -> Json:
    return worker.ask(do="fetch", root=root, address=address, out=None)
