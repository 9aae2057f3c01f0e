"""Reading settings from a file, the environment and flags.

The rule: nothing is skipped in silence. A mistyped limit that was ignored would be a limit that does not hold.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import file_error
from retrieval.settings.declare import Key, S, build, keys_of, sections_of, variable_name

CONFIG_BYTES_MAX: Final = 64 * 1024  # a config.toml with every key and comment is under 8 KiB
_ALIKE: Final = 0.6  # difflib's ratio from which a known key is worth proposing

_HEADER = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]")
_ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_.\"' -]+?)\s*=")


def load(declaration: type[S], path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]) -> tuple[S, dict[str, str]]:
    """Read the settings, and say for each dotted key where its value came from.

    ``path`` is the TOML file, or None for none; it must exist. ``overrides`` are flags by dotted key: text as people write it, or a TOML
    value, or None for a flag that was not given. Raises ``LocalProtocolError``: config_invalid or file_unreadable.
    """
    keys = {key.dotted: key for key in keys_of(declaration)}
    values = {dotted: key.default for dotted, key in keys.items()}
    origins = dict.fromkeys(keys, "default")

    if path is not None:
        for dotted, (value, line) in values_in_file(declaration, read_config(path), path).items():
            values[dotted] = value
            origins[dotted] = f"{path}:{line}" if line else str(path)
    for dotted, key in keys.items():
        if key.variable in environ:
            values[dotted] = value_of(key, environ[key.variable], f"environment variable {key.variable}", from_text=True)
            origins[dotted] = f"environment {key.variable}"
    _refuse_unknown_variables(declaration, keys, environ)
    for dotted, given in overrides.items():
        if given is not None:
            values[dotted] = value_of(keys[dotted], given, "flag", from_text=True)
            origins[dotted] = "flag"
    return build(declaration, values), origins


def values_in_file(declaration: type, content: str, path: Path) -> dict[str, tuple[Any, int | None]]:
    """Every key the file's text sets: its value, and its line where that is known. Raises ``LocalProtocolError(config_invalid)``."""
    keys = {key.dotted: key for key in keys_of(declaration)}
    found: dict[str, tuple[Any, int | None]] = {}
    for dotted, raw in _flatten(_parse_toml(content, path), "", keys, sections_of(declaration), content, path):
        line = _line_of(content, dotted)
        found[dotted] = value_of(keys[dotted], raw, _place(path, line), from_text=False), line
    return found


def read_config(path: Path) -> str:
    """The text of a configuration file. Raises ``LocalProtocolError``: config_invalid or file_unreadable."""
    try:
        with open(path, "rb") as file:
            content = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise file_error(error, path) from error
    if len(content) > CONFIG_BYTES_MAX:
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{path} is larger than {CONFIG_BYTES_MAX} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{path} is not UTF-8 text (byte {error.start})") from error


def _parse_toml(content: str, path: Path) -> dict[str, Any]:
    """The tables of a TOML text. Raises ``LocalProtocolError(config_invalid)`` with line and column."""
    try:
        return tomllib.loads(content)
    except (ValueError, RecursionError) as error:  # ValueError: a syntax error, or a number of thousands of digits
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{path.name} is not TOML: {error}") from error


def value_of(key: Key, raw: object, place: str, *, from_text: bool) -> Any:
    """The value of ``key`` in ``raw``, which came from ``place``. Raises ``LocalProtocolError(config_invalid)``."""
    try:
        return key.kind.parse_text(raw) if from_text and isinstance(raw, str) else key.kind.parse(raw)
    except ValueError as error:
        detail = f"{place}: {key.dotted}: expected {key.kind.expected}; {error}"
        raise LocalProtocolError(ErrorCode.CONFIG_INVALID, detail) from error


def unknown_key(dotted: str, known: Collection[str], place: str) -> LocalProtocolError:
    """The refusal of a key nobody declared, with the one that was probably meant."""
    section, _, name = dotted.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == section}
    near = [siblings[alike] for alike in difflib.get_close_matches(name, siblings, n=1, cutoff=_ALIKE)]
    near += [key for key in known if key.rpartition(".")[2] == name]  # the right key in the wrong section
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(siblings.values() or known)}"
    return LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{place}: there is no key {dotted!r}; {hint}")


def _flatten(
    table: Mapping[str, Any], prefix: str, keys: Mapping[str, Key], sections: Collection[str], content: str, path: Path
) -> Iterator[tuple[str, object]]:
    """Walk the file's tables, yielding dotted keys that are known."""
    for name, raw in table.items():
        dotted = prefix + name
        if dotted in keys:
            yield dotted, raw
            continue
        place = _place(path, _line_of(content, dotted))
        if dotted not in sections:
            raise unknown_key(dotted, [*keys, *sections], place)
        if not isinstance(raw, dict):
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{place}: {dotted} is a section, written [{dotted}]")
        yield from _flatten(raw, f"{dotted}.", keys, sections, content, path)


def _refuse_unknown_variables(declaration: type, keys: Mapping[str, Key], environ: Mapping[str, str]) -> None:
    """Refuse RETRIEVAL_<SECTION>_… that is no key of a section we know.

    Variables outside our sections are left alone: the other program, sharing this environment, may have a section of that name.
    """
    known = {key.variable: key.dotted for key in keys.values()}
    ours = tuple(f"{variable_name(section)}_" for section in sections_of(declaration))
    for variable in environ:
        if variable.startswith(ours) and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1, cutoff=_ALIKE)
            hint = f"did you mean {near[0]}?" if near else "see the table of settings"
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"environment variable {variable} is no setting; {hint}")


def _place(path: Path, line: int | None) -> str:
    return f"{path.name} line {line}" if line else path.name


def _line_of(content: str, dotted: str) -> int | None:
    """The line, from 1, that assigns a key or opens a section; None when it is written in an unusual way.

    tomllib tells no lines. A reading of headers and assignments finds them as people write them, and only messages depend on it.
    """
    section = ""
    for number, line in enumerate(content.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = _plain(header[1])
            if section == dotted or section.startswith(f"{dotted}."):
                return number
        elif assignment := _ASSIGNMENT.match(line):
            name = _plain(assignment[1])
            assigned = f"{section}.{name}" if section else name
            if assigned == dotted or assigned.startswith(f"{dotted}."):
                return number
    return None


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
