"""How many vouchers does a core verify and record, each with its receipt, in the group commits of many sessions?"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.machines import WINDOW_BYTES, Customer, Shop
from benchmarks.measure import Setting, Sheet
from retrieval.deal.events import PaymentTaken
from retrieval.deal.step import NOTHING
from retrieval.ledger.journal import APPEND_MAX
from retrieval.store.lmdb import LmdbStateStorage

VOUCHERS_PER_S_MIN: Final = 5_000


def run(setting: Setting, sheet: Sheet) -> None:
    workload = setting.workload
    measured = [_record(setting.folder / f"state-{number}", workload.n_buyers, workload.n_payments) for number in range(setting.runs)]
    sheet.add("vouchers verified and recorded", [each["all"] for each in measured], "/s", target=VOUCHERS_PER_S_MIN)
    sheet.add("the same per second of CPU, the disk not waited for", [each["cpu"] for each in measured], "/s")
    sheet.add("of which decoding and checking alone", [each["check"] for each in measured], "/s")
    sheet.add("of which the group commit alone", [each["commit"] for each in measured], "/s")


def _record(folder: Path, n_buyers: int, n_payments: int) -> dict[str, float]:
    """Payments a second: of wall time, because a commit waits for the disk and that wait is part of it."""
    checking_s = committing_s = cpu_s = 0.0
    n_taken = 0
    with closing(LmdbStateStorage.open(folder, command="benchmark")) as storage:
        shop = Shop(storage, n_payments * WINDOW_BYTES)
        customers = [Customer(shop) for _ in range(n_buyers)]
        for customer in customers:
            customer.accept()
        for _ in range(n_payments):
            frames = [customer.next_payments() for customer in customers]
            began, cpu_before = time.perf_counter(), time.process_time()
            steps = [customer.take(paid) for customer, paid in zip(customers, frames, strict=True)]
            checked = time.perf_counter()
            records = sum(steps, NOTHING).records
            for start in range(0, len(records), APPEND_MAX):
                shop.journal.append(records[start : start + APPEND_MAX], 0)
            for customer, step in zip(customers, steps, strict=True):
                customer.serving.committed(step)
            committing_s += time.perf_counter() - checked
            cpu_s += time.process_time() - cpu_before
            checking_s += checked - began
            n_taken += sum(isinstance(event, PaymentTaken) for step in steps for event in step.events)
    assert n_taken >= n_buyers * n_payments, "every window is paid for at least once"
    return {
        "all": n_taken / (checking_s + committing_s),
        "cpu": n_taken / cpu_s,
        "check": n_taken / checking_s,
        "commit": n_taken / committing_s,
    }
