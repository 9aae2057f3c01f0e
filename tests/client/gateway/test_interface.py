"""The gateway and the document it serves of itself: each says what the other does, also to callers who try everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from counter_gateway import Running, open_counter
from dag_builder import Builder, identity
from documents import to_cbor
from http_door import open_door
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from retrieval_client.config import ClientSettings
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from shop import new_home

from retrieval.cid import DAG_CBOR, cid_of, format_cid
from retrieval.store.blocks import MemoryBlockStore

SEEDED = settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Each run asks the same, of each operation this often."""
PATHS = ("a", "doc", "doc/a", "file", "link", "none", "..", "a//")
ENDLESS = "/v1/events"
LEFT_OUT = (
    schemathesis.checks.positive_data_acceptance,  # a well-formed CID may be of nothing that is held
    schemathesis.checks.negative_data_rejection,  # unknown parameters are let pass, as gateways do
    schemathesis.checks.ignored_auth,  # content needs a token only where it is sold; what each answers is asked for below
)


def _site() -> tuple[MemoryBlockStore, tuple[str, ...]]:
    """Something of each kind, and the CIDs worth asking for."""
    dag = Builder()
    text = dag.raw(b"hello, world\n")
    file = dag.file(text, dag.raw(b"more\n"), sizes=(13, 5))
    document = dag.block(DAG_CBOR, to_cbor({"a": 1}))
    folder = dag.directory(("a", text), ("doc", document), ("file", file), ("link", dag.symlink(b"a")))
    return dag.store, tuple(map(format_cid, (text, file, document, folder, identity(b"x"), cid_of(0x55, b"absent"))))


STORE, CIDS = _site()


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with open_door(STORE) as door:
        values = {"gateway.providers": [f"http://127.0.0.1:{door.port}"]}
        home = new_home(tmp_path_factory.mktemp("interface") / "client", "retrieval-client", ClientSettings, values)
        with open_counter(home) as counter:
            yield counter


@pytest.mark.parametrize(
    ("mode", "is_known"), [(GenerationMode.POSITIVE, False), (GenerationMode.POSITIVE, True), (GenerationMode.NEGATIVE, True)]
)
def test_every_answer_is_one_that_the_document_announces(counter: Running, mode: GenerationMode, is_known: bool) -> None:
    load_all_checks()
    api = schemathesis.openapi.from_dict(json.loads(counter.get("/openapi.json").body))
    # Without the scope to name providers: what is made up here is never dialled.
    allowed = {"Authorization": f"Bearer {counter.new_token('read')}"} if is_known else {}
    seen: dict[str, set[int]] = {}
    for found in api.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.definition.raw.get("parameters"):
            continue  # there is nothing to say wrongly
        if operation.path == ENDLESS and is_known:
            continue  # its answers do not end

        @SEEDED
        @given(
            case=operation.as_strategy(generation_mode=mode),
            cid=st.sampled_from((None, *CIDS)),
            path=st.sampled_from((None, *PATHS)),
            is_plain=st.booleans(),
        )
        def ask(case: Any, cid: str | None, path: str | None, is_plain: bool) -> None:
            case.headers.pop("Authorization", None)
            if is_plain:
                case.headers.clear()
                case.query.clear()
            for name, value in (("cid", cid), ("path", path)):
                if value is not None and name in case.path_parameters:
                    case.path_parameters[name] = value
            reply = case.call(base_url=f"http://{counter.authority}", headers=allowed)
            case.validate_response(reply, excluded_checks=LEFT_OUT)
            assert reply.status_code < 400 or reply.headers["content-type"] == ["application/problem+json"]
            seen.setdefault(case.path, set()).add(reply.status_code)

        ask()
    of_money = {status for path, statuses in seen.items() if path.startswith("/v1/") for status in statuses}
    of_content = seen["/ipfs/{cid}"] | seen["/ipfs/{cid}/{path}"]
    assert of_money >= ({200} if is_known else {401})
    assert of_content & {200, 206, 304} if mode is GenerationMode.POSITIVE else 400 in of_money
