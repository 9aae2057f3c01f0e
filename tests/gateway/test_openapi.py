"""Interfaces and their documents: what is declared is served, and what is served is declared."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from interfaces import document_of, require_sound

from retrieval.errors import REGISTRY, ErrorCode
from retrieval.gateway.openapi import (
    Interface,
    Media,
    Operation,
    Parameter,
    Place,
    Reply,
    add_routes,
    document,
    json_object,
    json_reply,
    named,
)

NUMBER = Parameter(name="number", place=Place.PATH, about="Which.", schema={"type": "integer", "maximum": 9})
REST = Parameter(name="rest", place=Place.PATH, about="All that follows.", spans_slashes=True)
THING = json_object({"name": {"type": "string"}}, examples=[{"name": "a"}])
ONE = Operation(
    name="thing",
    path="/things/{number}",
    summary="A thing",
    parameters=(NUMBER, Parameter(name="by", place=Place.QUERY, about="Whose.", examples=("me",), is_required=True)),
    replies=(json_reply(200, "It.", named("Thing"), example={"name": "b"}),),
    errors=(ErrorCode.NOT_FOUND, ErrorCode.PATH_NOT_FOUND),
    security=({"token": ("read",)}, {}),
)
BELOW = Operation(
    name="below", path="/things/{number}/{rest}", summary="Below it", parameters=(NUMBER, REST), replies=(Reply(status=204, about="."),)
)
CHANGE = Operation(
    name="change",
    method="POST",
    path="/things/{number}",
    summary="Change it",
    parameters=(NUMBER,),
    body=Media(schema=named("Thing")),
    replies=(Reply(status=404, about="Gone for good.", headers={"X-Since": "When."}),),
    errors=(ErrorCode.NOT_FOUND,),
)
EVENTS = Operation(name="events", path="/events", summary="What happens", has_head=False, replies=(Reply(status=200, about="."),))
INTERFACE = Interface(
    title="Things",
    version="1",
    about="All of them.",
    schemas={"Thing": THING},
    security_schemes={"token": {"type": "http", "scheme": "bearer"}},
)


async def echo(request: web.Request) -> web.StreamResponse:
    return web.json_response(dict(request.match_info))


def app_of(*operations: Operation) -> web.Application:
    app = web.Application()
    add_routes(app, INTERFACE, [(operation, echo) for operation in operations])
    return app


def described(*operations: Operation) -> dict[str, Any]:
    return document(INTERFACE, operations)["paths"]


def test_routes_and_document_agree_and_the_document_is_valid() -> None:
    app = app_of(ONE, BELOW, CHANGE, EVENTS)
    require_sound(app, asyncio.run(document_of(app)))


def test_an_application_with_a_route_that_nobody_declared_does_not_start() -> None:
    app = app_of(ONE)
    app.router.add_get("/hidden", echo)
    with pytest.raises(AssertionError, match="past add_routes"):
        asyncio.run(document_of(app))


def test_a_name_takes_what_lies_up_to_a_slash_or_all_that_follows() -> None:
    async def ask(target: str) -> dict[str, str]:
        async with TestClient(TestServer(app_of(ONE, BELOW))) as client:
            return dict(json.loads(await (await client.get(target)).read()))

    assert asyncio.run(ask("/things/7")) == {"number": "7"}
    assert asyncio.run(ask("/things/7/a/b")) == {"number": "7", "rest": "a/b"}
    assert asyncio.run(ask("/things//")) == {"number": "", "rest": ""}


def test_a_get_has_a_head_without_a_body_unless_it_is_told_not_to() -> None:
    get, head = (described(ONE)["/things/{number}"][method] for method in ("get", "head"))
    assert head["parameters"] == get["parameters"]
    assert set(head["responses"]) == set(get["responses"])
    assert not any("content" in said for said in head["responses"].values())
    assert set(described(EVENTS)["/events"]) == {"get"}
    assert set(described(CHANGE)["/things/{number}"]) == {"post"}


def test_errors_of_one_status_stand_together_and_are_problems() -> None:
    said = described(ONE)["/things/{number}"]["get"]["responses"]["404"]
    assert set(said["content"]) == {"application/problem+json"}
    media = said["content"]["application/problem+json"]
    assert media["schema"]["properties"]["code"]["enum"] == ["not_found", "path_not_found"]
    assert media["examples"]["not_found"]["value"]["number"] == ErrorCode.NOT_FOUND
    assert REGISTRY[ErrorCode.PATH_NOT_FOUND].summary in said["description"]


def test_every_operation_can_answer_with_the_errors_of_the_interface() -> None:
    for operation in (ONE, BELOW, CHANGE, EVENTS):
        responses = described(operation)[operation.path][operation.method.lower()]["responses"]
        assert {"400", "429", "431", "500"} <= set(responses)
        assert "Retry-After" in responses["429"]["headers"]


def test_a_reply_says_more_of_a_status_than_its_errors_do() -> None:
    said = described(CHANGE)["/things/{number}"]["post"]["responses"]["404"]
    assert said["description"] == "Gone for good."
    assert "X-Since" in said["headers"]
    assert "application/problem+json" in said["content"]


def test_scopes_are_told_by_scheme() -> None:
    assert described(ONE)["/things/{number}"]["get"]["security"] == [{"token": ["read"]}, {}]


def test_a_path_declares_each_of_its_names() -> None:
    with pytest.raises(AssertionError, match="declares each of its names"):
        Operation(name="x", path="/{number}/{rest}", summary=".", parameters=(NUMBER,), replies=())


def test_two_operations_never_have_one_name() -> None:
    with pytest.raises(AssertionError, match="declared twice"):
        described(ONE, ONE)
