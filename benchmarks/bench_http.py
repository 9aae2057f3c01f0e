"""How fast does content come over HTTP, free and paid, beside bare aiohttp; how soon; from how many processes; and beside slow readers?"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Final

from retrieval_client.bench.metrics import percentile

from benchmarks.market import Market, Provider, open_market
from benchmarks.measure import Setting, Sheet, take_turns
from benchmarks.pair import Fetched
from benchmarks.peers import aiohttp_stream
from benchmarks.processes import Json, Worker, anonymous_bytes, cpu_seconds, start_worker
from retrieval.units import GIB, MIB

BARE_MIN: Final = 0.6
"""What a file must have of bare aiohttp's rate."""
PAID_BARE_MIN: Final = 0.5
PAID_MIN: Final = 500.0
FIRST_P95_MAX_MS: Final = 50.0
WORKERS: Final = (1, 2, 4)
N_READERS: Final = 4
"""Who read at the same time from so many processes."""
SLOW_RATE: Final = 32 << 10
"""Bytes a second of a slow reader: above what a server gives up on."""
SLOW_READERS_PER_SLOW: Final = 10
"""For each slow session of the benchmark of memory: an HTTP reader costs a tenth of one."""
UNHARMED_MIN: Final = 0.7
READER_KIB_MAX: Final = 512


def run(setting: Setting, sheet: Sheet) -> None:
    with open_market(setting.folder / "free", paid=False) as market:
        _answers(setting, sheet, market)
    with open_market(setting.folder / "paid", paid=True) as market:
        _purchases(setting, sheet, market)


def _answers(setting: Setting, sheet: Sheet, market: Market) -> None:
    """What the gateway sends, to readers that throw it away; and what our client makes of it."""
    n_bytes = setting.workload.transfer_bytes
    root = market.add(n_bytes, seed=8)
    provider = market.serve_http()
    client = market.new_web_client(provider)
    with start_worker("benchmarks.node_bare", str(n_bytes)) as bare, start_worker("benchmarks.node_reader") as reader:
        [gateway_pid] = _children(provider.pid)
        file = f"{provider.url}/ipfs/{root}"
        _read(reader, file, gateway_pid)  # maps the segments, which the first reader of a day waits for
        read = take_turns(
            setting.runs,
            {
                "bare aiohttp": lambda: _read(reader, bare.ready["url"], bare.pid),
                "a file": lambda: _read(reader, file, gateway_pid),
                "its DAG as a CAR": lambda: _read(reader, f"{file}?format=car", gateway_pid),
            },
        )
        rates = {label: [each["n_bytes"] / MIB / each["seconds"] for each in answers] for label, answers in read.items()}
        bare_rate = sheet.add("bare aiohttp, out of memory", rates.pop("bare aiohttp"), "MiB/s").value
        for label, samples in rates.items():
            sheet.add(f"{label}, against bare aiohttp", samples, "MiB/s", baseline=bare_rate, target=BARE_MIN)
        for label, answers in read.items():
            sheet.add(f"{label}: server", [each["cpu_s"] * GIB / each["n_bytes"] for each in answers], "CPU s/GiB")
        sheet.add("a file: first byte", [each["first_s"] * 1000 for each in read["a file"]], "ms")
        _slow_readers(setting, sheet, reader, file, gateway_pid)
    _transfers(setting, sheet, "free", market.peer(provider, client, root, over_http=True).fetch, target=BARE_MIN)
    _workers(setting, sheet, market, root)


def _purchases(setting: Setting, sheet: Sheet, market: Market) -> None:
    root, small = market.add(setting.workload.transfer_bytes, seed=8), market.add(setting.workload.link_bytes, seed=9)
    provider = market.serve_http()
    client = market.new_web_client(provider)
    rate = _transfers(setting, sheet, "paid", market.peer(provider, client, root, over_http=True).fetch, target=PAID_BARE_MIN)
    sheet.add("our client, paid: rate", rate, "MiB/s", target=PAID_MIN)
    with start_worker("benchmarks.node_client", client.path) as worker:
        firsts = [1000 * worker.ask(do="fetch", root=small, address=provider.url, out=None)["first_s"] for _ in range(3 * setting.runs)]
    sheet.add("paid, cold: first verified content, p95", [percentile(firsts, 95)], "ms", target=FIRST_P95_MAX_MS)
    sheet.add("paid, cold: first verified content, median", [percentile(firsts, 50)], "ms")
    _sdk(setting, sheet, market, provider, root)


def _transfers(setting: Setting, sheet: Sheet, label: str, fetch: Callable[[], Fetched], *, target: float) -> list[float]:
    """Our client, which verifies and stores, in turns with aiohttp's, which does neither; gives the rates."""
    with aiohttp_stream.open_peer(setting.workload.transfer_bytes) as bare:
        fetched = take_turns(setting.runs, {"bare": bare.fetch, "ours": fetch})
    rates = {name: [each.n_bytes / MIB / each.seconds for each in of_one] for name, of_one in fetched.items()}
    baseline = sheet.add(f"bare aiohttp, client and server, beside {label}", rates["bare"], "MiB/s").value
    sheet.add(f"our client, {label}, against bare aiohttp", rates["ours"], "MiB/s", baseline=baseline, target=target)
    sheet.add(f"our client, {label}: client", [each.client_cpu_s * GIB / each.n_bytes for each in fetched["ours"]], "CPU s/GiB")
    sheet.add(f"our client, {label}: node", [each.provider_cpu_s * GIB / each.n_bytes for each in fetched["ours"]], "CPU s/GiB")
    return rates["ours"]


def _sdk(setting: Setting, sheet: Sheet, market: Market, provider: Provider, root: str) -> None:
    """x402's own client: it neither verifies nor stores, and asks for the next range when the last is here."""
    label = "x402's client of PyPI, paid"
    if not setting.with_peers:
        return
    if importlib.util.find_spec("x402") is None:
        sheet.skip(label, "x402 is not installed")
        return
    with start_worker("benchmarks.node_x402", market.rpc) as worker:
        n_bytes, url = setting.workload.transfer_bytes, f"{provider.url}/ipfs/{root}"
        worker.ask(url=url, n_bytes=min(MIB, n_bytes))  # deposits
        rates = [
            answer["n_bytes"] / MIB / answer["seconds"] for answer in (worker.ask(url=url, n_bytes=n_bytes) for _ in range(setting.runs))
        ]
    sheet.add(label, rates, "MiB/s")


def _workers(setting: Setting, sheet: Sheet, market: Market, root: str) -> None:
    """Whether more processes send more, to readers that are processes too."""
    n_bytes, baseline = setting.workload.transfer_bytes, None
    for n_workers in WORKERS:
        provider = market.serve_http(workers=n_workers)
        url = f"{provider.url}/ipfs/{root}?format=car"
        with ExitStack() as until_read:
            readers = [until_read.enter_context(start_worker("benchmarks.node_reader")) for _ in range(N_READERS)]
            _read_all(readers, url)
            samples = [N_READERS * n_bytes / MIB / _read_all(readers, url) for _ in range(setting.runs)]
        if baseline is None:
            baseline = sheet.add(f"{N_READERS} readers, one process", samples, "MiB/s").value
        else:
            sheet.add(f"{N_READERS} readers, {n_workers} processes, against one", samples, "MiB/s", baseline=baseline)


def _read_all(readers: Sequence[Worker], url: str) -> float:
    """Seconds until the last has everything."""
    seconds: list[float] = []
    threads = [Thread(target=lambda each=each: seconds.append(each.ask(url=url)["seconds"])) for each in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(seconds)


def _slow_readers(setting: Setting, sheet: Sheet, reader: Worker, url: str, gateway_pid: int) -> None:
    """What many who hardly read cost the process that serves them, and who reads fast beside them."""
    n_slow = SLOW_READERS_PER_SLOW * setting.workload.n_slow
    n_bytes = setting.workload.transfer_bytes
    alone = [n_bytes / MIB / _read(reader, url, gateway_pid)["seconds"] for _ in range(setting.runs)]
    before = anonymous_bytes(gateway_pid)
    with start_worker("benchmarks.node_slow_readers") as slow:
        slow.ask(url=url, n=n_slow, rate=SLOW_RATE)
        beside = [n_bytes / MIB / _read(reader, url, gateway_pid)["seconds"] for _ in range(setting.runs)]
        held = anonymous_bytes(gateway_pid) - before
        slow.ask(stop=True)
    alone_rate = sheet.add(f"alone, before {n_slow:,} slow readers", alone, "MiB/s").value
    sheet.add(f"beside {n_slow:,} slow readers, against alone", beside, "MiB/s", baseline=alone_rate, target=UNHARMED_MIN)
    sheet.add(f"{n_slow:,} slow readers: memory of the process", [held / MIB], "MiB", target=n_slow * READER_KIB_MAX / 1024)


def _read(reader: Worker, url: str, server_pid: int) -> Json:
    before = cpu_seconds(server_pid)
    answer = reader.ask(url=url)
    return answer | {"cpu_s": cpu_seconds(server_pid) - before}


def _children(pid: int) -> list[int]:
    """The kernel lists them by the thread that started each."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
