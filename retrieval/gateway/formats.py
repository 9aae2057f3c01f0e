"""The form in which a client wants content: by ``?format=``, which comes first since IPIP-523, else by ``Accept``.

Pure. Several forms may do, the liked ones first; which of them the content has is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from retrieval.errors import ErrorCode, RemoteProtocolError

ACCEPT_RANGES_MAX: Final = 64
"""Media ranges looked at in one ``Accept``; browsers send under ten."""

CAR_TYPE: Final = "application/vnd.ipld.car"

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"([^"\\]*)"|({_TOKEN}))\s*', re.ASCII)
_MEDIA_TYPE: Final = re.compile(rf"\s*({_TOKEN}/{_TOKEN})\s*", re.ASCII)
_QUALITY: Final = re.compile(r"1(?:\.0{0,3})?|0(?:\.([0-9]{0,3}))?", re.ASCII)
_VERIFIABLE: Final = ("application/vnd.ipld.", "application/vnd.ipfs.", "application/x-tar")
"""Who names one of these wants just that, not a page."""


class Format(Enum):
    """A form that content can be asked for in. Its value is what stands in ``?format=``."""

    RAW = "raw"
    CAR = "car"
    DAG_JSON = "dag-json"
    DAG_CBOR = "dag-cbor"
    JSON = "json"
    CBOR = "cbor"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


_MEDIA_TYPES: Final = {
    Format.RAW: "application/vnd.ipld.raw",
    Format.CAR: CAR_TYPE,
    Format.DAG_JSON: "application/vnd.ipld.dag-json",
    Format.DAG_CBOR: "application/vnd.ipld.dag-cbor",
    Format.JSON: "application/json",
    Format.CBOR: "application/cbor",
}
_BY_MEDIA_TYPE: Final = {media_type: form for form, media_type in _MEDIA_TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What would do, and how a CAR is to be."""

    formats: tuple[Format | None, ...]
    """The liked one first; None stands for the content as people see it."""
    is_named_by_url: bool
    likes_pages: bool
    """Whether a page about the content is welcome in place of the content."""
    car_dups: bool
    """Whether a block comes at each of its appearances."""

    @property
    def car_type(self) -> str:
        """The media type of a CAR for this client, with what IPIP-412 wants said."""
        return f"{CAR_TYPE}; version=1; order=dfs; dups={'y' if self.car_dups else 'n'}"


class _MediaRange(NamedTuple):
    media_type: str
    parameters: Mapping[str, str]
    thousandths: int
    """How much it is liked."""


def wish_of(query: Mapping[str, str], accept: str) -> Wish:
    """What a request wants. Raises ``RemoteProtocolError``: ``unsupported_format``, ``malformed_request``."""
    ranges = _media_ranges(accept)
    formats, car_parameters = _by_url(query["format"], ranges) if "format" in query else _by_accept(ranges)
    return Wish(
        formats=formats,
        is_named_by_url="format" in query,
        likes_pages=any(each.media_type == "text/html" for each in ranges),
        car_dups=_car_dups(car_parameters, query) if Format.CAR in formats else False,
    )


def _by_url(name: str, ranges: list[_MediaRange]) -> tuple[tuple[Format | None, ...], Mapping[str, str]]:
    """The format that the URL names, and what ``Accept`` says of it."""
    try:
        form = Format(name)
    except ValueError as error:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_FORMAT, f"format={name[:32]!r}") from error
    return (form,), next((each.parameters for each in ranges if each.media_type == form.media_type), {})


def _by_accept(ranges: list[_MediaRange]) -> tuple[tuple[Format | None, ...], Mapping[str, str]]:
    formats: list[Format | None] = []
    car_parameters: Mapping[str, str] = {}
    for each in ranges:
        form = _BY_MEDIA_TYPE.get(each.media_type)
        if form is None and each.media_type.startswith(_VERIFIABLE):
            continue
        if form is Format.CAR:
            if each.parameters.get("version", "1") != "1":
                continue
            car_parameters = car_parameters or each.parameters
        if form not in formats:
            formats.append(form)
    if ranges and not formats:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_FORMAT, f"{ranges[0].media_type[:64]} is not served")
    return tuple(formats) or (None,), car_parameters


def _car_dups(parameters: Mapping[str, str], query: Mapping[str, str]) -> bool:
    """What ``version``, ``order`` and ``dups`` come to; each is named ``car-…`` in the URL, which has the last word."""
    wanted = {name: query.get(f"car-{name}", parameters.get(name)) for name in ("version", "order", "dups")}
    if wanted["version"] not in (None, "1"):
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED_FORMAT, "only version 1 of CAR is written")
    if wanted["order"] not in (None, "dfs", "unk"):
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, "the order of a CAR is 'dfs' or 'unk'")
    if wanted["dups"] not in (None, "y", "n"):
        raise RemoteProtocolError(ErrorCode.MALFORMED_REQUEST, "the dups of a CAR are 'y' or 'n'")
    return wanted["dups"] == "y"


def _media_ranges(accept: str) -> list[_MediaRange]:
    """Those of an ``Accept`` that can be read and are not ruled out, the liked ones first (RFC 9110, 12.5.1)."""
    ranges = [_media_range(text) for text in accept.split(",", ACCEPT_RANGES_MAX)[:ACCEPT_RANGES_MAX]]
    return sorted((each for each in ranges if each is not None and each.thousandths), key=lambda each: -each.thousandths)


def _media_range(text: str) -> _MediaRange | None:
    media_type, *fields = text.split(";")
    named = _MEDIA_TYPE.fullmatch(media_type)
    if named is None:
        return None
    parameters = {}
    for field in fields:
        found = _PARAMETER.fullmatch(field)
        if found is None:
            return None
        parameters[found[1].lower()] = found[2] if found[2] is not None else found[3]
    quality = _QUALITY.fullmatch(parameters.pop("q", "1"))
    if quality is None:
        return None
    return _MediaRange(named[1].lower(), parameters, 1000 if quality[0].startswith("1") else int((quality[1] or "").ljust(3, "0")))
