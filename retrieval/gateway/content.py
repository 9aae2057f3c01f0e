"""What requests for content may say and are answered with, declared for the documents of both programs' gateways.

Nothing is decided here: limits and words come from the constants that ``ask``, ``formats`` and ``conditions`` go by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from retrieval.cid import CID_TEXT_MAX
from retrieval.dag import byterange
from retrieval.errors import ErrorCode

from .ask import ADDRESS_MAX, CID_TEXT, PREFIX, SCOPES
from .formats import Format
from .openapi import Media, Operation, Parameter, Place, Reply

CID: Final = Parameter(
    name="cid",
    place=Place.PATH,
    about="The root: a CID of version 0 or 1, in any multibase.",
    schema={"type": "string", "pattern": f"^{CID_TEXT}$", "maxLength": CID_TEXT_MAX},
    examples=("bafkqaaa",),
)
PATH: Final = Parameter(
    name="path",
    place=Place.PATH,
    about="Names below the root, with slashes between them that are not escaped. It never climbs: `.` and `..` are refused.",
    schema={"type": "string", "maxLength": ADDRESS_MAX},
    examples=("a/b.txt",),
    spans_slashes=True,
)


def _query(name: str, about: str, **schema: object) -> Parameter:
    return Parameter(name=name, place=Place.QUERY, about=about, schema={"type": "string", **schema})


def _header(name: str, about: str) -> Parameter:
    return Parameter(name=name, place=Place.HEADER, about=about)


CHOICES: Final = (
    _query("format", "The form wanted. It comes before `Accept` (IPIP-523).", enum=[form.value for form in Format]),
    _query("dag-scope", "How much of the DAG a CAR holds (IPIP-402).", enum=list(SCOPES)),
    _query("entity-bytes", "The part of a file whose blocks a CAR holds: first and last byte.", pattern=f"^(?:{byterange.FORM})$"),
    _query("car-version", "The version of a CAR.", enum=["1"]),
    _query("car-order", "The order of a CAR's blocks; it is `dfs` always (IPIP-412).", enum=["dfs", "unk"]),
    _query("car-dups", "Whether a block comes at each of its appearances in a CAR.", enum=["y", "n"]),
    _query("filename", "What a browser is to call it."),
    _query("download", "`true` has a browser save it."),
    _header("Range", "Bytes of a block or a file; of several ranges the first is served (RFC 9110, 14.2)."),
    _header("If-Range", "The `Etag` for which `Range` counts."),
    _header("If-None-Match", "Tags of what the client has."),
    _header("Cache-Control", "`only-if-cached`: 412 in place of 404."),
)
"""What a request can choose by. ``Accept`` is one too, and OpenAPI tells it by the media types of the answers."""

_TYPES: Final = (*dict.fromkeys(form.media_type for form in Format), "text/html", "*/*")
_HEADERS: Final = {
    "Etag": "Names these bytes: of the CID, the path, the form.",
    "Cache-Control": "`immutable` for content, a week for pages made of it.",
    "Content-Disposition": "What to call it.",
    "Content-Location": "The address that names what `Accept` chose.",
    "Accept-Ranges": "`bytes`, or `none` for a CAR.",
    "X-Ipfs-Path": "The content path.",
    "X-Ipfs-Roots": "The CIDs on the path, the last one's is the content's.",
}
CONTENT: Final = Reply(
    status=200,
    about="The content. A body that cannot be finished is cut.",
    media=tuple(Media(type=each) for each in _TYPES),
    headers=_HEADERS,
)
PART: Final = Reply(
    status=206,
    about="The range of it that was asked for.",
    media=tuple(Media(type=each) for each in _TYPES),
    headers=_HEADERS | {"Content-Range": "Where it lies in all of it."},
)
REPLIES: Final = (
    CONTENT,
    PART,
    Reply(status=301, about="A folder, whose address ends with a slash.", headers={"Location": "The same with a slash."}),
    Reply(status=304, about="The client has it.", headers=_HEADERS),
    Reply(status=416, about="No byte of the range lies in the content.", headers={"Content-Range": "The size of the content."}),
)
ERRORS: Final = (
    ErrorCode.INVALID_CID,
    ErrorCode.INVALID_PATH,
    ErrorCode.INVALID_RANGE,
    ErrorCode.NOT_FOUND,
    ErrorCode.PATH_NOT_FOUND,
    ErrorCode.UNSUPPORTED_FORMAT,
    ErrorCode.UNSUPPORTED_CODEC,
    ErrorCode.NOT_CACHED,
    ErrorCode.DAG_TOO_LARGE,
    ErrorCode.RANGE_NOT_SATISFIABLE,
    ErrorCode.INSIDE_DOCUMENT,
    ErrorCode.CONTENT_GONE,
    ErrorCode.CONTENT_RESTRICTED,
    ErrorCode.MALFORMED_BLOCK,
    ErrorCode.STORE_BROKEN,
)


def content_operations(
    *,
    parameters: Sequence[Parameter] = (),
    replies: Sequence[Reply] = (),
    errors: Sequence[ErrorCode] = (),
    security: Sequence[Mapping[str, Sequence[str]]] = (),
) -> tuple[Operation, Operation]:
    """Content at a CID and below it, with what a program's own gateway adds."""

    def at(name: str, path: str, *names: Parameter) -> Operation:
        return Operation(
            name=name,
            path=path,
            summary="Content by its CID" if len(names) == 1 else "Content by the path to it below a CID",
            about="A block or a CAR, to be verified by whoever asked; else the file, folder or document itself.",
            tag="content",
            parameters=(*names, *CHOICES, *parameters),
            replies=(*REPLIES, *replies),
            errors=(*ERRORS, *errors),
            security=tuple(security),
        )

    return at("content", f"{PREFIX}{{cid}}", CID), at("content_below", f"{PREFIX}{{cid}}/{{path}}", CID, PATH)
