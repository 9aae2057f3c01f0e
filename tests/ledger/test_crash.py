"""``kill -9`` at random moments: what was acknowledged is there, in a chain that checks, with the state it folds into."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from retrieval.ledger.journal import Entry, Journal
from retrieval.ledger.state import Row, StateView
from retrieval.store.lmdb import LmdbStateStorage

N_KILLS: Final = 12
N_ACKNOWLEDGED_MAX: Final = 150  # before the kill; a run writes a few hundred in the time of one start

WRITER: Final = """
import os, random, sys
from pathlib import Path
from test_crash import newest
from retrieval.ledger.journal import Journal, Record, RecordKind
from retrieval.store.lmdb import LmdbStateStorage

chance = random.Random(int(sys.argv[2]))
journal = Journal(LmdbStateStorage.open(Path(sys.argv[1]), command="crash test", map_bytes=1 << 18), newest)
while True:
    records = [
        Record(kind=RecordKind.PAYMENT, subject=bytes([chance.randrange(8)]), body=chance.randbytes(chance.randrange(4_000)))
        for _ in range(chance.choice((1, 1, 1, 32)))
    ]
    for entry in journal.append(records, 0):
        # One system call a line, so that a kill cannot leave half of one.
        os.write(1, f"{entry.sequence} {entry.hash.hex()}\\n".encode())
"""


def newest(state: StateView, entry: Entry) -> Iterable[Row]:
    """The newest entry of each subject."""
    yield Row(table="newest/1", key=entry.record.subject, value=entry.hash)


def acknowledged_until_killed(state: Path, seed: int) -> dict[int, str]:
    """Run the writer, kill it after a random number of acknowledgements, and return what it had acknowledged until then."""
    chance = random.Random(seed)
    n_wanted, acknowledged = chance.randrange(1, N_ACKNOWLEDGED_MAX), {}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", WRITER, str(state), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout is not None
        for n, line in enumerate(writer.stdout, start=1):
            sequence, entry_hash = line.split()
            acknowledged[int(sequence)] = entry_hash
            if n == n_wanted:
                writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    return acknowledged


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    acknowledged: dict[int, str] = {}
    for n_kill in range(N_KILLS // 2):
        acknowledged |= acknowledged_until_killed(tmp_path, seed * 1_000 + n_kill)
        storage = LmdbStateStorage.open(tmp_path, command="test")
        journal = Journal(storage, newest)
        assert journal.check() == journal.head
        found = {entry.sequence: entry.hash.hex() for entry in journal.iterate()}
        assert acknowledged.items() <= found.items(), f"lost after kill {n_kill} of seed {seed}"
        storage.close()
