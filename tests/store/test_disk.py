"""What the block store on disk does beyond the contract: kills, other processes, torn ends, full disks, room that comes back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from io import FileIO
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from interesting_sizes import INTERESTING_SIZES
from script import CHILD_TIMEOUT_S, run_script

from retrieval.cid import RAW, Cid, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.staging import ALIGNMENT, DIRECT_BYTES_MIN, STAGING_BYTES, Staging
from retrieval.store.blocks import Root
from retrieval.store.disk import DiskBlockStore
from retrieval.store.disk.folder import Limits
from retrieval.store.disk.segment import Segment
from retrieval.store.disk.tail import Tail
from retrieval.units import KIB, MIB

BYTES_MAX: Final = 1 << 40
SMALL: Final = Limits(segment_bytes_max=300 * KIB, waste_bytes_max=20 * KIB, unindexed_bytes_max=150 * KIB, unindexed_blocks_max=12)
SIZES: Final = (0, 1, 100, ALIGNMENT, 20 * KIB, DIRECT_BYTES_MIN, 100 * KIB)


def block(payload: bytes) -> tuple[Cid, bytes]:
    return cid_of(RAW, payload), payload


def numbered(n: int, size: int = MIB) -> tuple[Cid, bytes]:
    return block(n.to_bytes(4, "big") * (size // 4))


def open_store(path: Path, *, limits: Limits = SMALL) -> DiskBlockStore:
    return DiskBlockStore(path, bytes_max=BYTES_MAX, limits=limits)


def segments(path: Path) -> list[Path]:
    return sorted((path / "segments").iterdir())


def room_taken(path: Path) -> int:
    return sum(segment.stat().st_size for segment in segments(path))


def held(store: DiskBlockStore, cids: Sequence[Cid]) -> list[bytes | None]:
    return [store.get(cid) for cid in cids]


def copies(views: Sequence[memoryview | None]) -> list[bytes | None]:
    return [None if view is None else bytes(view) for view in views]


def read_in_another_process(path: Path, cids: Sequence[Cid]) -> list[bool]:
    script = """
import sys
from pathlib import Path
from retrieval.store.disk import DiskBlockStore
store = DiskBlockStore(Path(sys.argv[1]), bytes_max=1 << 40, readonly=True)
for cid in sys.argv[2:]:
    print(store.size(bytes.fromhex(cid)) is not None)
"""
    return [line == "True" for line in run_script(script, path, *(cid.hex() for cid in cids)).stdout.split()]


class AnyOrder(RuleBasedStateMachine):
    """Whatever is done, in whatever order and with an end at any point, the store is a dict."""

    BLOCKS: Final = [*dict(block(bytes([n]) * size) for n, size in enumerate(SIZES * 4)).items()]
    some = st.sets(st.sampled_from(range(len(BLOCKS))), min_size=1, max_size=8)

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "blocks"
        self.store = open_store(self.path)
        self.model: dict[Cid, bytes] = {}
        self.roots: set[Cid] = set()

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(numbers=some)
    def put(self, numbers: set[int]) -> None:
        batch = dict(self.BLOCKS[n] for n in numbers)
        self.store.put_many(batch.items())
        self.model |= batch

    @rule(numbers=some)
    def delete(self, numbers: set[int]) -> None:
        doomed = {self.BLOCKS[n][0] for n in numbers}
        assert self.store.delete_many(doomed) == len(doomed & self.model.keys())
        for cid in doomed:
            self.model.pop(cid, None)

    @rule(numbers=some)
    def delete_what_is_viewed(self, numbers: set[int]) -> None:
        cids = [cid for n in numbers if (cid := self.BLOCKS[n][0]) in self.model]

        def look_while_it_goes(views: Sequence[memoryview | None]) -> list[bytes | None]:
            self.store.delete_many(cids)
            self.store.sync()
            return copies(views)

        assert self.store.view_many(cids, look_while_it_goes) == [self.model.pop(cid) for cid in cids]

    @rule(n=st.integers(0, 3))
    def pin(self, n: int) -> None:
        cid, payload = self.BLOCKS[n]
        self.store.pin(Root(cid=cid, name="x", n_bytes=len(payload), n_blocks=1, file_bytes=len(payload)))
        self.roots.add(cid)

    @rule(n=st.integers(0, 3))
    def unpin(self, n: int) -> None:
        cid, _ = self.BLOCKS[n]
        assert self.store.unpin(cid) is (cid in self.roots)
        self.roots.discard(cid)

    @rule()
    def sync(self) -> None:
        self.store.sync()
        # Every segment but the one that is written holds something, and none is mostly dead but for its wasted share.
        live = sum(map(len, self.model.values()))
        n_segments = len(segments(self.path))
        assert room_taken(self.path) <= 2 * live + n_segments * (SMALL.waste_bytes_max + 2 * ALIGNMENT) + len(self.model) * 200

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.path)

    @rule()
    def be_killed(self) -> None:
        del self.store  # what the kernel closes, and no more
        self.store = open_store(self.path)

    @rule(data=st.data())
    def be_killed_and_torn(self, data: st.DataObject) -> None:
        """The machine dies: what was not synced is there in part, or in part something else."""
        unindexed = set(self.store._unindexed)
        tail = self.store._tail
        indexed_end = self.store._index.segment(tail.number).end if tail is not None else 0
        torn = None if tail is None else tail._path
        del self.store, tail
        if torn is not None:
            tear(torn, indexed_end, data)
        self.store = open_store(self.path)
        kept = {cid: payload for cid, payload in self.model.items() if self.store.size(cid) is not None}
        assert self.model.keys() - kept.keys() <= unindexed
        self.model = kept

    @invariant()
    def is_the_dict(self) -> None:
        assert held(self.store, [cid for cid, _ in self.BLOCKS]) == [self.model.get(cid) for cid, _ in self.BLOCKS]
        assert self.store.bytes_used() == sum(map(len, self.model.values()))
        assert {root.cid for root in self.store.roots()} == self.roots


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def tear(segment: Path, indexed_end: int, data: st.DataObject) -> None:
    """Damage a segment behind what is indexed of it."""
    content = bytearray(segment.read_bytes())
    at = data.draw(st.integers(indexed_end, max(indexed_end, len(content))))
    damage = data.draw(st.sampled_from(("cut", "flip", "zeros", "garbage")))
    if damage == "cut":
        del content[at:]
    elif damage == "flip" and at < len(content):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "zeros":
        content[at:] = bytes(len(content) - at)
    elif damage == "garbage":
        content[at:] = data.draw(st.binary(max_size=100))
    segment.write_bytes(content)


# one after another


@pytest.mark.parametrize("size", INTERESTING_SIZES)
def test_a_block_of_any_size_is_found_again_after_a_kill(tmp_path: Path, size: int) -> None:
    cid, payload = block(bytes(size))
    store = open_store(tmp_path)
    store.put_many([(cid, payload), block(b"behind it")])
    del store
    with closing(open_store(tmp_path)) as store:
        assert store.get(cid) == payload
        assert store.get(block(b"behind it")[0]) == b"behind it"


def test_a_blake3_block_is_found_again_after_a_kill(tmp_path: Path) -> None:
    from blake3 import blake3

    cid, payload = Cid(b"\x01\x55\x1e\x20" + blake3(b"newer").digest()), b"newer"
    store = open_store(tmp_path)
    store.put_many([(cid, payload)])
    del store
    with closing(open_store(tmp_path)) as store:
        assert store.get(cid) == payload


def test_a_batch_larger_than_the_staging_buffer_is_written_whole(tmp_path: Path) -> None:
    blocks = [numbered(n) for n in range(STAGING_BYTES // MIB + 3)]
    store = open_store(tmp_path, limits=Limits())
    store.put_many(blocks)
    assert held(store, [cid for cid, _ in blocks]) == [payload for _, payload in blocks]
    del store
    with closing(open_store(tmp_path, limits=Limits())) as store:
        assert held(store, [cid for cid, _ in blocks]) == [payload for _, payload in blocks]


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(st.sampled_from(SIZES), min_size=1, max_size=6), min_size=1, max_size=5), data=st.data())
def test_of_a_torn_end_every_block_before_the_damage_is_kept(batches: list[list[int]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        blocks: list[tuple[Cid, bytes]] = []
        with closing(DiskBlockStore(path, bytes_max=BYTES_MAX)):
            pass
        store = DiskBlockStore(path, bytes_max=BYTES_MAX)
        for sizes in batches:
            batch = [block(bytes([len(blocks) + n + 1]) * size) for n, size in enumerate(sizes)]
            store.put_many(batch)
            blocks += batch
        [segment] = segments(path)
        at = data.draw(st.integers(0, segment.stat().st_size))
        before = [cid for cid, place in store._unindexed.items() if place.offset + place.size <= at]
        del store
        os.truncate(segment, at)
        with closing(DiskBlockStore(path, bytes_max=BYTES_MAX)) as store:
            payloads = dict(blocks)
            assert held(store, before) == [payloads[cid] for cid in before]
            assert store.bytes_used() == sum(len(payloads[cid]) for cid in before)


def test_the_next_writer_goes_on_in_the_segment_that_has_room(tmp_path: Path) -> None:
    for n in range(3):
        with closing(open_store(tmp_path)) as store:
            store.put_many([numbered(n, 1_000)])
    assert len(segments(tmp_path)) == 1


def test_a_segment_that_fills_up_before_its_blocks_are_entered_hides_none_of_them(tmp_path: Path) -> None:
    limits = Limits(segment_bytes_max=300 * KIB, unindexed_bytes_max=10 * MIB)
    blocks = dict(numbered(n, 100 * KIB) for n in range(8))
    with closing(open_store(tmp_path, limits=limits)) as store:
        for cid, payload in blocks.items():
            store.put_many([(cid, payload)])
            assert store.get(cid) == payload
        assert len(segments(tmp_path)) > 1
        assert held(store, [*blocks]) == [*blocks.values()]
        assert store.bytes_used() == sum(map(len, blocks.values()))


def test_small_blocks_lie_close_together(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as store:
        for n in range(100):
            store.put_many([numbered(n, 100)])
        assert room_taken(tmp_path) < 100 * 200


def test_threads_read_while_another_puts_enters_and_deletes(tmp_path: Path) -> None:
    lasting = [numbered(n, 10 * KIB) for n in range(5)]
    passing = [numbered(n, 10 * KIB) for n in range(5, 60)]
    done = threading.Event()
    with closing(open_store(tmp_path)) as store:
        store.put_many(lasting)

        def read() -> list[object]:
            wrong: list[object] = []
            while not done.is_set():
                found = store.view_many(
                    [cid for cid, _ in lasting], lambda views: [None if view is None else bytes(view) for view in views]
                )
                if found != [payload for _, payload in lasting]:
                    wrong.append(found)
                wrong.extend(cid for cid, payload in passing if store.get(cid) not in (None, payload))
            return wrong

        with ThreadPoolExecutor(2) as readers:
            reading = [readers.submit(read) for _ in range(2)]
            try:
                for _ in range(5):
                    for cid, payload in passing:
                        store.put_many([(cid, payload)])
                    store.delete_many(cid for cid, _ in passing)
                    store.sync()
            finally:
                done.set()
            assert [each.result() for each in reading] == [[], []]


# room that comes back


def test_a_store_that_was_emptied_takes_no_room(tmp_path: Path) -> None:
    blocks = [numbered(n, 100 * KIB) for n in range(10)]
    with closing(open_store(tmp_path)) as store:
        store.put_many(blocks)
        store.delete_many([cid for cid, _ in blocks])
        assert segments(tmp_path) == []
        store.put_many(blocks[:1])
        assert store.get(blocks[0][0]) == blocks[0][1]


def test_what_lives_in_a_mostly_dead_segment_is_copied_out_of_it(tmp_path: Path) -> None:
    blocks = [numbered(n, 10 * KIB) for n in range(20)]
    with closing(open_store(tmp_path)) as store:
        store.put_many(blocks)
        store.sync()
        [full] = segments(tmp_path)
        store.delete_many([cid for cid, _ in blocks[2:]])
        assert segments(tmp_path) == [full]
        store.sync()
        assert full not in segments(tmp_path)
        assert room_taken(tmp_path) < 30 * KIB
        assert held(store, [cid for cid, _ in blocks[:3]]) == [blocks[0][1], blocks[1][1], None]


def test_a_segment_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    cid, payload = numbered(1, 100 * KIB)
    with closing(open_store(tmp_path)) as store, other_writer(tmp_path) as writer:
        writer.put(1)
        writer.say("sync")
        assert store.delete_many([cid]) == 1
        assert len(segments(tmp_path)) == 1
        writer.put(2)
        writer.say("sync")
        assert store.size(numbered(2, 100 * KIB)[0]) == len(payload)


# several processes


class Writer:
    """Another process with the store open for writing."""

    SCRIPT: Final = """
import sys
from pathlib import Path
from retrieval.cid import RAW, cid_of
from retrieval.store.disk import DiskBlockStore
store = DiskBlockStore(Path(sys.argv[1]), bytes_max=int(sys.argv[2]))
print("open", flush=True)
for line in sys.stdin:
    verb, *numbers = line.split()
    payloads = [int(n).to_bytes(4, "big") * (100 << 8) for n in numbers]
    if verb == "put":
        store.put_many([(cid_of(RAW, payload), payload) for payload in payloads])
    elif verb == "delete":
        store.delete_many([cid_of(RAW, payload) for payload in payloads])
    else:
        getattr(store, verb)()
    print("done", flush=True)
"""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.hear()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.hear()

    def hear(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() in ("open\n", "done\n")

    def put(self, *numbers: int) -> None:
        """Put blocks ``numbered(n, 100 * KIB)``."""
        self.say(f"put {' '.join(map(str, numbers))}")


@contextmanager
def other_writer(path: Path, *, bytes_max: int = BYTES_MAX) -> Iterator[Writer]:
    command = [sys.executable, "-c", Writer.SCRIPT, str(path), str(bytes_max)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Writer(process)
        if process.poll() is None:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(CHILD_TIMEOUT_S)


def test_two_processes_write_at_once_and_each_block_counts_once(tmp_path: Path) -> None:
    blocks = [numbered(n, 100 * KIB) for n in range(12)]
    with closing(open_store(tmp_path)) as store, other_writer(tmp_path) as writer:
        store.put_many(blocks[:4])
        writer.put(*range(2, 8))
        store.put_many(blocks[6:10])
        writer.put(*range(8, 12))
        writer.say("close")
        store.sync()
        assert held(store, [cid for cid, _ in blocks]) == [payload for _, payload in blocks]
        assert store.bytes_used() == sum(len(payload) for _, payload in blocks)
    assert len(segments(tmp_path)) > 1


def test_others_see_what_was_synced_and_not_what_is_on_its_way(tmp_path: Path) -> None:
    synced, under_way = numbered(1), numbered(2)
    with closing(open_store(tmp_path, limits=Limits())) as store:
        store.put_many([synced])
        store.sync()
        store.put_many([under_way])
        assert read_in_another_process(tmp_path, [synced[0], under_way[0]]) == [True, False]
        store.pin(Root(cid=under_way[0], name="x", n_bytes=MIB, n_blocks=1, file_bytes=MIB))
        assert read_in_another_process(tmp_path, [under_way[0]]) == [True]


def test_a_killed_writers_blocks_are_there_for_the_next_to_open(tmp_path: Path) -> None:
    blocks = [numbered(n, 100 * KIB) for n in range(3)]
    with other_writer(tmp_path) as writer:
        writer.put(0, 1, 2)
        writer.process.send_signal(signal.SIGKILL)
        assert writer.process.wait(CHILD_TIMEOUT_S) == -signal.SIGKILL
    with closing(open_store(tmp_path)) as store:
        assert held(store, [cid for cid, _ in blocks]) == [payload for _, payload in blocks]


def test_the_end_of_a_living_writers_segment_is_not_touched(tmp_path: Path) -> None:
    with other_writer(tmp_path) as writer:
        writer.put(0)
        taken = room_taken(tmp_path)
        with closing(open_store(tmp_path)) as store:
            assert store.size(numbered(0, 100 * KIB)[0]) is None
        assert room_taken(tmp_path) == taken
        writer.put(1)
        writer.say("close")
    with closing(open_store(tmp_path)) as store:
        assert store.bytes_used() == 200 * KIB


def test_a_block_that_another_process_moved_is_found_where_it_is_now(tmp_path: Path) -> None:
    kept, dropped = numbered(0, 100 * KIB), range(1, 700)  # enough that the other one finds the segment worth copying
    with closing(open_store(tmp_path, limits=Limits())) as store, other_writer(tmp_path) as writer:
        writer.put(0, *dropped)
        writer.say("sync")
        [before] = segments(tmp_path)

        def look_while_it_moves(views: Sequence[memoryview | None]) -> list[bytes | None]:
            writer.say(f"delete {' '.join(map(str, dropped))}")
            writer.say("sync")
            return copies(views)

        assert store.view_many([kept[0]], look_while_it_moves) == [kept[1]]
        assert not before.exists()
        assert store.get(kept[0]) == kept[1]


def test_the_limit_holds_over_processes_for_what_they_synced(tmp_path: Path) -> None:
    with closing(DiskBlockStore(tmp_path, bytes_max=300 * KIB)) as store, other_writer(tmp_path) as writer:
        writer.put(1, 2)
        writer.say("sync")
        with pytest.raises(LocalProtocolError) as refused:
            store.put_many([numbered(3, 100 * KIB), block(b"one more byte")])
        assert refused.value.code is ErrorCode.STORE_FULL
        store.put_many([numbered(3, 100 * KIB)])


def test_blocks_and_roots_are_there_after_reopening_to_read(tmp_path: Path) -> None:
    cid, payload = block(b"lasting")
    root = Root(cid=cid, name="lasting.txt", n_bytes=7, n_blocks=1, file_bytes=7)
    with closing(open_store(tmp_path)) as store:
        store.put_many([(cid, payload)])
        store.pin(root)
    with closing(DiskBlockStore(tmp_path, bytes_max=BYTES_MAX, readonly=True)) as store:
        assert store.get(cid) == payload
        assert list(store.roots()) == [root]


# full disks


def test_writing_goes_on_when_the_disk_has_room_again(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(3 * MIB // 2))
    store = DiskBlockStore(tiny_disk / "blocks", bytes_max=BYTES_MAX)
    with pytest.raises(LocalProtocolError) as refused:
        store.put_many([numbered(1)])
    assert refused.value.code is ErrorCode.DISK_FULL
    assert store.bytes_used() == 0
    assert store.get(numbered(1)[0]) is None
    ballast.unlink()
    store.put_many([numbered(1)])
    assert store.get(numbered(1)[0]) == numbered(1)[1]
    store.close()


def test_no_room_to_open_is_a_full_disk(tiny_disk: Path) -> None:
    (tiny_disk / "ballast").write_bytes(bytes(2 * MIB - 12 * 1024))
    with pytest.raises(LocalProtocolError) as refused:
        DiskBlockStore(tiny_disk / "blocks", bytes_max=BYTES_MAX)
    assert refused.value.code is ErrorCode.DISK_FULL


@pytest.mark.parametrize("size", [1 * KIB, 100 * KIB, MIB])
def test_a_batch_that_the_disk_does_not_take_is_not_there_in_part(tmp_path: Path, size: int) -> None:
    script = """
import resource, sys
from pathlib import Path
from retrieval.cid import RAW, cid_of
from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.store.disk import DiskBlockStore
size, limit = int(sys.argv[2]), 3 << 20
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
store = DiskBlockStore(Path(sys.argv[1]), bytes_max=1 << 40)
for n in range(2 * limit // size):
    payloads = [bytes([part]) + n.to_bytes(4, "big") * (size // 4) for part in range(3)]
    batch = [(cid_of(RAW, payload), payload) for payload in payloads]
    try:
        store.put_many(batch)
    except LocalProtocolError as error:
        print(error.code.label, n, store.bytes_used() == n * sum(map(len, payloads)), [store.size(cid) for cid, _ in batch])
        break
[segment] = (Path(sys.argv[1]) / "segments").iterdir()
before = segment.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.put_many(batch)
store.close()
store = DiskBlockStore(Path(sys.argv[1]), bytes_max=1 << 40)
print(before <= limit, store.bytes_used() == (n + 1) * sum(map(len, payloads)), [store.get(cid) == payload for cid, payload in batch])
"""
    refused, after = run_script(script, tmp_path, size).stdout.splitlines()
    assert refused.startswith("disk_full ")
    assert refused.endswith(" True [None, None, None]")
    assert after == "True True [True, True, True]"


# disks that fail


def test_what_could_not_be_synced_once_is_never_taken_for_safe(tmp_path: Path) -> None:
    """A second ``fdatasync`` succeeds, though the kernel has dropped what it could not write."""
    reader, writer = os.pipe()

    class Failing(FileIO):
        fails = False

        def fileno(self) -> int:
            return reader if self.fails else super().fileno()  # a pipe cannot be synced

    path = tmp_path / "1.seg"
    path.touch()
    file = Failing(path, "r+b")
    with closing(Tail(file, path, 1, 0)) as tail:
        for file.fails in (True, False):
            with pytest.raises(LocalProtocolError) as refused:
                tail.sync()
            assert refused.value.code is ErrorCode.FILE_UNREADABLE
    os.close(reader)
    os.close(writer)


def test_a_segment_that_gives_no_direct_reads_is_read_through_the_page_cache(tmp_path: Path) -> None:
    class Unaligned(Staging):
        """A buffer whose address no direct read takes: the error is that of a file system without them."""

        def __init__(self) -> None:
            self._buffer = memoryview(bytearray(STAGING_BYTES + 1))[1:]

    path = tmp_path / "1.seg"
    path.write_bytes(os.urandom(MIB))
    assert Segment(path).read(Unaligned(), 100, 200 * KIB) == path.read_bytes()[100 : 100 + 200 * KIB]


# broken files


def test_a_segment_that_was_cut_is_a_broken_store_and_never_a_crash(tmp_path: Path) -> None:
    first, last = numbered(1), numbered(2)
    with closing(open_store(tmp_path, limits=Limits())) as store:
        store.put_many([first, last])
    [segment] = segments(tmp_path)
    os.truncate(segment, MIB + 10_000)
    with closing(open_store(tmp_path, limits=Limits())) as store:
        assert store.get(first[0]) == first[1]
        with pytest.raises(LocalProtocolError, match=segment.name) as refused:
            store.get(last[0])
        assert refused.value.code is ErrorCode.STORE_BROKEN
        store.put_many([numbered(3)])  # not behind the gap
        assert segment.stat().st_size == MIB + 10_000
        assert store.get(numbered(3)[0]) == numbered(3)[1]


def test_a_segment_that_is_gone_is_a_broken_store(tmp_path: Path) -> None:
    cid, payload = numbered(1)
    with closing(open_store(tmp_path)) as store:
        store.put_many([(cid, payload)])
    segments(tmp_path)[0].unlink()
    with closing(open_store(tmp_path)) as store:
        with pytest.raises(LocalProtocolError, match="is gone") as refused:
            store.view_many([cid], list)
        assert refused.value.code is ErrorCode.STORE_BROKEN
        assert store.delete_many([cid]) == 1
        assert store.bytes_used() == 0


@pytest.mark.parametrize("kept_percent", [1, 10, 50, 90, 99])
def test_an_index_cut_short_is_never_a_crash(tmp_path: Path, kept_percent: int) -> None:
    with closing(open_store(tmp_path / "whole", limits=Limits())) as store:
        store.put_many(numbered(n, 64) for n in range(10_000))
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", cut)
    os.truncate(cut / "data.mdb", (cut / "data.mdb").stat().st_size * kept_percent // 100)
    script = """
import sys
from pathlib import Path
from retrieval.cid import RAW, cid_of
from retrieval.errors import LocalProtocolError
from retrieval.store.disk import DiskBlockStore
try:
    store = DiskBlockStore(Path(sys.argv[1]), bytes_max=1 << 40)
    payloads = [n.to_bytes(4, "big") * 16 for n in range(10_000)]
    found = [store.get(cid_of(RAW, payload)) == payload for payload in payloads]
    print("whole" if all(found) else "silent loss")
except LocalProtocolError as error:
    print(error.code.label)
"""
    assert run_script(script, cut).stdout.strip() in ("store_broken", "whole")


def test_only_the_owner_may_enter(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / "blocks")) as store:
        store.put_many([block(b"x")])
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "blocks").rglob("*")} == {0}
