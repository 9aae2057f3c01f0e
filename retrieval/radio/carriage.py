"""How many packets a sale takes, so that who sells can ask for what relays will.

One rule: it is a little more than an undisturbed session sends, by a measured margin, since a packet whose acknowledgement is lost is
carried, and paid for, twice.
"""

from __future__ import annotations

from typing import Final

from retrieval.radio.bearer import piece_size_of
from retrieval.radio.packet import HOPS_MAX, payload_size_max
from retrieval.radio.payload import SEAL_SIZE
from retrieval.units import ceil_div

CONTROL_BYTES: Final = 800
"""Of a session's other messages from the provider: hello, quote, channel, receipts taken, countersignature; compressed."""
CONTROL_RECORDS: Final = 3
"""In so many records, each of which may end in a packet that is not full; one more packet is the quote before the session."""
BLOCK_HEAD_BYTES: Final = 96
"""Around a block's payload, with what deflate adds to what it cannot make smaller."""
DETOUR_HOPS: Final = 2
"""Segments leave room for a way that becomes longer by so many relays."""
REPEATED_IN: Final = 4
"""One packet in so many is counted twice."""


def packets_of(n_bytes: int, n_blocks: int, *, hops: int) -> int:
    """Packets with a fee that leave a provider for one sale of so many block bytes, to a client behind so many relays."""
    piece_size = piece_size_of(payload_size_max(min(HOPS_MAX, hops + DETOUR_HOPS)) - SEAL_SIZE)
    content = ceil_div(n_bytes + n_blocks * BLOCK_HEAD_BYTES, piece_size) + n_blocks
    control = ceil_div(CONTROL_BYTES, piece_size) + CONTROL_RECORDS + 1
    return content + control + ceil_div(content + control, REPEATED_IN)
