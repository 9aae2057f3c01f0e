"""Whether an application and the document of its interface agree, for every program that has one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from retrieval.errors import REGISTRY
from retrieval.gateway.openapi import DOCUMENT_PATH, operations_of, routes_of


async def document_of(app: web.Application) -> dict[str, Any]:
    """The document as the application serves it."""
    async with TestClient(TestServer(app)) as client:
        response = await client.get(DOCUMENT_PATH)
        assert response.status == 200
        assert response.content_type == "application/json"
        return dict(json.loads(await response.read()))


def require_sound(app: web.Application, document: dict[str, Any]) -> None:
    """The document is OpenAPI 3.1, has the routes of the application and no other, and its examples are what its schemas say."""
    OpenAPIV31SpecValidator(document).validate()
    assert routes_of(app) == operations_of(document)
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == [code.label for code in REGISTRY]
    n_examples = 0
    for schema, example in _examples(document):
        Draft202012Validator({**schema, "components": document["components"]}).validate(example)
        n_examples += 1
    assert n_examples


def _examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every example that stands beside or in a schema."""
    if isinstance(node, dict):
        if isinstance(schema := node.get("schema"), dict):
            if "example" in node:
                yield schema, node["example"]
            for named in node.get("examples", {}).values():
                yield schema, named["value"]
        elif isinstance(examples := node.get("examples"), list):
            for example in examples:
                yield node, example
        for inner in node.values():
            yield from _examples(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _examples(inner)
