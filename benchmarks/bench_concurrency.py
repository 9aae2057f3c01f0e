"""Does a provider give many clients together what it gives one, and each of them a fair share?"""

from __future__ import annotations

from typing import Final

from benchmarks.market import open_market
from benchmarks.measure import Setting, Sheet, take_turns
from benchmarks.processes import Json, Worker, cpu_seconds, start_worker
from retrieval.units import GIB, MIB

TOTAL_MIN: Final = 0.8
SHARE_MIN: Final = 1 / 3


def run(setting: Setting, sheet: Sheet) -> None:
    workload, n = setting.workload, setting.workload.n_clients
    with open_market(setting.folder / "market", paid=False) as market:
        lone_root, shared_root = market.add(workload.lone_bytes, seed=4), market.add(workload.client_bytes, seed=5)
        provider = market.serve()
        with start_worker("benchmarks.node_crowd") as crowd:

            def fetch(root: str, n_clients: int) -> Json:
                return _fetch(crowd, provider.address, provider.pid, root, n_clients)

            fetched = take_turns(setting.runs, {"lone": lambda: fetch(lone_root, 1), "all": lambda: fetch(shared_root, n)})
    rates = {label: [each["n_bytes"] / MIB / each["seconds"] for each in fetches] for label, fetches in fetched.items()}
    lone = sheet.add("one client", rates["lone"], "MiB/s")
    sheet.add(f"{n} clients, total against one client", rates["all"], "MiB/s", baseline=lone.value, target=TOTAL_MIN)
    smallest = [min(each["shares"]) for each in fetched["all"]]
    sheet.add(f"{n} clients: the smallest share of a fair one", smallest, "share", target=SHARE_MIN)
    for label, fetches in (("one client", fetched["lone"]), (f"{n} clients", fetched["all"])):
        sheet.add(f"{label}: provider", [each["cpu_s"] * GIB / each["n_bytes"] for each in fetches], "CPU s/GiB")


def _fetch(crowd: Worker, address: str, provider_pid: int, root: str, n_clients: int) -> Json:
    before = cpu_seconds(provider_pid)
    answer = crowd.ask(do="together", address=address, root=root, n=n_clients)
    return answer | {"cpu_s": cpu_seconds(provider_pid) - before}
