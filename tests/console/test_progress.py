"""Progress on a terminal, in a log, and not at all."""

from __future__ import annotations

import io
import logging

import pytest
from terminal import Terminal

from retrieval.console import Console, Progress
from retrieval.console.progress import LOG_INTERVAL_S, figures

MIB = 1 << 20


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_figures_name_bytes_rate_spend_and_what_is_left() -> None:
    assert figures(12 * MIB, 64 * MIB, 3.25 * MIB, 1_200, 16.2) == "12 MiB of 64 MiB · 3.25 MiB/s · 0.0012 USD · 16 s left"
    assert figures(12 * MIB, None, None, 0, None) == "12 MiB · 0.00 USD"


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_a_bar_on_stderr_that_fits(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    out, err, clock = io.StringIO(), Terminal(), Clock()
    with Progress(Console(out, err), "bafybeigdy…5fbzdi", 64 * MIB, now=clock) as progress:
        clock.now_s += 100
        progress.update(12 * MIB, 1_200)
        clock.now_s += 4
        progress.update(28 * MIB, 2_800)
    assert out.getvalue() == ""
    assert ("bafybeigdy" in err.text) is (columns == 140)
    drawn = [line for line in err.text.replace("\r", "\n").splitlines() if "28 MiB of 64 MiB" in line]
    assert "4 MiB/s · 0.0028 USD · 9 s left" in drawn[-1]
    assert max(map(len, drawn)) <= columns


def test_a_pipe_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    out, err, clock = io.StringIO(), io.StringIO(), Clock()
    caplog.set_level(logging.WARNING, logger="retrieval")
    with Progress(Console(out, err), "x", 64 * MIB, now=clock) as progress:
        clock.now_s += LOG_INTERVAL_S
        progress.update(MIB, 0)
    assert (out.getvalue(), err.getvalue(), caplog.messages) == ("", "", [])


def test_a_log_gets_a_line_every_few_seconds_that_counts_no_resumed_bytes(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO, logger="retrieval")
    with Progress(Console(io.StringIO(), io.StringIO()), "bafy", 64 * MIB, resumed_bytes=40 * MIB, now=clock) as progress:
        for _ in range(3):
            clock.now_s += LOG_INTERVAL_S / 2
            progress.update(44 * MIB, 700)
    assert caplog.messages == ["bafy: 44 MiB of 64 MiB · 819.2 KiB/s · 0.0007 USD · 25 s left"]


def test_a_transfer_of_unknown_size_and_one_that_stands_still_have_figures_too(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO, logger="retrieval")
    progress = Progress(Console(io.StringIO(), io.StringIO()), "bafy", None, now=clock)
    clock.now_s += LOG_INTERVAL_S
    progress.update(0, 0)
    assert caplog.messages == ["bafy: 0 B · 0 B/s · 0.00 USD"]
