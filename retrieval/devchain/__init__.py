"""A development chain on the loopback interface: py-evm behind JSON-RPC, with the project's contracts in its genesis.

Nothing in the project imports it; programs and tests meet it as they meet any chain, at an RPC URL. `start` runs one in a thread.
"""

from __future__ import annotations

from retrieval.devchain.server import RunningDevchain, start

__all__ = ["RunningDevchain", "start"]
