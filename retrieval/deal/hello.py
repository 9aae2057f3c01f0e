"""Capabilities and versions: what two parties agree to speak.

A capability is named here by the code path that honours it. The agreed set is what both know; a capability that one requires and the
other lacks ends the session by naming it.
"""

from __future__ import annotations

from typing import Final

from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.wire.messages import MINOR_VERSION, Hello

AGENT: Final = "retrieval-market-node/0.1"
DEALS_PER_SESSION_MAX: Final = 16

BLOCKS: Final = "xfer.blocks"
"""Block frames in depth-first order."""
RESUME: Final = "xfer.resume"
"""An Accept of a known deal takes it up at the client's cursor."""
RECEIPTS: Final = "rcpt.1"
FREE: Final = "pay.free"
CHANNEL: Final = "pay.evm-channel"


def ours(can_pay: bool) -> Hello:
    """Our Hello. A node without a chain deals in free content only."""
    optional = (RESUME, FREE, CHANNEL) if can_pay else (RESUME, FREE)
    return Hello(minor_version=MINOR_VERSION, required=(BLOCKS, RECEIPTS), optional=optional, deals_max=DEALS_PER_SESSION_MAX, agent=AGENT)


def agree(ours: Hello, theirs: Hello) -> frozenset[str]:
    """The capabilities both have. Raises ``RemoteProtocolError(capability_missing)`` naming what is not there."""
    we_have = frozenset(ours.required + ours.optional)
    they_have = frozenset(theirs.required + theirs.optional)
    missing = sorted((frozenset(theirs.required) - we_have) | (frozenset(ours.required) - they_have))
    if missing:
        raise RemoteProtocolError(ErrorCode.CAPABILITY_MISSING, ", ".join(missing)[:128])
    return we_have & they_have
