"""What this provider is, holds and has earned: from the running process where there is one, else from what it left on disk."""

from __future__ import annotations

from contextlib import closing

from retrieval.deal import fold
from retrieval.deal.records import OutcomeRecord
from retrieval.home import Home, read_secret
from retrieval.identity import EvmKey, format_address, format_peer_id
from retrieval.store.disk import DiskBlockStore
from retrieval.store.lmdb import LmdbStateStorage
from retrieval.transport.control import Json

from .commands import ask_status
from .config import ProviderSettings
from .figures import figures_of
from .ledger import restore_books
from .pricing import PriceList


def overview(home: Home, settings: ProviderSettings) -> Json:
    """Raises ``LocalProtocolError`` as keys and stores do."""
    live = ask_status(home)
    with (
        closing(LmdbStateStorage.open_readonly(home.state_path)) as state,
        closing(DiskBlockStore(home.blocks_path, bytes_max=settings.store.bytes_max, readonly=True)) as store,
    ):
        books = restore_books(home, settings, state)
        price = PriceList(state, settings.price).default
        still = {
            "pid": None,
            "addresses": [],
            "operator": [],
            "sessions": 0,
            "rpc": settings.chain.rpc or None,
            **figures_of(books).to_json(),
        }
        return {
            "serving": live is not None,
            "peer_id": format_peer_id(books.key.peer_id),
            "receiver": format_address(EvmKey.from_secret(read_secret(home.receiver_key_path).reveal()).address),
            "roots": sum(1 for _ in store.roots()),
            "stored_bytes": store.bytes_used(),
            "stored_bytes_max": store.bytes_max,
            "price_per_gib": str(price.price_per_gib),
            "flat_fee": str(price.flat_fee),
            "deals_ended": sum(1 for _ in fold.scan(state, OutcomeRecord)),
            **(still | (live or {})),
        }
