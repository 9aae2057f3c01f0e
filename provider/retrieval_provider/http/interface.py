"""What the door answers, declared: its routes are added from this, and ``/openapi.json`` is made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from retrieval.errors import ErrorCode
from retrieval.gateway import content
from retrieval.gateway.openapi import Interface, Media, Operation, Parameter, Place, Reply, json_object, json_reply, named
from retrieval.gateway.problems import PROBLEM_TYPE
from retrieval.payment.http_receipt import SALE_RECEIPT
from retrieval.payment.x402.answer import PAYMENT_RESPONSE
from retrieval.payment.x402.offer import PAYMENT_REQUIRED, VERSION, Scheme
from retrieval.payment.x402.payment import PAYMENT_SIGNATURE

from . import routing

QUOTE_PREFIX: Final = "/v1/quote/"
RECEIPT_PREFIX: Final = "/v1/receipts/"
HEALTHZ: Final = "/healthz"
READYZ: Final = "/readyz"

_AMOUNT: Final = {"type": "string", "pattern": "^[0-9]+$", "description": "In the token's smallest unit."}
_REQUIREMENTS: Final = json_object(
    {
        "scheme": {"enum": [scheme.value for scheme in Scheme]},
        "network": {"type": "string", "pattern": "^eip155:[0-9]+$"},
        "asset": {"type": "string", "description": "The token's contract."},
        "amount": {**_AMOUNT, "description": "The most that this request costs, in the token's smallest unit."},
        "payTo": {"type": "string"},
        "maxTimeoutSeconds": {"type": "integer", "minimum": 1},
        "extra": {"type": "object", "description": "What the scheme wants besides; where a client lost count, how this provider counts."},
    },
    description="One way to pay, as x402 version 2 has it.",
)
_ACCEPTS: Final = {"type": "array", "items": named("Requirements")}
_PAYMENT_REQUIRED: Final = {
    "allOf": [
        named("Problem"),
        json_object(
            {
                "x402Version": {"const": VERSION},
                "error": {"type": "string", "description": "Why, in x402's words."},
                "resource": json_object({"url": {"type": "string"}, "description": {"type": "string"}}),
                "accepts": _ACCEPTS,
            }
        ),
    ],
    "description": "An error that paying helps against: a problem, and an offer of x402 beside it.",
}
_QUOTE: Final = json_object(
    {
        "cid": {"type": "string"},
        "bytes_max": {"type": "integer", "minimum": 0, "description": "Bytes of the body at most; what left is charged."},
        "amount_max": _AMOUNT,
        "accepts": _ACCEPTS,
    },
    {
        "price_per_gib": _AMOUNT,
        "flat_fee": {**_AMOUNT, "description": "Once a day for the same content and payer."},
        "decimals": {"type": "integer", "minimum": 0},
        "symbol": {"type": "string"},
        "free_bytes_per_day": {"type": "integer", "minimum": 0, "description": "What each client address may have for nothing."},
    },
    description="What an answer would cost.",
)
_FREE: Final = {"cid": "bafkqaaa", "bytes_max": 0, "amount_max": "0", "accepts": list[Any]()}

INTERFACE: Final = Interface(
    title="Retrieval provider",
    version="1.0.0",
    about="Content by its CID over HTTP: a trustless gateway that can be paid by x402. Errors are problems (RFC 9457) of one registry. "
    "Any web page may ask: `OPTIONS` answers what CORS wants to know, at every address.",
    schemas={"Requirements": _REQUIREMENTS, "PaymentRequired": _PAYMENT_REQUIRED, "Quote": _QUOTE},
)

PAYMENT: Final = Parameter(
    name=PAYMENT_SIGNATURE, place=Place.HEADER, about="A payment, as x402 version 2 writes it; `X-Payment` is read as well."
)
_PAID: Final = {
    PAYMENT_RESPONSE: "What was set aside for this answer (x402).",
    SALE_RECEIPT: "A receipt that the provider signed, in base64.",
}
CONTENT, CONTENT_BELOW = content.content_operations(
    parameters=(PAYMENT,),
    replies=(
        replace(content.CONTENT, headers={**content.CONTENT.headers, **_PAID}),
        replace(content.PART, headers={**content.PART.headers, **_PAID}),
        Reply(
            status=402,
            about="It has a price, and no payment came that pays it.",
            media=(Media(type=PROBLEM_TYPE, schema=named("PaymentRequired")),),
            headers={PAYMENT_REQUIRED: "The offer, in base64."},
        ),
    ),
    errors=(ErrorCode.MALFORMED_PAYMENT, ErrorCode.RPC_UNAVAILABLE, ErrorCode.CONTROL_UNAVAILABLE, ErrorCode.INVALID_AMOUNT),
)
_QUOTED: Final = json_reply(200, "The price, and the ways to pay it.", named("Quote"), example=_FREE)
_QUOTE_ERRORS: Final = (*content.ERRORS, ErrorCode.CONTROL_UNAVAILABLE, ErrorCode.INVALID_AMOUNT)
QUOTE: Final = Operation(
    name="quote",
    path=f"{QUOTE_PREFIX}{{cid}}",
    summary="What content would cost",
    about="The same request below `/ipfs/`, with its query, `Accept` and `Range`, would cost at most this.",
    tag="payment",
    parameters=(content.CID, *content.CHOICES),
    replies=(_QUOTED,),
    errors=_QUOTE_ERRORS,
)
QUOTE_BELOW: Final = replace(
    QUOTE, name="quote_below", path=f"{QUOTE_PREFIX}{{cid}}/{{path}}", parameters=(content.CID, content.PATH, *content.CHOICES)
)
ORDER_SIZE: Final = 16  # bytes, of chance: who knows an order's id has its receipt already
RECEIPT_TYPE: Final = "application/cbor"
RECEIPT: Final = Operation(
    name="receipt",
    path=f"{RECEIPT_PREFIX}{{order}}",
    summary="What an answer came to",
    about=f"`{SALE_RECEIPT}` leaves with the head of an answer, and says what all of it costs. Once the answer has ended, this says what "
    "was charged for the bytes that left. It is signed like that one, and `receipts verify` takes it.",
    tag="payment",
    parameters=(
        Parameter(
            name="order",
            place=Place.PATH,
            about="The id of the order, which the receipt in the header says.",
            schema={"type": "string", "pattern": f"^[0-9a-f]{{{2 * ORDER_SIZE}}}$"},
            examples=("00" * ORDER_SIZE,),
        ),
    ),
    replies=(
        Reply(
            status=200,
            about="A receipt, as a file.",
            media=(Media(type=RECEIPT_TYPE),),
            headers={"Content-Disposition": "What to call it."},
        ),
    ),
    errors=(ErrorCode.DEAL_UNKNOWN, ErrorCode.CONTROL_UNAVAILABLE),
)
_RECORD: Final = json_object(
    {
        "Schema": {"const": "peer"},
        "ID": {"type": "string"},
        "Addrs": {"type": "array", "items": {"type": "string"}},
        "Protocols": {"type": "array", "items": {"type": "string"}},
    }
)
PROVIDERS: Final = Operation(
    name="providers",
    path=f"{routing.PREFIX}{{cid}}",
    summary="Who has a CID: this provider, or nobody",
    about="Delegated Routing V1, with the filters of IPIP-484.",
    tag="routing",
    parameters=(
        content.CID,
        *(Parameter(name=name, place=Place.QUERY, about="Words with commas between them.") for name in routing.QUERY_KNOWN),
    ),
    replies=(
        Reply(
            status=200,
            about="The providers; that there are none is an answer too.",
            media=(
                Media(schema=json_object({"Providers": {"type": "array", "items": _RECORD}}), example={"Providers": list[Any]()}),
                Media(type=routing.NDJSON_TYPE),
            ),
        ),
    ),
    errors=(ErrorCode.INVALID_CID, ErrorCode.STORE_BROKEN),
)
HEALTH: Final = Operation(
    name="healthz",
    path=HEALTHZ,
    summary="Whether it lives",
    tag="health",
    replies=(json_reply(200, "It does.", json_object({"alive": {"const": True}}), example={"alive": True}),),
)
READINESS: Final = Operation(
    name="readyz",
    path=READYZ,
    summary="Whether it can serve content",
    tag="health",
    replies=(
        json_reply(
            200,
            "It can.",
            json_object({"ready": {"const": True}, "checks": {"type": "object"}}),
            example={"ready": True, "checks": {"store": {"ok": True, "bytes": 0}}},
        ),
    ),
    errors=(ErrorCode.STORE_BROKEN,),
)
