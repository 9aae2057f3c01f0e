"""What each stage of a verified transfer costs on this machine, and from that the fastest transfer two processes could make.

Each stage is the plain call into the library that does the work, over blocks of the size in use, with nothing of ours around it.
Costs are CPU seconds of the process (user and system) for a MiB.
"""

from __future__ import annotations

import hashlib
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import lmdb
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.processes import answer_commands, start_worker
from retrieval import _native
from retrieval.cid import Cid
from retrieval.units import GIB, MIB
from retrieval.wire.framing import block_head
from retrieval.wire.messages import DealId

BLOCK_BYTES: Final = MIB
NOISE_BYTES: Final = 65_535 - 16
SOCKET_BYTES: Final = MIB
BATCH_BLOCKS: Final = 4  # blocks of one transaction, as the store writes them
CID_HEAD: Final = bytes((0x01, 0x55, 0x12, 0x20))  # CIDv1, raw, sha2-256


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """CPU seconds a MiB."""

    encrypt: float
    send: float
    receive: float
    decrypt: float
    hash: float
    copy: float
    store: float

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


def measure_stages(folder: Path, n_bytes: int) -> Stages:
    """Run ``n_bytes`` through every stage. ``folder`` is empty, and holds the store afterwards."""
    send, receive = _socket_costs(n_bytes)
    encrypt, decrypt = _cipher_costs(n_bytes)
    return Stages(
        encrypt=encrypt,
        send=send,
        receive=receive,
        decrypt=decrypt,
        hash=_hash_cost(n_bytes),
        copy=_copy_cost(n_bytes),
        store=_store_cost(folder, n_bytes),
    )


def median_stages(measured: Sequence[Stages]) -> Stages:
    """Stage by stage."""
    return Stages(**{stage: statistics.median(stage_costs(each)[stage] for each in measured) for stage in stage_costs(measured[0])})


def stage_costs(stages: Stages) -> dict[str, float]:
    """By name."""
    return asdict(stages)


def _per_mib(work: Callable[[], object], n_bytes: int) -> float:
    before = time.process_time()
    work()
    return (time.process_time() - before) / (n_bytes / MIB)


def _cipher_costs(n_bytes: int) -> tuple[float, float]:
    cipher, nonce, n_messages = ChaCha20Poly1305(bytes(32)), bytes(12), n_bytes // NOISE_BYTES
    plain = os.urandom(NOISE_BYTES)
    sealed = cipher.encrypt(nonce, plain, None)

    def encrypt() -> None:
        for _ in range(n_messages):
            cipher.encrypt(nonce, plain, None)

    def decrypt() -> None:
        for _ in range(n_messages):
            cipher.decrypt(nonce, sealed, None)

    return _per_mib(encrypt, n_bytes), _per_mib(decrypt, n_bytes)


def _hash_cost(n_bytes: int) -> float:
    """Verifying a batch of blocks, framing included, with the kernel in use."""
    batch = frame_blocks(BATCH_BLOCKS * BLOCK_BYTES, BLOCK_BYTES)

    def verify() -> None:
        for _ in range(n_bytes // (BATCH_BLOCKS * BLOCK_BYTES) or 1):
            _native.verify_frames(batch, 0, BATCH_BLOCKS)

    return _per_mib(verify, max(n_bytes, BATCH_BLOCKS * BLOCK_BYTES))


def _copy_cost(n_bytes: int) -> float:
    source, target = bytes(max(n_bytes, BLOCK_BYTES)), bytearray(BLOCK_BYTES)

    def copy() -> None:
        with memoryview(source) as view:
            for start in range(0, n_bytes, BLOCK_BYTES):
                target[:] = view[start : start + BLOCK_BYTES]

    copy()
    return _per_mib(copy, n_bytes)


def _store_cost(folder: Path, n_bytes: int) -> float:
    """Into the page cache through LMDB, a new file growing, nothing synced."""
    block = os.urandom(BLOCK_BYTES)
    with lmdb.open(str(folder), map_size=4 * GIB, sync=False, metasync=False) as environment:

        def store() -> None:
            for first in range(0, n_bytes // BLOCK_BYTES, BATCH_BLOCKS):
                with environment.begin(write=True) as transaction:
                    for number in range(first, min(first + BATCH_BLOCKS, n_bytes // BLOCK_BYTES)):
                        transaction.put(CID_HEAD + number.to_bytes(32, "big"), block)

        return _per_mib(store, n_bytes)


def _socket_costs(n_bytes: int) -> tuple[float, float]:
    """Of ``send`` here and of ``recv`` in another process, over TCP on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, start_worker(__name__) as receiver:
        receiver.tell(port=server.getsockname()[1])
        connection, _ = server.accept()
        with connection:
            piece = bytes(SOCKET_BYTES)

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
