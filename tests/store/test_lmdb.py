"""What the state on disk does beyond its contract: growth, other processes, full disks, broken files, the lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import lmdb
import pytest
from script import CHILD_TIMEOUT_S, run_script

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.entry import GENESIS_HASH, Entry, Record, RecordKind, chain
from retrieval.ledger.state import Row
from retrieval.store.lmdb import LmdbStateStorage, StateLock

SMALL_MAP: Final = 256 << 10  # bytes; outgrown by the first megabyte


def entries(n: int, *, body_size: int = 16, after: Entry | None = None) -> list[Entry]:
    made: list[Entry] = []
    for _ in range(n):
        record = Record(kind=RecordKind.ADMIN, subject=b"s", body=bytes(body_size))
        after = chain(
            record,
            sequence=after.sequence + 1 if after else 1,
            time_ms=0,
            prev_hash=after.hash if after else GENESIS_HASH,
        )
        made.append(after)
    return made


# the map


def test_the_map_does_not_grow_with_every_start(tmp_path: Path) -> None:
    for n in range(64):
        storage = LmdbStateStorage.open(tmp_path, command="test", map_bytes=SMALL_MAP)
        storage.commit([], [Row(table="t/1", key=b"k", value=bytes([n]) * SMALL_MAP)])
        storage.close()
    with lmdb.open(str(tmp_path), readonly=True) as environment:
        environment.set_mapsize(0)  # takes the size from the file
        assert environment.info()["map_size"] <= 8 * SMALL_MAP


def test_the_state_map_grows_too(tmp_path: Path) -> None:
    storage = LmdbStateStorage.open(tmp_path, command="test", map_bytes=SMALL_MAP)
    written = entries(64, body_size=60_000)
    storage.commit(written, [Row(table="t/1", key=b"k", value=bytes(200_000))])
    with storage.snapshot() as stored:
        assert list(stored.entries()) == written
    storage.close()


# several processes


def test_state_is_read_beside_its_writer(tmp_path: Path) -> None:
    storage = LmdbStateStorage.open(tmp_path, command="test")
    storage.commit(entries(3), [Row(table="t/1", key=b"k", value=b"v")])
    script = """
import sys
from pathlib import Path
from retrieval.store.lmdb import LmdbStateStorage
storage = LmdbStateStorage.open_readonly(Path(sys.argv[1]))
with storage.snapshot() as stored:
    print(stored.last_entry().sequence, stored.get("t/1", b"k").decode())
"""
    assert run_script(script, tmp_path).stdout.split() == ["3", "v"]
    storage.close()


def test_a_reader_that_is_open_sees_later_commits(tmp_path: Path) -> None:
    storage = LmdbStateStorage.open(tmp_path, command="test")
    script = """
import sys
from pathlib import Path
from retrieval.store.lmdb import LmdbStateStorage
storage = LmdbStateStorage.open_readonly(Path(sys.argv[1]))
for line in sys.stdin:
    print(storage.get("t/1", b"k").decode(), flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        for value in ("first", "second"):
            storage.commit([], [Row(table="t/1", key=b"k", value=value.encode())])
            reader.stdin.write("read\n")
            reader.stdin.flush()
            assert reader.stdout.readline().strip() == value
        reader.stdin.close()
        assert reader.wait(CHILD_TIMEOUT_S) == 0
    storage.close()


def test_there_is_nothing_to_read_before_anything_was_written(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        LmdbStateStorage.open_readonly(tmp_path / "state")
    assert refused.value.code is ErrorCode.NOT_INITIALISED
    assert not (tmp_path / "state").exists()


def test_the_next_to_open_frees_the_slots_of_killed_readers(tmp_path: Path) -> None:
    storage = LmdbStateStorage.open(tmp_path, command="test")
    script = """
import os, signal, sys
from pathlib import Path
from retrieval.store.lmdb import LmdbStateStorage
storage = LmdbStateStorage.open_readonly(Path(sys.argv[1]))
with storage.snapshot():
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
"""
    readers = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True).readers())"
    killed = subprocess.Popen([sys.executable, "-c", script, tmp_path, "die"])
    assert killed.wait(CHILD_TIMEOUT_S) == -signal.SIGKILL
    assert str(killed.pid) in run_script(readers, tmp_path).stdout
    run_script(script, tmp_path, "live")
    assert str(killed.pid) not in run_script(readers, tmp_path).stdout
    storage.close()


# full disks


def test_a_full_disk_is_named_and_nothing_acknowledged_is_lost(tiny_disk: Path) -> None:
    storage = LmdbStateStorage.open(tiny_disk / "state", command="test")
    acknowledged: list[Entry] = []

    def fill_the_disk() -> None:
        while True:
            (entry,) = entries(1, body_size=50_000, after=acknowledged[-1] if acknowledged else None)
            storage.commit([entry], [])
            acknowledged.append(entry)

    with pytest.raises(LocalProtocolError) as refused:
        fill_the_disk()
    assert refused.value.code is ErrorCode.DISK_FULL
    with storage.snapshot() as stored:
        assert list(stored.entries()) == acknowledged
    storage.close()


# broken files


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(LocalProtocolError, match="state/") as refused:
        LmdbStateStorage.open(tmp_path / "state", command="test")
    assert refused.value.code is ErrorCode.FILE_UNREADABLE


def test_only_the_owner_may_enter(tmp_path: Path) -> None:
    LmdbStateStorage.open(tmp_path / "state", command="test").close()
    rights = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "state", *(tmp_path / "state").iterdir())}
    assert rights == {"state": 0, "data.mdb": 0, "lock.mdb": 0, "lock": 0}


# the lock


def test_a_second_writer_is_told_who_holds_the_state(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "state" / "lock", command="retrieval-provider serve")
    script = """
import sys
from pathlib import Path
from retrieval.errors import LocalProtocolError
from retrieval.store.lmdb import LmdbStateStorage
try:
    LmdbStateStorage.open(Path(sys.argv[1]), command="second")
except LocalProtocolError as error:
    print(error.code.label, error.detail, sep="|")
"""
    assert run_script(script, tmp_path / "state").stdout.strip() == f"state_locked|process {os.getpid()} (retrieval-provider serve)"
    lock.release()


def test_the_lock_ends_with_a_killed_holder(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from retrieval.store.lmdb import LmdbStateStorage
storage = LmdbStateStorage.open(Path(sys.argv[1]), command="first")
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LocalProtocolError) as refused:
            LmdbStateStorage.open(tmp_path, command="second")
        assert refused.value.code is ErrorCode.STATE_LOCKED
        assert refused.value.detail == f"process {holder.pid} (first)"
        holder.kill()
    LmdbStateStorage.open(tmp_path, command="second").close()


def test_a_waiting_writer_gets_its_turn(tmp_path: Path) -> None:
    first = LmdbStateStorage.open(tmp_path, command="first")
    opened: list[LmdbStateStorage] = []
    waiting = threading.Thread(target=lambda: opened.append(LmdbStateStorage.open(tmp_path, command="second", wait_s=CHILD_TIMEOUT_S)))
    waiting.start()
    first.close()
    waiting.join()
    opened[0].close()


def test_the_lock_is_free_again_when_opening_failed(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    for _ in range(2):
        with pytest.raises(LocalProtocolError) as refused:
            LmdbStateStorage.open(tmp_path, command="test")
        assert refused.value.code is ErrorCode.STORE_BROKEN


def test_an_overlong_command_is_cut(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "lock", command="é" * 1_000)
    with pytest.raises(LocalProtocolError, match=str(os.getpid())):
        StateLock(tmp_path / "lock", command="second")
    lock.release()
    lock.release()
