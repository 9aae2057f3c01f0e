"""The door and the document it serves of itself."""

from __future__ import annotations

import asyncio

from http_door import REACH
from interfaces import document_of, require_sound
from retrieval_provider.http.app import Door
from retrieval_provider.http.till import FreeTill

from retrieval.store.blocks import MemoryBlockStore


def test_the_door_serves_what_its_document_says_and_nothing_else() -> None:
    app = Door(MemoryBlockStore(), FreeTill(), REACH, requests_max=1).app()
    document = asyncio.run(document_of(app))
    require_sound(app, document)
    assert {"/ipfs/{cid}", "/ipfs/{cid}/{path}", "/v1/quote/{cid}", "/routing/v1/providers/{cid}"} <= set(document["paths"])
