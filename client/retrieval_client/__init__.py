"""The client: fetch content by CID, verify every block, pay for exactly what arrived.

from retrieval_client import get

retrieval = get("bafy…", "/ip4/127.0.0.1/tcp/4801/p2p/12D3KooW…", out="film.mp4", max_spend=50_000)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Retrieval, aget, get

__all__ = ["Retrieval", "aget", "get"]


def __getattr__(name: str) -> Any:
    """Load on first use, so that `--help` does not wait for the transport."""
    if name in __all__:
        from . import api

        return getattr(api, name)
    raise AttributeError(name)
