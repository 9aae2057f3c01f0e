"""Results as one page that needs nothing else: ratios first, then what they are made of, then every figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from benchmarks import plots
from benchmarks.measure import MORE_IS_BETTER, Record
from benchmarks.peers.kubo_bitswap import ANCHOR_LABEL
from benchmarks.results import Results

STYLE: Final = """
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #20242b; --soft: #666d79; --rule: #e3e1da; --ours: #2458c5; --plain: #b3bac6;
  --met: #17805a; --missed: #b8472a; --p0: #2458c5; --p1: #8fb2ef; --p2: #2a9d8f; --p3: #8ec9a8; --p4: #d9a441; --p5: #b8472a;
  --p6: #7d5ba6; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181d; --ink: #e8e6e1; --soft: #98a0ac; --rule: #2c313a; --ours: #7ea6f5;
  --plain: #59616e; --met: #4cc295; --missed: #ef8a6b; --p0: #4a7de6; --p1: #b4cdf8; --p5: #e07a5f; --p6: #a98bd0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.25rem 5rem; max-width: 960px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: clamp(1.5rem, 5vw, 2rem); line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.02em; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 3rem 0 .2rem; }
p { margin: .3rem 0 1rem; } .soft, .legend, footer { color: var(--soft); font-size: .88rem; }
.badge { display: inline-block; padding: .1rem .7rem; border-radius: 1rem; border: 1px solid currentColor; margin-top: .5rem; }
.score { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1.4rem 1.6rem; margin: 1.8rem 0 0; }
.score b { display: block; font-size: clamp(1.4rem, 4vw, 1.8rem); line-height: 1.2; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.score span { color: var(--soft); font-size: .85rem; }
.row { display: grid; grid-template-columns: 21rem 1fr 6.5rem; column-gap: .9rem; align-items: center; min-height: 1.95rem; }
.label { text-align: right; font-size: .84rem; line-height: 1.2; padding: .15rem 0; } .row b { text-align: right; font-size: .84rem;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.track { position: relative; align-self: stretch; } .track i { position: absolute; }
.grid, .unity { top: 0; bottom: 0; width: 1px; background: var(--rule); } .unity { background: var(--soft); }
.target { top: 12%; bottom: 12%; width: 3px; margin-left: -1.5px; background: var(--ink); border-radius: 1px; }
.bar { top: 24%; bottom: 24%; border-radius: 2px; } .stem { top: calc(50% - 2px); height: 4px; opacity: .45; }
.dot { top: calc(50% - 7px); width: 14px; height: 14px; margin-left: -7px; border-radius: 50%; }
.run { top: calc(50% - 3px); width: 6px; height: 6px; margin-left: -3px; border-radius: 50%; background: var(--paper);
  border: 1px solid var(--ink); }
i.plain { background: var(--plain); } i.ours { background: var(--ours); } i.met { background: var(--met); }
i.missed { background: var(--missed); } b.met { color: var(--met); } b.missed { color: var(--missed); } b.ours { color: var(--ours); }
.axis { min-height: 1.3rem; } .axis .track { grid-column: 2; } .axis em { text-align: right; font-style: normal; color: var(--soft);
  font-size: .72rem; white-space: nowrap; }
.tick { transform: translateX(-50%); font-style: normal; font-size: .72rem; color: var(--soft); white-space: nowrap; }
.part-0 { background: var(--p0); } .part-1 { background: var(--p1); } .part-2 { background: var(--p2); }
.part-3 { background: var(--p3); } .part-4 { background: var(--p4); } .part-5 { background: var(--p5); }
.part-6 { background: var(--p6); }
.legend { margin-top: .4rem; } .legend span { display: inline-block; margin-right: 1.2rem; }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .82rem; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--rule); } td.n, th.n { text-align: right;
  white-space: nowrap; }
details { margin-top: 3rem; } summary { cursor: pointer; font-weight: 600; } footer { margin-top: 2rem; overflow-wrap: anywhere; }
@media (max-width: 700px) { body { padding-top: 1.6rem; } h2 { margin-top: 2.3rem; }
  .row { grid-template-columns: 1fr auto; padding-top: .35rem; } .label { text-align: left; }
  .row b { grid-row: 1; grid-column: 2; } .row .track { grid-row: 2; grid-column: 1 / -1; height: 1.35rem; margin: 0 .5rem; }
  .row.axis .track { grid-row: 1; height: 1.1rem; } .axis em { grid-row: 2; grid-column: 1 / -1; } }
"""
KEY: Final = "The upright mark is the target; ✓ and green meet it, ✗ and red miss it."
STAGES_OF: Final = {"provider": ("encrypt", "send"), "client": ("receive", "decrypt", "copy", "hash", "store")}
OURS: Final = ("paid", "free")
"""What the names of our own transfers begin with."""
TILES: Final = {f"paid against {label}": label for label in (ANCHOR_LABEL, "iroh-blobs 0.35", "stock py-libp2p stream")}
"""Ratios that stand in the head of the page, and whom each is against."""


def page(results: Results) -> str:
    """HTML, UTF-8."""
    body = "\n".join(part for part in _sections(results) if part)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>Retrieval market node: how fast</title>\n<style>{STYLE}</style>\n{body}\n</html>\n"
    )


def _sections(results: Results) -> Iterator[str]:
    yield _head(results)
    compared = [record for record in results.records if record.ratio is not None and record.target]
    yield (
        _section(
            "How many times as fast",
            f"Each against what its name says, measured in the same run. {KEY}",
            plots.ratios(list(map(_ratio_row, compared))),
        )
        if compared
        else ""
    )
    limited = [record for record in results.records if record.ratio is None and record.target]
    yield (
        _section(
            "Within the limits",
            f"How many times better than its limit each is, so that unlike things share an axis. {KEY}",
            plots.ratios(list(map(_limit_row, limited))),
        )
        if limited
        else ""
    )
    yield _throughputs(results)
    yield _processors(results)
    yield _stages(results)
    yield _verification(results)
    yield _table(results)
    yield _foot(results)


def _head(results: Results) -> str:
    machine, judged = results.machine, [record for record in results.records if record.met is not None]
    n_met = sum(bool(record.met) for record in judged)
    state = "a quiet machine" if machine["quiet"] else f"a BUSY machine (load {machine['load_before']}): take the ratios, not the figures"
    paid = next((record for record in results.records if (record.name, record.metric) == ("transfer", "paid")), None)
    tiles = [(f"{n_met} of {len(judged)}", "targets met")] if judged else []
    if paid is not None:
        tiles.append((f"{paid.value:,.0f} MiB/s", "paid, verified, stored"))
    for record in results.records:
        if record.metric in TILES:
            tiles.append((f"{record.ratio:.1f}×", f"as fast as {TILES[record.metric]}"))
    score = "".join(f"<div><b>{escape(figure)}</b><span>{escape(what)}</span></div>" for figure, what in tiles)
    return (
        "<h1>Paying for every verified byte: how fast?</h1>"
        f'<p class="soft">{escape(str(machine["processor"]))} · {escape(str(machine["cores"]))} cores · '
        f"commit {escape(results.commit or 'unknown')} · {escape(results.taken)}<br>"
        f'<span class="badge">taken on {escape(state)}</span></p><div class="score">{score}</div>'
    )


def _section(title: str, words: str, drawing: str) -> str:
    return f'<h2>{escape(title)}</h2><p class="soft">{escape(words)}</p>{drawing}'


def _ratio_row(record: Record) -> plots.Row:
    assert record.ratio is not None
    shown = f"{record.ratio:.2f}×{_verdict(record)}"
    return plots.Row(label=_named(record), value=record.ratio, shown=shown, target=record.target, tone=_tone(record))


def _limit_row(record: Record) -> plots.Row:
    assert record.target
    shown = f"{_figure(record.value)} {record.unit}{_verdict(record)}"
    times_better = record.value / record.target if MORE_IS_BETTER[record.unit] else record.target / max(record.value, 1e-9)
    return plots.Row(label=_named(record), value=times_better, shown=shown, target=1.0, tone=_tone(record))


def _named(record: Record) -> str:
    return f"{record.name}: {record.metric}"


def _figure(value: float) -> str:
    """Three digits that count, and none that an exponent hides."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _verdict(record: Record) -> str:
    return "" if record.met is None else " ✓" if record.met else " ✗"


def _tone(record: Record) -> str:
    return "plain" if record.met is None else "met" if record.met else "missed"


def _throughputs(results: Results) -> str:
    rates = [record for record in results.records if record.name == "transfer" and record.unit == "MiB/s" and record.ratio is None]
    transfers = [record for record in rates if ": " not in record.metric]
    if not transfers:
        return ""
    samples = results.samples["transfer"]
    rows = [
        plots.Row(
            label=record.metric,
            value=record.value,
            shown=f"{record.value:,.0f}",
            samples=samples[record.metric],
            tone="ours" if record.metric.startswith(OURS) else "plain",
        )
        for record in sorted(transfers, key=lambda record: -record.value)
    ]
    words = "One file, two processes, loopback. Ours in blue; every dot is a run. The stream and bare aiohttp verify and store nothing."
    return _section("What moves in a second", words, plots.bars(rows, unit="MiB/s"))


def _processors(results: Results) -> str:
    costs = {record.metric: record.value for record in results.records if record.name == "transfer" and record.unit == "CPU s/GiB"}
    labels = [metric.removesuffix(": provider") for metric in costs if metric.endswith(": provider")]
    rows = [
        plots.Stack(
            label=label,
            shown=f"{costs[f'{label}: provider'] + costs[f'{label}: client']:.2f}",
            parts=[(side, costs[f"{label}: {side}"]) for side in ("provider", "client")],
        )
        for label in labels
    ]
    words = "Processor time of both processes for one GiB: what a retrieval costs whoever runs the machines."
    return _section("What a GiB costs", words, plots.stacks(rows, unit="CPU s/GiB")) if rows else ""


def _stages(results: Results) -> str:
    costs = {
        record.metric.removeprefix("stage: "): record.value
        for record in results.records
        if record.name == "transfer" and record.metric.startswith("stage: ")
    }
    if not costs:
        return ""
    rows = [
        plots.Stack(
            label=f"{side}, at the least",
            shown=f"{sum(costs[stage] for stage in stages):.2f}",
            parts=[(stage, costs[stage]) for stage in stages],
        )
        for side, stages in STAGES_OF.items()
    ]
    words = "The roofline: the bare library calls that no verified transfer can do without, in buffers that are used again."
    return _section("What the machine asks for a GiB", words, plots.stacks(rows, unit="CPU s/GiB"))


def _verification(results: Results) -> str:
    verified = [record for record in results.records if record.name == "verify"]
    if not verified:
        return ""
    rows = [
        plots.Row(
            label=record.metric.removesuffix(" against hashlib"),
            value=record.value,
            shown=f"{record.value:,.0f}",
            samples=results.samples["verify"][record.metric],
            tone="plain" if record.ratio is None else "ours",
        )
        for record in verified
    ]
    return _section("Verifying blocks on one core", "Per second of processor time; hashlib in grey.", plots.bars(rows, unit="MiB/s"))


def _table(results: Results) -> str:
    head = "<tr><th>benchmark<th>metric<th class=n>median<th>unit<th class=n>spread<th class=n>ratio<th>target<th></tr>"
    rows = "".join(map(_table_row, results.records))
    return f'<details><summary>Every figure</summary><div class="wide"><table>{head}{rows}</table></div></details>'


def _table_row(record: Record) -> str:
    bound = "≥" if MORE_IS_BETTER[record.unit] else "≤"
    target = "" if record.target is None else f"{bound} {record.target:.3g}{'×' if record.ratio is not None else ''}"
    ratio = "" if record.ratio is None else f"{record.ratio:.2f}×"
    cells: Sequence[tuple[str, str]] = (
        ("", escape(record.name)),
        ("", escape(record.metric)),
        ("n", _figure(record.value)),
        ("", escape(record.unit)),
        ("n", f"{record.spread:.0%}"),
        ("n", ratio),
        ("", target),
        ("", _verdict(record)),
    )
    return "<tr>" + "".join(f'<td class="{kind}">{text}' for kind, text in cells) + "</tr>"


def _foot(results: Results) -> str:
    left_out = "".join(f"<br>Not measured: {escape(skipped.what)}, because {escape(skipped.reason)}." for skipped in results.skipped)
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in results.versions.items())
    words = f"Medians of up to {results.runs} runs that took turns. {versions}. benchmarks/README.md defines every metric."
    return f"<footer><p>{words}{left_out}</p></footer>"
