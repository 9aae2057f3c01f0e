"""What the client's gateway answers, declared: its routes are added from this, and ``/openapi.json`` is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from retrieval.deal.records import Outcome
from retrieval.errors import ErrorCode
from retrieval.gateway import content
from retrieval.gateway.listening import COMMON
from retrieval.gateway.openapi import (
    ANYWHERE,
    Interface,
    Media,
    Operation,
    Parameter,
    Place,
    Reply,
    Schema,
    json_object,
    json_reply,
    named,
)
from retrieval.gateway.problems import PROBLEM_TYPE
from retrieval.wire.messages import DEAL_ID_SIZE

from .books import PAGE_DEFAULT, PAGE_MAX
from .callers import MAX_SPEND, PROVIDER
from .market import NAMED_MAX

QUOTE_PREFIX: Final = "/v1/quote/"
RECEIPT_TYPE: Final = "application/cbor"
DEAL: Final = "Retrieval-Deal"
PAID: Final = "Retrieval-Paid"

_ALLOWED: Final = ("Authorization", "Last-Event-ID", MAX_SPEND, "If-Range")
_EXPOSED: Final = (DEAL, PAID, "WWW-Authenticate")
HEADERS: Final = {
    **COMMON,
    "Access-Control-Allow-Headers": ", ".join((COMMON["Access-Control-Allow-Headers"], *_ALLOWED)),
    "Access-Control-Expose-Headers": ", ".join((COMMON["Access-Control-Expose-Headers"], *_EXPOSED)),
    "Access-Control-Allow-Private-Network": "true",
}
"""Headers of every answer. Any web page may ask: what it may have done is up to its token, which no browser sends by itself."""

_AMOUNT: Final = {"type": "string", "pattern": "^[0-9]+$", "description": "In the token's smallest unit."}
_TEXT: Final = {"type": "string"}
_DEAL_ID: Final = {"type": "string", "pattern": f"^[0-9a-f]{{{2 * DEAL_ID_SIZE}}}$"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_PRICE: Final = json_object(
    {
        "amount_max": _AMOUNT,
        "bytes": {**_COUNT, "description": "Of all blocks that are not here."},
        "price_per_gib": _AMOUNT,
        "decimals": _COUNT,
        "free_bytes_per_day": {
            **_COUNT,
            "description": "What a gateway gives each address for nothing: as far as that is not used up today, it asks less.",
        },
    },
    description="What a provider asks.",
)
_PRICE_ASKED: Final = {"allOf": [named("Problem"), json_object({"price": named("Price")})], "description": "An error, and the price."}
_DEAL: Final = json_object(
    {
        "time": _TEXT,
        "deal_id": _DEAL_ID,
        "provider": _TEXT,
        "root": _TEXT,
        "path": _TEXT,
        "bytes": _COUNT,
        "blocks": _COUNT,
        "paid": _AMOUNT,
        "outcome": {"enum": ["open", *(each.name.lower() for each in Outcome)]},
        "countersigned": {"type": "boolean"},
    },
    {"reason": {"type": ["string", "null"]}, "channel_id": {"type": ["string", "null"]}, "voucher_amount": _AMOUNT},
)
_RECEIPT: Final = json_object(
    {
        "time": _TEXT,
        "deal_id": _DEAL_ID,
        "provider": _TEXT,
        "root": _TEXT,
        "path": _TEXT,
        "bytes": _COUNT,
        "blocks": _COUNT,
        "paid": _AMOUNT,
        "status": {"type": "string", "description": "`verified`, `client_signed_only`, `missing`, or an error's code."},
    }
)
_BUDGET: Final = json_object(
    {
        "token": json_object({"id": _TEXT, "name": _TEXT, "scopes": {"type": "array", "items": _TEXT}}),
        "spent_today": _AMOUNT,
        "left": json_object({"request": _AMOUNT, "today": _AMOUNT, "origin": {"type": ["string", "null"]}, "token": _AMOUNT}),
        "may_spend": {**_AMOUNT, "description": "What the next request may cost."},
    }
)
_QUOTE: Final = json_object(
    {
        "cid": _TEXT,
        "path": _TEXT,
        "held": {"type": "boolean", "description": "Whether all of it is here, so that it costs nothing."},
        "offers": {
            "type": "array",
            "items": json_object({"provider": _TEXT}, {**_PRICE["properties"], "error": {"type": "object"}}),
            "description": "The cheapest first.",
        },
        "may_spend": _AMOUNT,
    }
)
_NEXT: Final = {"type": ["string", "null"], "description": "What to name as `before` for the next page."}

_TOKEN: Final = "token"
_FREE: Final[tuple[Mapping[str, Sequence[str]], ...]] = ({}, {_TOKEN: ["spend"]}, {_TOKEN: ["retrieve"]})
"""Content needs no token as long as nothing is paid for it."""
_READ: Final[tuple[Mapping[str, Sequence[str]], ...]] = ({_TOKEN: ["read"]},)

INTERFACE: Final = Interface(
    title="Retrieval client",
    version="1.0.0",
    about="Content by its CID, from this machine's cache, for nothing, or bought within the budget of a token. A request without a token "
    "spends nothing. Errors are problems (RFC 9457) of one registry.",
    errors=(*ANYWHERE, ErrorCode.MISDIRECTED_REQUEST, ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN),
    schemas={"Price": _PRICE, "PriceAsked": _PRICE_ASKED, "Deal": _DEAL, "Receipt": _RECEIPT, "Budget": _BUDGET, "Quote": _QUOTE},
    security_schemes={
        _TOKEN: {
            "type": "http",
            "scheme": "bearer",
            "description": "Made by `retrieval-client token new`, with the scopes `read`, `retrieve` and `spend`.",
        }
    },
)

_PROVIDER: Final = Parameter(
    name=PROVIDER,
    place=Place.QUERY,
    about=f"Who to ask: a multiaddr with `/p2p/`, or a gateway's URL; up to {NAMED_MAX} times. Others than the configured ones need the "
    "scope `retrieve`.",
)
_MAX_SPEND: Final = Parameter(
    name=MAX_SPEND,
    place=Place.HEADER,
    about="The most that this request may cost, in the token's smallest unit. It lowers the limit and never raises it.",
    schema=_AMOUNT,
)
_PAID: Final = {
    PAID: "`0` from the cache. What is bought while it is sent has no figure yet: `progress` and `ended` of `/v1/events` tell it.",
    DEAL: "The deal by which it is bought; `/v1/deals/{deal_id}` says what it has cost.",
}
_FETCHING: Final = (
    ErrorCode.SPENDING_NOT_ALLOWED,
    ErrorCode.OVER_BUDGET,
    ErrorCode.PRICE_TOO_HIGH,
    ErrorCode.CHANNEL_MISSING,
    ErrorCode.CHANNEL_UNFUNDED,
    ErrorCode.DIAL_FAILED,
    ErrorCode.TRANSFER_STALLED,
    ErrorCode.TRANSFER_TRUNCATED,
    ErrorCode.CORRUPT_BLOCK,
    ErrorCode.STORE_FULL,
    ErrorCode.DISK_FULL,
    ErrorCode.SHUTTING_DOWN,
)
"""What can be wrong with a fetch; whatever else a provider says is passed on."""
CONTENT, CONTENT_BELOW = content.content_operations(
    parameters=(_PROVIDER, _MAX_SPEND),
    replies=(
        replace(content.CONTENT, headers={**content.CONTENT.headers, **_PAID}),
        replace(content.PART, headers={**content.PART.headers, **_PAID}),
        Reply(status=402, about="It has a price.", media=(Media(type=PROBLEM_TYPE, schema=named("PriceAsked")),)),
    ),
    errors=_FETCHING,
    security=_FREE,
)
QUOTE: Final = Operation(
    name="quote",
    path=f"{QUOTE_PREFIX}{{cid}}",
    summary="What content would cost",
    about="The same request below `/ipfs/` would cost at most what the cheapest of these says.",
    tag="money",
    parameters=(content.CID, *content.CHOICES, _PROVIDER, _MAX_SPEND),
    replies=(json_reply(200, "What providers ask.", named("Quote")),),
    errors=content.ERRORS,
    security=_READ,
)
QUOTE_BELOW: Final = replace(
    QUOTE,
    name="quote_below",
    path=f"{QUOTE_PREFIX}{{cid}}/{{path}}",
    parameters=(content.CID, content.PATH, *content.CHOICES, _PROVIDER, _MAX_SPEND),
)
_LIMIT: Final = Parameter(
    name="limit",
    place=Place.QUERY,
    about="How many at most.",
    schema={"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT},
)
_BEFORE: Final = Parameter(name="before", place=Place.QUERY, about="Those that are older than this deal.", schema=_DEAL_ID)
_ID: Final = Parameter(name="deal_id", place=Place.PATH, about="A deal's id.", schema=_DEAL_ID)


def _page(name: str, of: str) -> Reply:
    members: dict[str, Schema] = {name: {"type": "array", "items": named(of)}, "next": _NEXT}
    return json_reply(200, "The newest first.", json_object(members), example={name: [], "next": None})


DEALS: Final = Operation(
    name="deals",
    path="/v1/deals",
    summary="What was bought",
    tag="money",
    parameters=(_LIMIT, _BEFORE),
    replies=(_page("deals", "Deal"),),
    errors=(ErrorCode.DEAL_UNKNOWN,),
    security=_READ,
)
DEAL_BY_ID: Final = Operation(
    name="deal",
    path="/v1/deals/{deal_id}",
    summary="One deal",
    tag="money",
    parameters=(_ID,),
    replies=(json_reply(200, "How it stands.", named("Deal")),),
    errors=(ErrorCode.DEAL_UNKNOWN,),
    security=_READ,
)
RECEIPTS: Final = Operation(
    name="receipts",
    path="/v1/receipts",
    summary="What proves it",
    tag="money",
    parameters=(_LIMIT, _BEFORE),
    replies=(_page("receipts", "Receipt"),),
    errors=(ErrorCode.DEAL_UNKNOWN,),
    security=_READ,
)
RECEIPT: Final = Operation(
    name="receipt",
    path="/v1/receipts/{deal_id}",
    summary="One receipt, to be shown to anybody",
    about="The file that `retrieval-client receipts verify` takes.",
    tag="money",
    parameters=(_ID,),
    replies=(Reply(status=200, about="The receipt.", media=(Media(type=RECEIPT_TYPE),)),),
    errors=(ErrorCode.DEAL_UNKNOWN, ErrorCode.RECEIPT_UNSIGNED),
    security=_READ,
)
BUDGET: Final = Operation(
    name="budget",
    path="/v1/budget",
    summary="What this token may still spend",
    tag="money",
    replies=(json_reply(200, "For a request, today, for this web page, by this token.", named("Budget")),),
    security=_READ,
)
EVENTS: Final = Operation(
    name="events",
    path="/v1/events",
    summary="What happens, as server-sent events",
    about="`progress`, `ended`, `quote`; and `gap` with how many were missed, null where nobody knows.",
    tag="money",
    parameters=(Parameter(name="Last-Event-ID", place=Place.HEADER, about="Go on behind this event."),),
    replies=(Reply(status=200, about="Events until either side ends it.", media=(Media(type="text/event-stream"),)),),
    security=_READ,
    has_head=False,
)
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
    summary="Whether it can serve content",
    tag="health",
    replies=(json_reply(200, "It can.", json_object({"ready": {"const": True}, "checks": {"type": "object"}})),),
    errors=(ErrorCode.STORE_BROKEN,),
)
PAGE: Final = Operation(
    name="page",
    path="/",
    summary="A page for people",
    tag="about",
    replies=(Reply(status=200, about="What this is; with a token, what is left and what was bought.", media=(Media(type="text/html"),)),),
)
