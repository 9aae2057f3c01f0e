"""asyncio. What an HTTP interface answers, told once: routes are added from declarations, and the document is made of the same.

One rule: an application has the routes that its document has, and no other. ``add_routes`` is the only way to add one; an application
that was given another way does not start.

The document is OpenAPI 3.1, whose schemas are JSON Schema 2020-12. What a template cannot say, that a name in a path may hold slashes,
stands in the description of that parameter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from aiohttp import web

from retrieval.errors import REGISTRY, ErrorCode, RemoteProtocolError, Retry

from .problems import NEVER_KEPT, PROBLEM_TYPE, problem

OPENAPI_VERSION: Final = "3.1.1"
DOCUMENT_PATH: Final = "/openapi.json"
JSON_TYPE: Final = "application/json"
KEPT_S: Final = 300
"""Seconds that the document may be kept: it changes with the program."""

Json: TypeAlias = dict[str, Any]
"""A JSON object: of the document, or a schema in it. ``Any`` because JSON is."""
Schema: TypeAlias = Mapping[str, Any]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_NAME: Final = re.compile(r"\{([a-z_]+)\}")

ANYWHERE: Final = (
    ErrorCode.MALFORMED_REQUEST,
    ErrorCode.REQUEST_TOO_LARGE,
    ErrorCode.ADDRESS_TOO_LONG,
    ErrorCode.BODY_TOO_LARGE,
    ErrorCode.BODY_ENCODED,
    ErrorCode.RATE_LIMITED,
    ErrorCode.TOO_MANY_SESSIONS,
    ErrorCode.INTERNAL,
)
"""Errors that can come before a route is known, and so from each."""


class Place(Enum):
    """Where a parameter stands. Its value is OpenAPI's word for it."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """Something that a request says."""

    name: str
    place: Place
    about: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    """Its limits belong in it, by the constants that enforce them."""
    examples: Sequence[Any] = ()
    is_required: bool = False
    """What stands in the path is required always."""
    spans_slashes: bool = False
    """For the last name in a path: it takes all that follows."""

    def __post_init__(self) -> None:
        assert not self.spans_slashes or self.place is Place.PATH

    def to_json(self) -> Json:
        described: Json = {"name": self.name, "in": self.place.value, "description": self.about, "schema": dict(self.schema)}
        if self.place is Place.PATH or self.is_required:
            described["required"] = True
        if self.examples:
            described["examples"] = {f"example{n}": {"value": value} for n, value in enumerate(self.examples, 1)}
        return described


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A form that a body has: what JSON says, or for everything else nothing but its type."""

    type: str = JSON_TYPE
    schema: Schema = field(default_factory=dict)
    example: Any = None

    def to_json(self) -> Json:
        return {"schema": dict(self.schema)} | ({} if self.example is None else {"example": self.example})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One way in which a request is answered that is no error, or that says more than the error."""

    status: int
    about: str
    media: tuple[Media, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """What headers say, by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method does at one address."""

    name: str
    """Its ``operationId``."""
    path: str
    """A template: ``/ipfs/{cid}``."""
    summary: str
    method: str = "GET"
    about: str = ""
    tag: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Media | None = None
    """What a request carries."""
    replies: tuple[Reply, ...]
    errors: tuple[ErrorCode, ...] = ()
    """Those it can answer with beyond the interface's own."""
    security: tuple[Mapping[str, Sequence[str]], ...] = ()
    """Ways to be allowed, any of which does: the scopes that are needed, by the names of schemes. An empty one is to need none."""
    has_head: bool = True
    """Whether ``HEAD`` is answered too, where the method is ``GET``."""

    def __post_init__(self) -> None:
        named = set(_NAME.findall(self.path))
        assert named == {each.name for each in self.parameters if each.place is Place.PATH}, "a path declares each of its names"
        assert self.method == self.method.upper()

    @property
    def methods(self) -> tuple[str, ...]:
        return ("GET", "HEAD") if self.method == "GET" and self.has_head else (self.method,)

    @property
    def route_path(self) -> str:
        """The template as aiohttp has it: a name takes everything up to a slash, or all that follows."""
        patterns = {each.name: ".*" if each.spans_slashes else "[^/]*" for each in self.parameters if each.place is Place.PATH}
        return _NAME.sub(lambda found: f"{{{found[1]}:{patterns[found[1]]}}}", self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What the document says of all of it."""

    title: str
    version: str
    about: str
    errors: tuple[ErrorCode, ...] = ANYWHERE
    """What any operation can answer with."""
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    """Those that have a name, to be referred to by ``named``."""
    security_schemes: Mapping[str, Schema] = field(default_factory=dict)


Route: TypeAlias = tuple[Operation, Handler]


def named(schema: str) -> Json:
    """A reference to a schema of the interface, or to ``Problem``."""
    return {"$ref": f"#/components/schemas/{schema}"}


def json_object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, **more: Any) -> Json:
    """The schema of an object with these members. Further ones may come with later versions."""
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}, **more}


def add_routes(app: web.Application, interface: Interface, routes: Iterable[Route]) -> None:
    """Give an application its routes and, at ``/openapi.json``, the document of them. Called once for each application."""
    served = [*routes, (_DOCUMENT, _serve_document)]
    for operation, handler in served:
        for method in operation.methods:
            app.router.add_route(method, operation.route_path, handler)
    app[_SERVED] = json.dumps(document(interface, [operation for operation, _ in served])).encode()
    app.on_startup.append(_require_documented)


def document(interface: Interface, operations: Iterable[Operation]) -> Json:
    """The document of an interface with these operations."""
    paths: dict[str, Json] = {}
    names: set[str] = set()
    for operation in operations:
        item = paths.setdefault(operation.path, {})
        for method in operation.methods:
            described = _described(interface, operation, is_head=method == "HEAD")
            assert described["operationId"] not in names, f"{described['operationId']} is declared twice"
            names.add(described["operationId"])
            item[method.lower()] = described
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": interface.title, "version": interface.version, "description": interface.about, "license": _LICENSE},
        "servers": [{"url": "/", "description": "Where this document was found."}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": problem_schema(), **interface.schemas},
            "securitySchemes": dict(interface.security_schemes),
        },
    }


def routes_of(app: web.Application) -> set[tuple[str, str]]:
    """Every method and template that an application answers, however it came to."""
    return {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}


def operations_of(described: Json) -> set[tuple[str, str]]:
    """Every method and template in a document."""
    return {(method.upper(), path) for path, item in described["paths"].items() for method in item}


def problem_schema() -> Json:
    """What ``problems.problem`` writes (RFC 9457), with all that the registry knows."""
    return json_object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string", "description": "What happened."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "code": {"type": "string", "enum": [code.label for code in REGISTRY], "description": "Which error it is, for programs."},
            "number": {"type": "integer", "enum": [int(code) for code in REGISTRY], "description": "The same, as on libp2p."},
            "retryable": {"type": "string", "enum": [retry.value for retry in Retry], "description": "Where the same could work later."},
            "hint": {"type": "string", "description": "What to try."},
        },
        {
            "detail": {"type": "string", "description": "What was wrong this time."},
            "retry_after_s": {"type": "integer", "minimum": 0, "description": "Seconds to wait."},
        },
        description="An error.",
        examples=[_example_of(ErrorCode.NOT_FOUND)],
    )


def _described(interface: Interface, operation: Operation, *, is_head: bool) -> Json:
    described: Json = {
        "operationId": f"{operation.name}_head" if is_head else operation.name,
        "summary": f"{operation.summary} (the head of the answer)" if is_head else operation.summary,
    }
    if operation.about:
        described["description"] = operation.about
    if operation.tag:
        described["tags"] = [operation.tag]
    if operation.parameters:
        described["parameters"] = [parameter.to_json() for parameter in operation.parameters]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {operation.body.type: operation.body.to_json()}}
    described["responses"] = _responses({*interface.errors, *operation.errors}, operation.replies, is_head=is_head)
    if operation.security:
        described["security"] = [{name: list(scopes) for name, scopes in way.items()} for way in operation.security]
    return described


def _responses(errors: Iterable[ErrorCode], replies: Sequence[Reply], *, is_head: bool) -> Json:
    """By status. A reply has the last word on what it and an error have in common."""
    by_status: dict[int, list[ErrorCode]] = {}
    for code in sorted(errors):
        by_status.setdefault(REGISTRY[code].http_status, []).append(code)
    responses = {status: _refusal(status, codes) for status, codes in by_status.items()}
    for reply in replies:
        said = responses.setdefault(reply.status, {"description": ""})
        said["description"] = reply.about
        said["content"] = said.get("content", {}) | {media.type: media.to_json() for media in reply.media}
        said["headers"] = said.get("headers", {}) | {
            name: {"description": about, "schema": {"type": "string"}} for name, about in reply.headers.items()
        }
    for said in responses.values():
        for empty in [name for name in ("content", "headers") if not said.get(name) or (is_head and name == "content")]:
            said.pop(empty, None)
    return {str(status): responses[status] for status in sorted(responses)}


def _refusal(status: int, codes: Sequence[ErrorCode]) -> Json:
    """One status that some errors of the registry have in common."""
    labels = [code.label for code in codes]
    refused: Json = {
        "description": "; ".join(f"`{code.label}`: {REGISTRY[code].summary}" for code in codes),
        "content": {
            PROBLEM_TYPE: {
                "schema": {**named("Problem"), "properties": {"status": {"const": status}, "code": {"enum": labels}}},
                "examples": {code.label: {"value": _example_of(code)} for code in codes},
            }
        },
    }
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        refused["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}}}
    return refused


def _example_of(code: ErrorCode) -> Json:
    """A problem as it is written."""
    _, _, body = problem(RemoteProtocolError(code))
    example: Json = json.loads(body)
    return example


_LICENSE: Final = {"name": "MIT", "identifier": "MIT"}
_SERVED: Final = web.AppKey("document of the interface", bytes)
_DOCUMENT: Final = Operation(
    name="document",
    path=DOCUMENT_PATH,
    summary="This document",
    tag="about",
    replies=(Reply(status=200, about="OpenAPI 3.1.", media=(Media(schema={"type": "object"}),)),),
)


async def _serve_document(request: web.Request) -> web.StreamResponse:
    headers = {"Content-Type": JSON_TYPE, "Cache-Control": f"public, max-age={KEPT_S}"}
    return web.Response(headers=headers, body=request.app[_SERVED])


async def _require_documented(app: web.Application) -> None:
    assert routes_of(app) == operations_of(json.loads(app[_SERVED])), "a route was added past add_routes"


def json_reply(status: int, about: str, schema: Schema, *, example: Any = None) -> Reply:
    """A reply in JSON that nobody keeps, which is what most are."""
    return Reply(status=status, about=about, media=(Media(schema=schema, example=example),), headers={"Cache-Control": f"`{NEVER_KEPT}`."})
