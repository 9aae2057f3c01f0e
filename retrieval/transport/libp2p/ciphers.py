"""Sans-IO: the messages of Noise after the handshake, sealed and opened a batch at a time (libp2p specs, ``noise``; Noise §5.1).

A message is two bytes of length, big-endian, then at most 65,519 bytes of ciphertext and a tag of 16. Its rule: every byte is touched
once, and in memory that was used before. Plaintext is sealed from where it lies into the buffer that is sent, and opened from the
receive buffer into the one it is handed on from; both are used again for the next batch, since a page that is touched for the first
time costs more than everything else that is done with it.

py-libp2p's ciphers are not used, since they copy each message three times on its way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.units import KIB

TAG_BYTES: Final = 16
LENGTH_BYTES: Final = 2
MESSAGE_BYTES_MAX: Final = 65_535  # of ciphertext and tag: what two bytes of length can say
PLAINTEXT_BYTES_MAX: Final = MESSAGE_BYTES_MAX - TAG_BYTES
SEALED_APART_BYTES: Final = 16 * KIB
"""A part from this size on is sealed from where it lies; smaller ones are copied together first, since a message costs as much as that."""

_OVERHEAD_BYTES: Final = LENGTH_BYTES + TAG_BYTES
_NONCE: Final = struct.Struct("<4xQ")

Buffer = bytes | bytearray | memoryview


class Cipher:
    """One direction of a session: its key, and how many messages it has carried."""

    def __init__(self, key: bytes, n_messages: int) -> None:
        self._aead: Final = ChaCha20Poly1305(key)
        self._n_messages = n_messages
        self._small: Final = bytearray()
        """Small parts on their way into one message."""

    def seal(self, parts: Sequence[Buffer], out: memoryview) -> int:
        """Write the messages of a batch to the front of ``out``, which has ``sealed_bytes_max`` of room; returns their size."""
        at = 0
        for part in parts:
            if len(part) < SEALED_APART_BYTES:
                if len(self._small) + len(part) > PLAINTEXT_BYTES_MAX:
                    at = self._seal_small(out, at)
                self._small.extend(part)
                continue
            at = self._seal_small(out, at)
            with memoryview(part) as view:
                for start in range(0, len(view), PLAINTEXT_BYTES_MAX):
                    at = self._seal_message(view[start : start + PLAINTEXT_BYTES_MAX], out, at)
        return self._seal_small(out, at)

    def open(self, received: memoryview, out: memoryview) -> tuple[int, int]:
        """Write the plaintext of the messages that are whole to the front of ``out``, as many as fit.

        Returns how many bytes of ``received`` they took and the size of their plaintext. Raises
        ``RemoteProtocolError(transfer_truncated)`` at the first that was altered, or cannot be a message.
        """
        n_received, n_room = len(received), len(out)
        used, end = 0, 0
        while used + LENGTH_BYTES <= n_received:
            size = (received[used] << 8) | received[used + 1]
            if size < TAG_BYTES:
                raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, f"a Noise message of {size} bytes has no room for its tag")
            start = used + LENGTH_BYTES
            message_end, opened_end = start + size, end + size - TAG_BYTES
            if message_end > n_received or opened_end > n_room:
                break
            try:
                self._aead.decrypt_into(self._nonce(), received[start:message_end], None, out[end:opened_end])
            except InvalidTag as error:
                raise RemoteProtocolError(ErrorCode.TRANSFER_TRUNCATED, "a message was altered on its way") from error
            used, end = message_end, opened_end
        return used, end

    def _nonce(self) -> bytes:
        """Four zero bytes, then the count, little-endian (Noise §12, ChaChaPoly)."""
        nonce = _NONCE.pack(self._n_messages)
        self._n_messages += 1
        return nonce

    def _seal_small(self, out: memoryview, at: int) -> int:
        if self._small:
            at = self._seal_message(self._small, out, at)
            self._small.clear()
        return at

    def _seal_message(self, plaintext: Buffer, out: memoryview, at: int) -> int:
        end = at + len(plaintext) + _OVERHEAD_BYTES
        out[at : at + LENGTH_BYTES] = (len(plaintext) + TAG_BYTES).to_bytes(LENGTH_BYTES, "big")
        self._aead.encrypt_into(self._nonce(), plaintext, None, out[at + LENGTH_BYTES : end])
        return end


def sealed_bytes_max(parts: Iterable[Buffer]) -> int:
    """How much room ``Cipher.seal`` may need for these parts. A part costs a message for each 65,519 bytes begun, and one before it."""
    return sum(len(part) + (len(part) // PLAINTEXT_BYTES_MAX + 2) * _OVERHEAD_BYTES for part in parts)
