"""What the stores on disk do beyond their contracts: growth, other processes, full disks, broken files, the lock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb
import pytest

from retrieval.cid import RAW, Cid, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.ledger.entry import GENESIS_HASH, Entry, Record, RecordKind, chain
from retrieval.ledger.state import Row
from retrieval.store.blocks import Root
from retrieval.store.lmdb import LmdbBlockStore, LmdbStateStorage, StateLock

MIB: Final = 1 << 20
SMALL_MAP: Final = 256 << 10  # bytes; outgrown by the first megabyte
CHILD_TIMEOUT_S: Final = 60


def block(payload: bytes) -> tuple[Cid, bytes]:
    return cid_of(RAW, payload), payload


def numbered(n: int, size: int = MIB) -> tuple[Cid, bytes]:
    return block(n.to_bytes(4, "big") * (size // 4))


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


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in another process to its end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=True)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs; the RLIMIT_FSIZE tests cover the rest")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs may be mounted here: {mounted.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


# the map


def test_the_map_grows_with_what_is_put(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=1 << 40, map_bytes=SMALL_MAP)
    blocks = [numbered(n) for n in range(8)]
    store.put_many(blocks)
    assert store.read_many([cid for cid, _ in blocks]) == [payload for _, payload in blocks]
    store.close()


def test_a_grown_store_opens_again_with_a_small_map(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=1 << 40, map_bytes=SMALL_MAP)
    store.put_many([numbered(1)])
    store.close()
    store = LmdbBlockStore(tmp_path, bytes_max=1 << 40, map_bytes=SMALL_MAP)
    store.put_many([numbered(2)])
    assert store.bytes_used() == 2 * MIB
    store.close()


def test_the_map_does_not_grow_with_every_start(tmp_path: Path) -> None:
    for n in range(64):
        storage = LmdbStateStorage.open(tmp_path, command="test", map_bytes=SMALL_MAP)
        storage.commit([], [Row(table="t/1", key=b"k", value=bytes([n]) * SMALL_MAP)])
        storage.close()
    with lmdb.open(str(tmp_path), readonly=True) as environment:
        environment.set_mapsize(0)  # takes the size from the file
        assert environment.info()["map_size"] <= 8 * SMALL_MAP


def test_a_map_grown_by_another_process_is_followed(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=1 << 40, map_bytes=SMALL_MAP)
    python(
        """
import sys
from pathlib import Path
from retrieval.cid import RAW, cid_of
from retrieval.store.lmdb import LmdbBlockStore
store = LmdbBlockStore(Path(sys.argv[1]), bytes_max=1 << 40, map_bytes=int(sys.argv[2]))
payloads = [n.to_bytes(4, "big") * (1 << 18) for n in range(4)]
store.put_many((cid_of(RAW, payload), payload) for payload in payloads)
""",
        tmp_path,
        SMALL_MAP,
    )
    cid, payload = numbered(3)
    assert store.get(cid) == payload
    store.put_many([numbered(4)])
    assert store.bytes_used() == 5 * MIB
    store.close()


def test_readers_in_other_threads_survive_the_map_growing_under_them(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=1 << 40, map_bytes=SMALL_MAP)
    cid, payload = numbered(0, 64 << 10)
    store.put_many([(cid, payload)])
    written, wrong = threading.Event(), []

    def read() -> None:
        while not written.is_set():
            if store.get(cid) != payload:
                wrong.append(cid)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(1, 9):
        store.put_many([numbered(n)])
    written.set()
    for reader in readers:
        reader.join()
    assert not wrong
    store.close()


def test_the_state_map_grows_too(tmp_path: Path) -> None:
    storage = LmdbStateStorage.open(tmp_path, command="test", map_bytes=SMALL_MAP)
    written = entries(64, body_size=60_000)
    storage.commit(written, [Row(table="t/1", key=b"k", value=bytes(200_000))])
    with storage.snapshot() as stored:
        assert list(stored.entries()) == written
    storage.close()


# views and several processes


def test_a_view_shows_the_payload_and_dies_with_the_call(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=MIB)
    cid, payload = block(b"seen where it lies")
    store.put_many([(cid, payload)])
    kept: list[memoryview] = []
    assert store.view(cid, lambda view: (kept.append(view), bytes(view))[1]) == payload
    with pytest.raises(ValueError, match="released"):
        bytes(kept[0])
    assert store.view(block(b"unknown")[0], bytes) is None
    store.close()


def test_an_error_of_the_callers_own_passes_through_a_view(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=MIB)
    cid, payload = block(b"payload")
    store.put_many([(cid, payload)])

    def lose_the_connection(view: memoryview) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        store.view(cid, lose_the_connection)
    assert store.get(cid) == payload
    store.close()


def test_one_may_read_inside_a_view_but_not_write(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=MIB)
    first, second = block(b"first"), block(b"second")
    store.put_many([first, second])
    assert store.view(first[0], lambda _: store.get(second[0])) == b"second"
    with pytest.raises(AssertionError, match="own reading"):
        store.view(first[0], lambda _: store.put_many([block(b"third")]))
    store.put_many([block(b"third")])
    store.close()


def test_the_limit_holds_over_processes(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=2 * MIB)
    script = """
import sys
from pathlib import Path
from retrieval.cid import RAW, cid_of
from retrieval.store.lmdb import LmdbBlockStore
LmdbBlockStore(Path(sys.argv[1]), bytes_max=2 << 20).put_many([(cid_of(RAW, bytes(1 << 20)), bytes(1 << 20))])
"""
    python(script, tmp_path)
    with pytest.raises(LocalProtocolError) as refused:
        store.put_many([numbered(1), block(b"one more byte")])
    assert refused.value.code is ErrorCode.STORE_FULL
    store.close()


def test_blocks_and_roots_are_there_after_reopening(tmp_path: Path) -> None:
    store = LmdbBlockStore(tmp_path, bytes_max=MIB)
    cid, payload = block(b"lasting")
    root = Root(cid=cid, name="lasting.txt", n_bytes=7, n_blocks=1, file_bytes=7)
    store.put_many([(cid, payload)])
    store.pin(root)
    store.close()
    store = LmdbBlockStore(tmp_path, bytes_max=MIB, readonly=True)
    assert store.get(cid) == payload
    assert list(store.roots()) == [root]
    store.close()


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
    assert python(script, tmp_path).stdout.split() == ["3", "v"]
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
    assert str(killed.pid) in python(readers, tmp_path).stdout
    python(script, tmp_path, "live")
    assert str(killed.pid) not in python(readers, tmp_path).stdout
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


def test_writing_goes_on_when_the_disk_has_room_again(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(3 * MIB // 2))
    store = LmdbBlockStore(tiny_disk / "blocks", bytes_max=1 << 40)
    with pytest.raises(LocalProtocolError) as refused:
        store.put_many([numbered(1)])
    assert refused.value.code is ErrorCode.DISK_FULL
    assert store.bytes_used() == 0
    ballast.unlink()
    store.put_many([numbered(1)])
    assert store.get(numbered(1)[0]) == numbered(1)[1]
    store.close()


def test_no_room_to_open_is_a_full_disk(tiny_disk: Path) -> None:
    (tiny_disk / "ballast").write_bytes(bytes(2 * MIB - 12 * 1024))
    with pytest.raises(LocalProtocolError) as refused:
        LmdbBlockStore(tiny_disk / "blocks", bytes_max=1 << 40)
    assert refused.value.code is ErrorCode.DISK_FULL


def test_a_file_size_limit_counts_as_a_full_disk(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from retrieval.cid import RAW, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.lmdb import LmdbBlockStore
resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
store = LmdbBlockStore(Path(sys.argv[1]), bytes_max=1 << 40)
for n in range(8):
    payload = bytes([n]) * (1 << 20)
    try:
        store.put_many([(cid_of(RAW, payload), payload)])
    except LocalProtocolError as error:
        print(error.code.label, n, store.bytes_used() >> 20)
        break
"""
    label, n_put, mib_used = python(script, tmp_path).stdout.split()
    assert label == "disk_full"
    assert n_put == mib_used


# broken files


def test_a_file_that_is_no_environment_is_a_broken_store(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(LocalProtocolError) as refused:
        LmdbBlockStore(tmp_path, bytes_max=MIB)
    assert refused.value.code is ErrorCode.STORE_BROKEN


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(LocalProtocolError, match="state/") as refused:
        LmdbStateStorage.open(tmp_path / "state", command="test")
    assert refused.value.code is ErrorCode.FILE_UNREADABLE


def test_only_the_owner_may_enter(tmp_path: Path) -> None:
    LmdbStateStorage.open(tmp_path / "state", command="test").close()
    rights = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "state", *(tmp_path / "state").iterdir())}
    assert rights == {"state": 0, "data.mdb": 0, "lock.mdb": 0, "lock": 0}


@pytest.mark.parametrize("kept_percent", [1, 10, 50, 90, 99])
def test_a_file_cut_short_is_never_a_crash(tmp_path: Path, kept_percent: int) -> None:
    store = LmdbBlockStore(tmp_path / "whole", bytes_max=1 << 40)
    store.put_many(numbered(n, 64) for n in range(10_000))
    store.close()
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", cut)
    os.truncate(cut / "data.mdb", (cut / "data.mdb").stat().st_size * kept_percent // 100)
    script = """
import sys
from pathlib import Path
from retrieval.cid import RAW, cid_of
from retrieval.errors import LocalProtocolError
from retrieval.store.lmdb import LmdbBlockStore
try:
    store = LmdbBlockStore(Path(sys.argv[1]), bytes_max=1 << 40)
    payloads = [n.to_bytes(4, "big") * 16 for n in range(10_000)]
    found = [store.get(cid_of(RAW, payload)) == payload for payload in payloads]
    print("whole" if all(found) else "silent loss")
except LocalProtocolError as error:
    print(error.code.label)
"""
    assert python(script, cut).stdout.strip() in ("store_broken", "whole")


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
    assert python(script, tmp_path / "state").stdout.strip() == f"state_locked|process {os.getpid()} (retrieval-provider serve)"
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
