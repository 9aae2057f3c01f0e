"""Delegated routing: who has a CID, where the answer is "we do" or nobody (ipfs/specs, "Delegated Routing V1 HTTP API", IPIP-484).

Pure. A record says how to reach this provider: the gateway by HTTP, and the market by libp2p.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from retrieval.cid import Cid, is_identity
from retrieval.store.blocks import BlockStore

PREFIX: Final = "/routing/v1/providers/"
GATEWAY: Final = "transport-ipfs-gateway-http"
"""Speaks of a trustless gateway, as routers and clients know it."""
NDJSON_TYPE: Final = "application/x-ndjson"
JSON_TYPE: Final = "application/json"
KEPT_S: Final = 300
"""Seconds that "we have it" may be kept, and that nobody has it: content is added while people look for it."""
MISSED_S: Final = 15
QUERY_KNOWN: Final = ("filter-addrs", "filter-protocols")
FILTER_WORDS_MAX: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where this provider can be reached."""

    peer_id: str
    http: tuple[str, ...]
    """Multiaddrs of the gateway, which end in ``/http`` or ``/tls/http``."""
    libp2p: tuple[str, ...]
    """Multiaddrs of the market, without the peer id."""


def providers(store: BlockStore, reach: Reach, cid: Cid, query: Mapping[str, str], accept: str) -> tuple[Mapping[str, str], bytes]:
    """Headers and body of the answer; that nobody has it is an answer too, with status 200."""
    held = is_identity(cid) or store.size(cid) is not None
    record = _record(reach, _words(query, "filter-addrs"), _words(query, "filter-protocols")) if held else None
    return _answer([] if record is None else [record], accept)


def nobody(accept: str) -> tuple[Mapping[str, str], bytes]:
    """The answer about what is not provided."""
    return _answer([], accept)


def _answer(records: list[dict[str, object]], accept: str) -> tuple[Mapping[str, str], bytes]:
    headers = {"Vary": "Accept", "Cache-Control": f"public, max-age={KEPT_S if records else MISSED_S}"}
    if NDJSON_TYPE in accept.lower():
        return headers | {"Content-Type": NDJSON_TYPE}, b"".join(json.dumps(each).encode() + b"\n" for each in records)
    return headers | {"Content-Type": JSON_TYPE}, json.dumps({"Providers": records}).encode()


def _record(reach: Reach, addrs: Collection[str], protocols: Collection[str]) -> dict[str, object] | None:
    """The record as the filters leave it; None when they leave nothing."""
    if protocols and GATEWAY not in protocols:
        return None
    shown = [address for address in (*reach.http, *reach.libp2p) if _passes(address, addrs)]
    if not shown and "unknown" not in addrs:
        return None
    return {"Schema": "peer", "ID": reach.peer_id, "Addrs": shown, "Protocols": [GATEWAY]}


def _passes(address: str, words: Collection[str]) -> bool:
    """Whether an address has a protocol that is wanted, and none that is not (those with a ``!``)."""
    names = set(address.split("/"))
    wanted = [word for word in words if not word.startswith("!") and word != "unknown"]
    return not any(word[1:] in names for word in words if word.startswith("!")) and (not wanted or any(word in names for word in wanted))


def _words(query: Mapping[str, str], name: str) -> Collection[str]:
    return {word.strip().lower() for word in query.get(name, "").split(",", FILTER_WORDS_MAX)[:FILTER_WORDS_MAX] if word.strip()}
