"""What is not served, by the operator's list (ipfs/specs, "Compact Denylist Format", IPIP-383).

One rule: whatever names content, or leads to it, is judged before a byte of it leaves: the root with its path, and each CID on the way.
So ``/ipfs/CID`` withholds what lies below that CID too, as the format lets a gateway choose. What lies below a folder is not searched: a
CAR of it holds what it holds.

A rule without a hint says that content is gone (410); ``gateway_status:451``, on its line or for the whole list, that the law forbids it.
Names (``/ipns/``) are not served here at all, and their rules are passed over.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote_to_bytes

from retrieval import multibase
from retrieval._native import encode_uvarint
from retrieval.cid import DAG_PB, Cid, CidParts, format_cid, parse_cid, parts
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.units import MIB

log: Final = logging.getLogger("retrieval.gateway")

HEADER_MAX: Final = MIB
LINE_MAX: Final = 2 * MIB  # bytes, of header and line: both by the format
RULES_MAX: Final = 4_000_000
"""Of one list: some hundred bytes of memory each, in every process that serves."""
COMPLAINTS_MAX: Final = 8  # lines of the log about one list
LOOKED_AT_S: Final = 1.0
"""How often at most it is asked whether the file has changed."""

STATUS_HINT: Final = "gateway_status"
_RESTRICTED: Final = "451"
_VERSION: Final = "1"
_SHA2_256: Final = 0x12
_SHA2_256_HEX: Final = 64  # letters

Rule = tuple[int, ErrorCode | None]
"""Its place in the list, and what it answers with: None lets pass. Of those that fit the last has its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _PathRule:
    path: str
    is_prefix: bool
    rule: Rule

    def fits(self, path: str) -> bool:
        return path.startswith(self.path) if self.is_prefix else path == self.path


@dataclass(slots=True)
class Denylist:
    """A list as it was read. Not changed afterwards, so it may be asked from any thread."""

    n_rules: int = 0
    _multihashes: dict[bytes, Rule] = field(default_factory=dict)
    _paths: dict[bytes, list[_PathRule]] = field(default_factory=dict)
    _hashes: dict[bytes, Rule] = field(default_factory=dict)
    """By the sha2-256 of a name, for lists that do not show what they withhold."""

    @classmethod
    def read(cls, stream: BinaryIO) -> Denylist:
        """Read a list from its beginning. Rules that cannot be read are logged and passed over.

        Raises ``LocalProtocolError(config_invalid)`` for a version of the format that is not 1, and above the format's limits.
        """
        found = cls()
        hints, line_number, n_bad = _header(stream), 0, 0
        while line := stream.readline(LINE_MAX + 1):
            if len(line) > LINE_MAX:
                raise _invalid(f"a line is above {LINE_MAX} bytes")
            line_number += 1
            text = line.decode("utf-8", "replace").strip()
            if not text or text.startswith("#"):
                continue
            if found.n_rules == RULES_MAX:
                raise _invalid(f"it has more than {RULES_MAX} rules")
            try:
                found._add(text, hints)
            except (RemoteProtocolError, ValueError, LookupError):
                n_bad += 1
                if n_bad <= COMPLAINTS_MAX:
                    log.warning("the denylist has a rule that cannot be read, in line %d behind its header", line_number)
        return found

    def require_allowed(self, root: Cid, path: Sequence[str] = ()) -> None:
        """Raises ``LocalProtocolError``, ``content_gone`` or ``content_restricted``, where the last rule for this root and path says so."""
        if not self.n_rules:
            return
        fitting = list(self._fitting(root, "/".join(path)))
        refusal = max(fitting, key=lambda rule: rule[0])[1] if fitting else None
        if refusal is not None:
            raise LocalProtocolError(refusal, format_cid(root))

    def require_all_allowed(self, cids: Sequence[Cid]) -> None:
        """Judge each by itself. Raises as ``require_allowed``."""
        for cid in cids:
            self.require_allowed(cid)

    def _fitting(self, root: Cid, path: str) -> Iterator[Rule]:
        fields = parts(root)
        multihash = _multihash(fields)
        if (rule := self._multihashes.get(multihash)) is not None:
            yield rule
        for each in self._paths.get(multihash, ()):
            if each.fits(path):
                yield each.rule
        if self._hashes:
            for name in _hidden_names(fields, multihash, path):
                if (rule := self._hashes.get(hashlib.sha256(name).digest())) is not None:
                    yield rule

    def _add(self, text: str, hints: dict[str, str]) -> None:
        """Take one line up. Raises ``RemoteProtocolError``, ``ValueError`` or ``LookupError`` where it is none."""
        item, *words = text.split()
        hints = hints | dict(_hint(word) for word in words)
        allows = item.startswith("!")
        status = ErrorCode.CONTENT_RESTRICTED if hints.get(STATUS_HINT) == _RESTRICTED else ErrorCode.CONTENT_GONE
        rule = (self.n_rules, None if allows else status)
        item = item.removeprefix("!")
        if item.startswith("/ipns/"):
            return
        if item.startswith("//"):
            self._hashes[_hidden(item[2:])] = rule
        elif item.startswith("/ipfs/"):
            self._add_path(item.removeprefix("/ipfs/"), rule)
        else:
            raise ValueError(item)
        self.n_rules += 1

    def _add_path(self, item: str, rule: Rule) -> None:
        root, _, path = item.partition("/")
        multihash = _multihash_of(root)
        if not path.strip("/"):
            self._multihashes[multihash] = rule
            return
        is_prefix = path.endswith("*")
        names = unquote_to_bytes(path.removesuffix("*")).decode("utf-8", "surrogateescape").rstrip("/")
        self._paths.setdefault(multihash, []).append(_PathRule(path=names, is_prefix=is_prefix, rule=rule))


NOTHING_DENIED: Final = Denylist()


class WatchedDenylist:
    """The list in a file, as the file is now. Its methods block, for a moment when the file has changed: call them in a thread."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ``LocalProtocolError``: ``file_unreadable``, ``config_invalid``."""
        self._path: Final = path
        self._clock: Final = clock
        self._reading: Final = threading.Lock()
        self._look_at = clock() + LOOKED_AT_S
        try:
            self._known = _mark(path)
            self._list = _read(path)
        except OSError as error:
            raise LocalProtocolError(ErrorCode.FILE_UNREADABLE, f"serve.denylist: {error}") from error

    def now(self) -> Denylist:
        """The newest list that could be read: one that is broken, or away, leaves the one before in force, and is logged."""
        if self._clock() >= self._look_at and self._reading.acquire(blocking=False):
            try:
                self._look_at = self._clock() + LOOKED_AT_S
                self._look()
            finally:
                self._reading.release()
        return self._list

    def _look(self) -> None:
        try:
            mark = _mark(self._path)
            if mark == self._known:
                return
            self._known = mark
            self._list = _read(self._path)
        except (OSError, LocalProtocolError) as error:
            log.error("the denylist could not be read again, and the one before stays in force: %s", error)
        else:
            log.info("the denylist was read again: %d rules", self._list.n_rules)


def denied_by(path: Path | None) -> Callable[[], Denylist]:
    """What tells, whenever it is asked, what the list at ``path`` denies; nothing without one. Raises as ``WatchedDenylist``."""
    return (lambda: NOTHING_DENIED) if path is None else WatchedDenylist(path).now


def _mark(path: Path) -> tuple[int, int, int]:
    """What changes when a file does."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> Denylist:
    with path.open("rb") as stream:
        return Denylist.read(stream)


def _header(stream: BinaryIO) -> dict[str, str]:
    """The hints for all of a list; leaves the stream where its rules begin.

    Of the header's YAML two things are known: ``version``, and what stands indented below ``hints``.
    """
    start = stream.tell()
    beginning = stream.read(HEADER_MAX)
    header, marker, _ = (b"\n" + beginning).partition(b"\n---\n")
    if not marker:
        stream.seek(start)
        return {}
    stream.seek(start + len(header) + len(marker) - 1)
    hints: dict[str, str] = {}
    section = ""
    for line in header.decode("utf-8", "replace").splitlines():
        name, _, value = (part.strip(" \t\"'") for part in line.partition(":"))
        if line[:1].isspace():
            if section == "hints":
                hints[name] = value
        else:
            section = name
            if name == "version" and value != _VERSION:
                raise _invalid(f"its version is {value[:16]!r}, and {_VERSION} is read")
    return hints


def _hint(word: str) -> tuple[str, str]:
    """The format writes ``name:value``; lists with ``name=value`` are in use."""
    name, separator, value = word.replace("=", ":", 1).partition(":")
    if not separator:
        raise ValueError(word)
    return name, value


def _multihash_of(text: str) -> bytes:
    """Of a CID, or a multihash in base58 itself."""
    try:
        return _multihash(parts(parse_cid(text)))
    except RemoteProtocolError:
        return _multihash(parts(encode_uvarint(1) + encode_uvarint(DAG_PB) + multibase.decode(f"z{text}")))


def _multihash(fields: CidParts) -> bytes:
    return encode_uvarint(fields.hash_code) + encode_uvarint(len(fields.digest)) + fields.digest


def _hidden(text: str) -> bytes:
    """The digest in a rule that hides what it is about: a multihash in base58, or in older lists a sha2-256 in hex."""
    if len(text) == _SHA2_256_HEX:
        return bytes.fromhex(text)
    fields = parts(encode_uvarint(1) + encode_uvarint(DAG_PB) + multibase.decode(f"z{text}"))
    if fields.hash_code != _SHA2_256:
        raise ValueError("it is hashed by another function than sha2-256")
    return fields.digest


def _hidden_names(fields: CidParts, multihash: bytes, path: str) -> Iterator[bytes]:
    """What is hashed for a rule that hides a CID: its multihash, or as older lists have it, its first version's text."""
    encoded = path.encode("utf-8", "surrogateescape")
    yield multibase.to_base58(multihash).encode() + (b"/" + encoded if encoded else b"")
    version_1 = encode_uvarint(1) + encode_uvarint(fields.codec) + multihash
    yield b"b" + multibase.to_base32(version_1).encode() + b"/" + encoded


def _invalid(why: str) -> LocalProtocolError:
    return LocalProtocolError(ErrorCode.CONFIG_INVALID, f"http.denylist: {why}")
