"""The tables: complete, reachable, and drawn as ARCHITECTURE.md shows them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from retrieval.deal.states import PURCHASE, SALE, Lifecycle, PurchaseEvent, PurchaseState, SaleEvent, SaleState, diagram
from retrieval.errors import ErrorCode, LocalProtocolError

TABLES = [(SALE, SaleState, SaleEvent), (PURCHASE, PurchaseState, PurchaseEvent)]
ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"


@pytest.mark.parametrize(("table", "states", "events"), TABLES, ids=["sale", "purchase"])
def test_every_state_has_a_row_and_can_be_reached(table: Any, states: type[Enum], events: type[Enum]) -> None:
    assert set(table) == set(states)
    reached, frontier = set(), [next(iter(table))]
    while frontier:
        state = frontier.pop()
        if state not in reached:
            reached.add(state)
            frontier += table[state].values()
    assert reached == set(states)
    assert {event for row in table.values() for event in row} == set(events)


@pytest.mark.parametrize(("table", "states", "events"), TABLES, ids=["sale", "purchase"])
def test_every_open_state_can_end(table: Any, states: type[Enum], events: type[Enum]) -> None:
    over = {state for state, row in table.items() if not row}
    for start in table:
        seen, frontier = set(), [start]
        while frontier:
            state = frontier.pop()
            if state not in seen:
                seen.add(state)
                frontier += table[state].values()
        assert seen & over, f"{start} never ends"


@pytest.mark.parametrize(("table", "states", "events"), TABLES, ids=["sale", "purchase"])
def test_what_is_not_in_the_table_is_an_error_and_moves_nothing(table: Any, states: type[Enum], events: type[Enum]) -> None:
    for state in states:
        for event in events:
            life: Lifecycle[Any, Any] = Lifecycle(table, state)
            assert life.may(event) == (event in table[state])
            if life.may(event):
                assert life.advance(event) is table[state][event]
                continue
            with pytest.raises(LocalProtocolError) as caught:
                life.advance(event)
            assert caught.value.code is ErrorCode.UNEXPECTED_MESSAGE
            assert life.state is state


@pytest.mark.parametrize("table", [SALE, PURCHASE], ids=["sale", "purchase"])
def test_the_architecture_shows_the_tables_as_they_are(table: Any) -> None:
    assert diagram(table) in ARCHITECTURE.read_text()
