"""The door and the document it serves of itself: each says what the other does, also to callers who try everything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from dag_builder import Builder, identity
from documents import to_cbor
from http_door import REACH, Caller, open_door
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from interfaces import document_of, require_sound
from retrieval_provider.http.app import Door
from retrieval_provider.http.till import FreeTill
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

from retrieval.cid import DAG_CBOR, cid_of, format_cid
from retrieval.store.blocks import MemoryBlockStore

SEEDED = settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Each run asks the same, of each operation this often."""
PATHS = ("a", "doc", "doc/a", "file", "gone", "link", "none", "..", "a//")
LEFT_OUT = (
    schemathesis.checks.positive_data_acceptance,  # a well-formed CID may be of nothing that is held
    schemathesis.checks.negative_data_rejection,  # unknown parameters are let pass, as gateways do
)


def _site() -> tuple[MemoryBlockStore, tuple[str, ...]]:
    """Something of each kind, and the CIDs worth asking for."""
    dag = Builder()
    text = dag.raw(b"hello, world\n")
    file = dag.file(text, dag.raw(b"more\n"), sizes=(13, 5))
    document = dag.block(DAG_CBOR, to_cbor({"a": 1}))
    folder = dag.directory(("a", text), ("doc", document), ("file", file), ("gone", cid_of(0x55, b"gone")), ("link", dag.symlink(b"a")))
    return dag.store, tuple(map(format_cid, (text, file, document, folder, identity(b"x"), cid_of(0x55, b"absent"))))


STORE, CIDS = _site()


@pytest.fixture(scope="module")
def door() -> Iterator[Caller]:
    with open_door(STORE) as caller:
        yield caller


def test_the_door_serves_what_its_document_says_and_nothing_else() -> None:
    app = Door(MemoryBlockStore(), FreeTill(), REACH, requests_max=1).app()
    document = asyncio.run(document_of(app))
    require_sound(app, document)
    assert {"/ipfs/{cid}", "/ipfs/{cid}/{path}", "/v1/quote/{cid}", "/routing/v1/providers/{cid}"} <= set(document["paths"])


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_one_that_the_document_announces(door: Caller, mode: GenerationMode) -> None:
    load_all_checks()
    api = schemathesis.openapi.from_dict(json.loads(door.get("/openapi.json").body))
    seen: set[int] = set()
    for found in api.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.definition.raw.get("parameters"):
            continue  # there is nothing to say wrongly

        @SEEDED
        @given(
            case=operation.as_strategy(generation_mode=mode), cid=st.none() | st.sampled_from(CIDS), path=st.none() | st.sampled_from(PATHS)
        )
        def ask(case: Any, cid: str | None, path: str | None) -> None:
            for name, value in (("cid", cid), ("path", path)):
                if value is not None and name in case.path_parameters:
                    case.path_parameters[name] = value
            reply = case.call(base_url=f"http://127.0.0.1:{door.port}")
            case.validate_response(reply, excluded_checks=LEFT_OUT)
            assert reply.status_code < 400 or reply.headers["content-type"] == ["application/problem+json"]
            seen.add(reply.status_code)

        ask()
    assert {200, 400, 404} <= seen
