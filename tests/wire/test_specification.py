"""The specification in ``retrieval.wire`` says what the code does, as far as a test can read."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from retrieval import wire
from retrieval.deal import hello
from retrieval.errors import ErrorCode
from retrieval.wire import messages

SPECIFICATION = wire.__doc__ or ""
FIGURES = re.findall(r"^``(retrieval\.[a-z_.]+)\.([A-Z_]+)``\s+([0-9.]+)", SPECIFICATION, re.MULTILINE)


@pytest.mark.parametrize(("module", "name", "value"), FIGURES)
def test_deadlines_and_limits_are_those_of_the_code(module, name, value):
    assert getattr(import_module(module), name) == float(value)


def test_the_table_of_figures_is_read():
    assert len(FIGURES) >= 15


def test_every_error_it_names_is_registered():
    labels = {code.label for code in ErrorCode}
    named = set(re.findall(r"``([a-z]+(?:_[a-z]+)+)``", SPECIFICATION)) - _fields()
    assert named <= labels


def test_every_capability_is_in_its_table():
    for capability in (*hello.ours(True).required, *hello.ours(True).optional):
        assert f"``{capability}``" in SPECIFICATION


def test_every_message_is_in_the_table_of_messages():
    rows = dict(re.findall(r"^(\d+) +(\w+)", messages.__doc__ or "", re.MULTILINE))
    assert rows.pop(str(messages.FrameType.BLOCK.value)) == "Block"
    assert rows == {str(int(number)): message.__name__ for number, message in messages.MESSAGE_OF_TYPE.items()}


def _fields() -> set[str]:
    """Names that stand for fields of messages, not for errors."""
    return {name for name in dir(messages.Quote) + dir(messages.Refuse) + dir(messages.Query) + dir(messages.Acceptance) if "_" in name} | {
        "channel_amount",
        "deal_amount",
    }
