"""Sans-IO: the messages of Noise after the handshake, sealed and opened a batch at a time (libp2p specs, ``noise``; Noise §5.1).

A message is two bytes of length, big-endian, then at most 65,519 bytes of ciphertext and a tag of 16. Its rule: every byte is touched
once. Plaintext is sealed from where it lies into the buffer that is sent, and opened from the receive buffer into the one that is
handed on; a batch costs two buffers, however many messages it has.

The handshake is py-libp2p's. Its ciphers are not used, since they copy each message three times on its way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from retrieval.errors import ErrorCode, RemoteProtocolError

TAG_BYTES: Final = 16
LENGTH_BYTES: Final = 2
MESSAGE_BYTES_MAX: Final = 65_535  # of ciphertext and tag: what two bytes of length can say
PLAINTEXT_BYTES_MAX: Final = MESSAGE_BYTES_MAX - TAG_BYTES

_NONCE: Final = struct.Struct("<4xQ")

Buffer = bytes | bytearray | memoryview


class Cipher:
    """One direction of a session: its key, and how many messages it has carried."""

    def __init__(self, key: bytes, n_messages: int) -> None:
        self._aead: Final = ChaCha20Poly1305(key)
        self._n_messages = n_messages

    def _nonce(self) -> bytes:
        """Four zero bytes, then the count, little-endian (Noise §12, ChaChaPoly)."""
        nonce = _NONCE.pack(self._n_messages)
        self._n_messages += 1
        return nonce

    def seal(self, parts: Iterable[Buffer]) -> bytearray:
        """The messages of a batch. Parts are sealed apart, so that a small header beside a large payload is not copied to join it."""
        views = [memoryview(part) for part in parts if part]
        n_messages = sum(-(-len(view) // PLAINTEXT_BYTES_MAX) for view in views)
        sealed = bytearray(sum(map(len, views)) + n_messages * (LENGTH_BYTES + TAG_BYTES))
        out, at = memoryview(sealed), 0
        for view in views:
            for start in range(0, len(view), PLAINTEXT_BYTES_MAX):
                plaintext = view[start : start + PLAINTEXT_BYTES_MAX]
                size = len(plaintext) + TAG_BYTES
                out[at : at + LENGTH_BYTES] = size.to_bytes(LENGTH_BYTES, "big")
                at += LENGTH_BYTES
                self._aead.encrypt_into(self._nonce(), plaintext, None, out[at : at + size])
                at += size
        return sealed

    def open(self, received: memoryview) -> tuple[bytearray, int]:
        """The plaintext of all messages that are whole, and how many bytes they took.

        Raises ``RemoteProtocolError(transfer_truncated)`` at the first that was altered, or cannot be a message.
        """
        messages: list[memoryview] = []
        n_bytes, at = 0, 0
        while at + LENGTH_BYTES <= len(received):
            size = (received[at] << 8) | received[at + 1]
            if at + LENGTH_BYTES + size > len(received):
                break
            if size < TAG_BYTES:
                raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"a Noise message of {size} bytes has no room for its tag")
            messages.append(received[at + LENGTH_BYTES : at + LENGTH_BYTES + size])
            n_bytes += size - TAG_BYTES
            at += LENGTH_BYTES + size
        opened = bytearray(n_bytes)
        out, end = memoryview(opened), 0
        for message in messages:
            start, end = end, end + len(message) - TAG_BYTES
            try:
                self._aead.decrypt_into(self._nonce(), message, None, out[start:end])
            except InvalidTag as error:
                raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "a message was altered on its way") from error
        return opened, at
