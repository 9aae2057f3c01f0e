"""A development chain on the loopback interface: py-evm behind JSON-RPC, with the project's contracts in its genesis.

Nothing in the project imports it; programs and tests meet it as they meet any chain, at an RPC URL. `start` runs one in a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.devchain.server import RunningDevchain, start

__all__ = ["RunningDevchain", "start"]


def __getattr__(name: str) -> Any:
    """Load on first use, so that the demo, which runs the chain as a program, does not wait for the EVM."""
    if name in __all__:
        from retrieval.devchain import server

        return getattr(server, name)
    raise AttributeError(name)
