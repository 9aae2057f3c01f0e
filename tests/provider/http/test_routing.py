import json

import pytest
from dag_builder import Builder, identity
from http_door import PEER_ID, REACH, open_door
from retrieval_provider.http.routing import NDJSON_TYPE, providers

from retrieval.cid import RAW, Cid, cid_of, format_cid

RECORD = {
    "Schema": "peer",
    "ID": PEER_ID,
    "Addrs": ["/ip4/127.0.0.1/tcp/4802/http", "/ip4/127.0.0.1/tcp/4801"],
    "Protocols": ["transport-ipfs-gateway-http"],
}
HELD = b"held"


def found(cid: Cid, accept: str = "", **query: str) -> list[object]:
    dag = Builder()
    dag.raw(HELD)
    named = {name.replace("_", "-"): value for name, value in query.items()}
    headers, body = providers(dag.store, REACH, cid, named, accept)
    if headers["Content-Type"] == NDJSON_TYPE:
        return [json.loads(line) for line in body.splitlines()]
    return list(json.loads(body)["Providers"])


@pytest.mark.parametrize("accept", ["", "application/json", NDJSON_TYPE, f"{NDJSON_TYPE}, application/json"])
def test_we_provide_what_we_hold_and_nothing_else(accept: str) -> None:
    assert found(cid_of(RAW, HELD), accept) == [RECORD]
    assert found(cid_of(RAW, b"not held"), accept) == []
    assert found(identity(b""), accept) == [RECORD]


@pytest.mark.parametrize(
    ("query", "addrs"),
    [
        ({"filter_protocols": "transport-bitswap,transport-ipfs-gateway-http"}, [0, 1]),
        ({"filter_protocols": "transport-bitswap"}, None),
        ({"filter_addrs": "http"}, [0]),
        ({"filter_addrs": "!http,tcp"}, [1]),
        ({"filter_addrs": "quic-v1"}, None),
        ({"filter_addrs": "unknown"}, [0, 1]),
        ({"filter_addrs": "unknown,quic"}, []),
        ({"filter_addrs": "", "filter_protocols": ","}, [0, 1]),
    ],
)
def test_filters_leave_what_was_asked_for(query: dict[str, str], addrs: list[int] | None) -> None:
    left = found(cid_of(RAW, HELD), **query)
    assert left == ([] if addrs is None else [RECORD | {"Addrs": [RECORD["Addrs"][n] for n in addrs]}])


def test_the_door_answers_routing() -> None:
    dag = Builder()
    held = format_cid(dag.raw(HELD))
    with open_door(dag.store) as door:
        reply = door.get(f"/routing/v1/providers/{held}?filter-addrs=http", accept=NDJSON_TYPE)
        assert (reply.status, reply.headers["content-type"], len(reply.body.splitlines())) == (200, NDJSON_TYPE, 1)
        assert reply.headers["access-control-allow-origin"] == "*"
        missed = door.get(f"/routing/v1/providers/{format_cid(cid_of(RAW, b'no'))}")
        assert (missed.status, json.loads(missed.body)) == (200, {"Providers": []})
        assert int(missed.headers["cache-control"].partition("max-age=")[2]) < int(reply.headers["cache-control"].partition("max-age=")[2])
        assert door.get("/routing/v1/providers/what").code == (400, "invalid_cid")
