"""What each stage of a verified transfer costs on this machine, and from that the fastest transfer two processes could make.

Each stage is the best plain use of the library that does the work, with nothing of ours around it: calls that write into a buffer, and
buffers that are used again and stay in the cache. Memory that is new with every call would cost more than most stages, and a bound that
is made of such calls would flatter whoever is measured against it. Costs are CPU seconds of the process (user and system) for a MiB.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.processes import answer_commands, start_worker
from retrieval import _native
from retrieval.cid import Cid
from retrieval.units import KIB, MIB
from retrieval.wire.framing import block_head
from retrieval.wire.messages import DealId

BLOCK_BYTES: Final = MIB
TAG_BYTES: Final = 16
NOISE_BYTES: Final = 65_535 - TAG_BYTES  # the most that one Noise message carries
SOCKET_BYTES: Final = 512 * KIB  # a call; of 128 KiB to 1 MiB the size with which the busier side, the client, does best
BATCH_BLOCKS: Final = 4  # blocks that are verified in one call, and written in one
MAP_BYTES: Final = 64 * MIB  # of the file that is encrypted from: more than the caches hold
CID_HEAD: Final = bytes((0x01, 0x55, 0x12, 0x20))  # CIDv1, raw, sha2-256


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """CPU seconds a MiB."""

    encrypt: float
    send: float
    receive: float
    decrypt: float
    copy: float
    hash: float
    store_direct: float | None
    """Around the page cache; None where the file system cannot."""
    store_cached: float
    """Into the page cache."""

    @property
    def store(self) -> float:
        """The cheaper way."""
        return self.store_cached if self.store_direct is None else min(self.store_direct, self.store_cached)

    @property
    def provider(self) -> float:
        """Straight from the store's map: encrypt, send."""
        return self.encrypt + self.send

    @property
    def client(self) -> float:
        """Receive, decrypt, copy once out of the frames, verify, write."""
        return self.receive + self.decrypt + self.copy + self.hash + self.store

    @property
    def rate(self) -> float:
        """MiB/s: the busier process decides, on one core each, and two cores have no more than two seconds a second."""
        return min(1 / self.provider, 1 / self.client, 2 / (self.provider + self.client))

    @property
    def costs(self) -> dict[str, float]:
        """By name, as far as measured: what the two processes do, then the two ways of storing."""
        names = ("encrypt", "send", "receive", "decrypt", "copy", "hash", "store")
        ways = {"store around the page cache": self.store_direct, "store into the page cache": self.store_cached}
        return {name: getattr(self, name) for name in names} | {way: cost for way, cost in ways.items() if cost is not None}


def measure_stages(folder: Path, n_bytes: int) -> Stages:
    """Run ``n_bytes`` through every stage. Files in ``folder`` are gone afterwards."""
    send, receive = _socket_costs(n_bytes)
    encrypt, decrypt = _cipher_costs(folder / "stage", n_bytes)
    return Stages(
        encrypt=encrypt,
        send=send,
        receive=receive,
        decrypt=decrypt,
        copy=_copy_cost(n_bytes),
        hash=_hash_cost(n_bytes),
        store_direct=_store_cost(folder / "stage", n_bytes, os.O_DIRECT),
        store_cached=_cached_store_cost(folder / "stage", n_bytes),
    )


def median_stages(measured: Sequence[Stages]) -> Stages:
    """Stage by stage."""

    def median(name: str) -> float | None:
        costs = [cost for each in measured if (cost := getattr(each, name)) is not None]
        return statistics.median(costs) if costs else None

    return Stages(**{field.name: median(field.name) for field in fields(Stages)})  # type: ignore[arg-type]  # one field alone may be None


def _per_mib(work: Callable[[], object], n_bytes: int) -> float:
    before = time.process_time()
    work()
    return (time.process_time() - before) / (n_bytes / MIB)


def _cipher_costs(path: Path, n_bytes: int) -> tuple[float, float]:
    """From a mapped file into a buffer, and from a buffer into another."""
    cipher, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    n_map_bytes = min(MAP_BYTES, n_bytes)
    path.write_bytes(os.urandom(n_map_bytes))
    per_batch = SOCKET_BYTES // NOISE_BYTES
    sealed, opened = memoryview(bytearray(per_batch * (NOISE_BYTES + TAG_BYTES))), memoryview(bytearray(per_batch * NOISE_BYTES))
    sealed_parts = [sealed[at : at + NOISE_BYTES + TAG_BYTES] for at in range(0, len(sealed), NOISE_BYTES + TAG_BYTES)]
    opened_parts = [opened[at : at + NOISE_BYTES] for at in range(0, len(opened), NOISE_BYTES)]

    def encrypt(plain: memoryview) -> None:
        for number in range(n_bytes // NOISE_BYTES):
            at = number * NOISE_BYTES % (n_map_bytes - NOISE_BYTES)
            cipher.encrypt_into(nonce, plain[at : at + NOISE_BYTES], None, sealed_parts[number % per_batch])

    def decrypt() -> None:
        for number in range(n_bytes // NOISE_BYTES):
            cipher.decrypt_into(nonce, sealed_parts[number % per_batch], None, opened_parts[number % per_batch])

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as plain:
        encrypt(plain)  # maps the pages, as those of a provider at work are
        return _per_mib(lambda: encrypt(plain), n_bytes), _per_mib(decrypt, n_bytes)


def _hash_cost(n_bytes: int) -> float:
    """Verifying a batch of blocks, framing included, with the kernel in use."""
    batch = frame_blocks(BATCH_BLOCKS * BLOCK_BYTES, BLOCK_BYTES)

    def verify() -> None:
        for _ in range(n_bytes // (BATCH_BLOCKS * BLOCK_BYTES) or 1):
            _native.verify_frames(batch, 0, BATCH_BLOCKS)

    return _per_mib(verify, max(n_bytes, BATCH_BLOCKS * BLOCK_BYTES))


def _copy_cost(n_bytes: int) -> float:
    source, target = memoryview(bytes(BLOCK_BYTES)), memoryview(bytearray(BLOCK_BYTES))

    def copy() -> None:
        for _ in range(n_bytes // BLOCK_BYTES):
            target[:] = source

    copy()
    return _per_mib(copy, n_bytes)


def _cached_store_cost(path: Path, n_bytes: int) -> float:
    cost = _store_cost(path, n_bytes, 0)
    assert cost is not None, "every file system writes through the page cache"
    return cost


def _store_cost(path: Path, n_bytes: int, how: int) -> float | None:
    """Batches into a new file that grows, nothing synced; None where it cannot be opened like this."""
    path.unlink(missing_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | how, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what tmpfs, for one, says to O_DIRECT
            raise
        return None
    try:
        with mmap.mmap(-1, BATCH_BLOCKS * BLOCK_BYTES) as batch:  # aligned to a page, as O_DIRECT wants it
            batch[:] = os.urandom(len(batch))
            n_batches = max(1, n_bytes // len(batch))

            def store() -> None:
                for number in range(n_batches):
                    n_written = os.pwrite(file, batch, number * len(batch))
                    assert n_written == len(batch), "a disk that is full measures nothing"

            return _per_mib(store, n_batches * len(batch))
    finally:
        os.close(file)
        path.unlink()


def _socket_costs(n_bytes: int) -> tuple[float, float]:
    """Of ``send`` here and of ``recv_into`` in another process, over TCP on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, start_worker(__name__) as receiver:
        receiver.tell(port=server.getsockname()[1])
        connection, _ = server.accept()
        with connection:
            piece = memoryview(bytearray(SOCKET_BYTES))

            def send() -> None:
                for _ in range(n_bytes // SOCKET_BYTES):
                    connection.sendall(piece)

            sending = _per_mib(send, n_bytes)
        return sending, receiver.hear()["cpu_s"] / (n_bytes / MIB)


def _receive(port: int) -> dict[str, float]:
    into = bytearray(SOCKET_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        before = time.process_time()
        while connection.recv_into(into):
            pass
        return {"cpu_s": time.process_time() - before}


def frame_blocks(n_bytes: int, block_bytes: int) -> bytes:
    """Block frames with ``n_bytes`` of different payloads that match their CIDs, as they come off the wire."""
    return b"".join(_frames(n_bytes, block_bytes))


def _frames(n_bytes: int, block_bytes: int) -> Iterator[bytes]:
    deal = DealId(bytes(16))
    for index in range(n_bytes // block_bytes):
        payload = index.to_bytes(8, "big") * (block_bytes // 8)
        cid = Cid(CID_HEAD + hashlib.sha256(payload).digest())
        yield block_head(deal, index, cid, block_bytes)
        yield payload


def main() -> None:
    answer_commands(lambda command: _receive(command["port"]))


if __name__ == "__main__":
    main()
