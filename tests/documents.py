"""Documents of the IPLD data model at random, and how the library and the specification write them."""

from __future__ import annotations

import base64
import json

import cbor2
from hypothesis import strategies as st

from retrieval.cid import DAG_PB, RAW, Cid, cid_of, format_cid
from retrieval.dag.datamodel import Link, Value

links = st.sampled_from([Link(cid_of(RAW, b"x")), Link(cid_of(DAG_PB, b"y")), Link(Cid(cid_of(DAG_PB, b"y")[2:]))])  # the last of version 0
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | links
)
_keys = st.text(max_size=5).filter(lambda key: key != "/")  # DAG-JSON reserves it
documents = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=20)


def to_cbor(value: Value) -> bytes:
    """DAG-CBOR as ``cbor2`` writes it, which knows neither links nor the order of keys."""
    encoded: bytes = cbor2.dumps(_for_cbor(value))
    return encoded


def to_json(value: Value) -> bytes:
    """DAG-JSON, keys in the order of the document."""
    return json.dumps(_for_json(value), ensure_ascii=False, separators=(",", ":")).encode()


def _for_cbor(value: Value) -> object:
    if isinstance(value, Link):
        return cbor2.CBORTag(42, b"\0" + value.cid)
    if isinstance(value, list):
        return [_for_cbor(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _for_cbor(value[key]) for key in sorted(value, key=lambda key: (len(key.encode()), key.encode()))}
    return value


def _for_json(value: Value) -> object:
    if isinstance(value, Link):
        return {"/": format_cid(value.cid)}
    if isinstance(value, bytes):
        return {"/": {"bytes": base64.b64encode(value).decode().rstrip("=")}}
    if isinstance(value, list):
        return [_for_json(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _for_json(inner) for key, inner in value.items()}
    return value
