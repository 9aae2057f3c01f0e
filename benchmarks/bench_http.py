"""Does the gateway send a file out of its store as fast as bare aiohttp sends as many bytes out of memory?"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.market import open_market
from benchmarks.measure import Setting, Sheet, take_turns
from benchmarks.processes import Json, Worker, cpu_seconds, start_worker
from retrieval.units import GIB, MIB

BARE_MIN: Final = 0.6
"""What a file must have of bare aiohttp's rate."""


def run(setting: Setting, sheet: Sheet) -> None:
    n_bytes = setting.workload.transfer_bytes
    with open_market(setting.folder / "market", paid=False) as market:
        root = market.add(n_bytes, seed=8)
        provider = market.serve_http()
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


def _read(reader: Worker, url: str, server_pid: int) -> Json:
    before = cpu_seconds(server_pid)
    answer = reader.ask(url=url)
    return answer | {"cpu_s": cpu_seconds(server_pid) - before}


def _children(pid: int) -> list[int]:
    """The kernel lists them by the thread that started each."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
