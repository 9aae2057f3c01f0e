"""What the operator's page answers, declared: its routes are added from this, and ``/openapi.json`` is made of it."""

from __future__ import annotations

from typing import Any, Final

from retrieval.errors import ErrorCode
from retrieval.gateway.openapi import ANYWHERE, Interface, Media, Operation, Parameter, Place, Reply, json_object, json_reply, named

from .health import State

PARTS: Final = ("overview", "over_time", "transfers", "content", "payers", "channels", "health", "deals", "errors", "prices")
"""The sections of the page, in their order."""
BY: Final = ("cid", "payer", "day", "hour")
PASS_COOKIE: Final = "operator"
LIMIT_MAX: Final = 1_000
"""Rows of one answer."""
OFFSET_MAX: Final = 1 << 31

BEARER: Final = {"token": list[str]()}
PASS: Final = {"pass": list[str]()}

_ROWS: Final = json_object(
    {"rows": {"type": "array", "items": {"type": "object"}}, "n_rows": {"type": "integer", "minimum": 0}},
    description="Rows as the command line has them, and how many there are in all.",
)
_CHECK: Final = json_object(
    {"state": {"enum": [state.value for state in State]}, "says": {"type": "string"}}, description="One check, and a sentence about it."
)
_HEALTH: Final = json_object({"ready": {"type": "boolean"}, "checks": {"type": "object", "additionalProperties": named("Check")}})

INTERFACE: Final = Interface(
    title="Retrieval provider: the operator's page",
    version="1.0.0",
    about="What a provider earns and how it does, for the person who runs it. On loopback only, and read-only: nothing is changed here.",
    errors=(*ANYWHERE, ErrorCode.MISDIRECTED_REQUEST),
    schemas={"Rows": _ROWS, "Check": _CHECK, "Health": _HEALTH},
    security_schemes={
        "token": {"type": "http", "scheme": "bearer", "description": "`retrieval-provider operator` shows it."},
        "pass": {"type": "apiKey", "in": "cookie", "name": PASS_COOKIE, "description": "What a browser gets for the token."},
    },
)

_SECURED: Final[dict[str, Any]] = {
    "security": (BEARER, PASS),
    "errors": (ErrorCode.UNAUTHORIZED, ErrorCode.CONTROL_UNAVAILABLE, ErrorCode.STORE_BROKEN, ErrorCode.MALFORMED_REQUEST),
}
_OFFSET: Final = {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX}
_PAGED: Final = (
    Parameter(name="offset", place=Place.QUERY, about="Rows to leave out.", schema=_OFFSET),
    Parameter(name="limit", place=Place.QUERY, about="Rows at most.", schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}),
)
_HTML: Final = Media(type="text/html", schema={"type": "string"})


def _rows(name: str, summary: str, *parameters: Parameter, path: str | None = None) -> Operation:
    return Operation(
        name=name,
        path=path or f"/v1/{name}",
        summary=summary,
        tag="data",
        parameters=(*parameters, *_PAGED),
        replies=(json_reply(200, "The rows.", named("Rows")),),
        **_SECURED,
    )


def _asset(name: str, path: str, summary: str, media_type: str) -> Operation:
    return Operation(
        name=name, path=path, summary=summary, tag="page", replies=(Reply(status=200, about="It.", media=(Media(type=media_type),)),)
    )


def _object(name: str, summary: str, about: str) -> Operation:
    return Operation(
        name=name, path=f"/v1/{name}", summary=summary, tag="data", replies=(json_reply(200, about, {"type": "object"}),), **_SECURED
    )


PAGE: Final = Operation(
    name="page",
    path="/",
    summary="The page",
    about="With a good `token` in the query a browser is given its pass, and sent here again without it.",
    tag="page",
    parameters=(
        Parameter(name="token", place=Place.QUERY, about="The operator's token."),
        Parameter(name="by", place=Place.QUERY, about="What a bar is.", schema={"enum": ["hour", "day"]}),
        *(
            Parameter(name=name, place=Place.QUERY, about=f"Rows of {name} to leave out.", schema=_OFFSET)
            for name in ("content", "channels", "deals")
        ),
    ),
    replies=(
        Reply(status=200, about="The page.", media=(_HTML,)),
        Reply(status=303, about="The token was good."),
        Reply(status=401, about="Where to sign in.", media=(_HTML,)),
    ),
    **_SECURED,
)
PART: Final = Operation(
    name="part",
    path="/part/{name}",
    summary="One section of the page, as it is now",
    tag="page",
    parameters=(
        Parameter(name="name", place=Place.PATH, about="Which.", schema={"enum": list(PARTS)}),
        *PAGE.parameters[1:],
    ),
    replies=(Reply(status=200, about="HTML to put in place.", media=(_HTML,)),),
    security=(BEARER, PASS),
    errors=(*_SECURED["errors"], ErrorCode.UNKNOWN_ROUTE),
)
LOGIN: Final = Operation(
    name="login",
    path="/login",
    method="POST",
    summary="Sign in with the token",
    tag="page",
    body=Media(type="application/x-www-form-urlencoded", schema=json_object({"token": {"type": "string"}})),
    replies=(Reply(status=303, about="It was good; the pass is in a cookie."), Reply(status=401, about="It was not.", media=(_HTML,))),
    errors=(ErrorCode.UNAUTHORIZED, ErrorCode.MALFORMED_REQUEST),
)
LOGOUT: Final = Operation(
    name="logout",
    path="/logout",
    method="POST",
    summary="Forget the pass",
    tag="page",
    replies=(Reply(status=303, about="Forgotten."),),
    errors=(ErrorCode.FORBIDDEN,),
)
STYLE: Final = _asset("style", "/page.css", "How the page looks", "text/css")
SCRIPT: Final = _asset("script", "/page.js", "What keeps the page up to date", "text/javascript")
ICON: Final = _asset("icon", "/icon.svg", "The page's icon", "image/svg+xml")
EARNINGS: Final = _rows(
    "earnings",
    "What was earned, summed up, the most first",
    Parameter(name="by", place=Place.PATH, about="By what.", schema={"enum": list(BY)}),
    path="/v1/earnings/{by}",
)
DEALS: Final = _rows("deals", "Deals and paid answers, the newest first")
CHANNELS: Final = _rows("channels", "Channels, those that are closing first")
CONTENT: Final = _rows("content", "What is held and what it brought")
PRICES: Final = _rows("prices", "What is asked")
FIGURES: Final = _object("figures", "What the books come to", "As `status` has it, from the disk.")
LIVE: Final = _object("live", "What goes on now", "Transfers, sessions, sums and what went wrong lately.")
HEALTH: Final = Operation(
    name="healthz",
    path="/healthz",
    summary="Whether it lives",
    tag="health",
    replies=(json_reply(200, "It does.", json_object({"alive": {"const": True}}), example={"alive": True}),),
)
READINESS: Final = Operation(
    name="readyz",
    path="/readyz",
    summary="Whether it can serve and be paid",
    about="Each check has a state and a sentence. It is not ready when one is `failing`.",
    tag="health",
    replies=(json_reply(200, "It is ready.", named("Health")), json_reply(503, "It is not.", named("Health"))),
)
METRICS: Final = Operation(
    name="metrics",
    path="/metrics",
    summary="Metrics, for a Prometheus",
    tag="health",
    replies=(
        Reply(
            status=200,
            about="In the format that was asked for.",
            media=(Media(type="text/plain"), Media(type="application/openmetrics-text")),
        ),
    ),
    **_SECURED,
)
