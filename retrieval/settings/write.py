"""Writing settings: a new config.toml, one changed key in it, and the reference table for the README.

The rule: a file is written only after it was read back as settings, and a person's comments survive every change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import replace_file
from retrieval.settings.declare import ENVIRONMENT_PREFIX, Key, keys_of, sections_of
from retrieval.settings.load import read_config, unknown_key, value_of, values_in_file

_HEADER = re.compile(r"^\[([^\[\]]+)\]")


def write_default(declaration: type, values: Mapping[str, object]) -> str:
    """A commented config.toml: ``values`` (by dotted key, as people or TOML write them) in force, every other key a comment.

    Defaults stay comments so that a later version's better default reaches homes that never chose another value.
    """
    keys = list(keys_of(declaration))
    assert set(values) <= {key.dotted for key in keys}
    lines = [
        f"# Stronger than this file: environment variables {ENVIRONMENT_PREFIX}<SECTION>_<KEY>, then flags.",
        "# A line that begins with '#' shows a default.",
        "",
    ]
    for key in (key for key in keys if not key.section):
        lines += _render_key(key, values)
    for section, sentence in sections_of(declaration).items():
        lines += [f"# {sentence}", f"[{section}]", ""]
        for key in (key for key in keys if key.section == section):
            lines += _render_key(key, values)
    return "\n".join(lines).rstrip("\n") + "\n"


def set_key(declaration: type, path: Path, dotted: str, text: str) -> None:
    """Set one key in a configuration file to ``text``, written as for a flag; everything else in it stays as it is.

    Raises ``LocalProtocolError``: config_invalid (also when the file was broken before), file_unreadable or disk_full.
    """
    keys = {key.dotted: key for key in keys_of(declaration)}
    if dotted not in keys:
        raise unknown_key(dotted, keys, "set")
    key = keys[dotted]
    value = value_of(key, text, "set", from_text=True)
    content = read_config(path)
    before = values_in_file(declaration, content, path)
    written = key.kind.show(value)
    expected = {name: found for name, (found, _) in before.items()} | {dotted: value}
    try:
        changed = _replace(content, dotted, written) if dotted in before else _insert(content, key, written)
        after = {name: found for name, (found, _) in values_in_file(declaration, changed, path).items()}
    except (TOMLKitError, LocalProtocolError) as error:
        raise _edit_by_hand(dotted, path) from error
    if after != expected:
        raise _edit_by_hand(dotted, path)
    replace_file(path.resolve(), changed.encode(), mode=path.stat().st_mode & 0o777)


def render_reference(declaration: type) -> str:
    """The markdown table of all settings, for a README that a test compares with it."""
    rows = ["| key | kind | default | environment | what it does |", "|---|---|---|---|---|"]
    for key in keys_of(declaration):
        default = _toml(key.kind.show(key.default))
        cells = (f"`{key.dotted}`", key.kind.name, f"`{default}`", f"`{key.variable}`", key.sentence)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _render_key(key: Key, values: Mapping[str, object]) -> list[str]:
    chosen = key.dotted in values
    given = values.get(key.dotted)
    if not chosen:
        value = key.default
    else:
        value = key.kind.parse_text(given) if isinstance(given, str) else key.kind.parse(given)
    return [f"# {key.sentence}", f"{'' if chosen else '# '}{key.name} = {_toml(key.kind.show(value))}", ""]


def _replace(content: str, dotted: str, value: object) -> str:
    """The text with another value for a key that it sets, in whichever of TOML's ways."""
    document = tomlkit.parse(content)
    table: Any = document
    *sections, name = dotted.split(".")
    for section in sections:
        table = table[section]
    table[name] = value
    return tomlkit.dumps(document)


def _insert(content: str, key: Key, value: object) -> str:
    """The text with an assignment added: in place of the commented default, else below the section's header, else in a new section."""
    lines = content.splitlines(keepends=True)
    assignment = f"{key.name} = {_toml(value)}\n"
    default = re.compile(rf"#\s*{re.escape(key.name)}\s*=")
    section, below_header = "", None if key.section else 0
    for index, line in enumerate(lines):
        if header := _HEADER.match(line):
            section = header[1].strip()
            below_header = index + 1 if section == key.section else below_header
        elif section == key.section and default.match(line):
            lines[index] = assignment
            return "".join(lines)
    if below_header is not None:
        lines.insert(below_header, assignment)
        return "".join(lines)
    return f"{content.rstrip()}\n\n[{key.section}]\n{assignment}".lstrip("\n")


def _edit_by_hand(dotted: str, path: Path) -> LocalProtocolError:
    """The refusal of a file whose form we cannot change safely, such as one that holds our assignment inside a longer text."""
    return LocalProtocolError(ErrorCode.CONFIG_INVALID, f"{dotted} cannot be changed in {path} as it is written; edit it by hand")


def _toml(value: object) -> str:
    return tomlkit.item(value).as_string()
