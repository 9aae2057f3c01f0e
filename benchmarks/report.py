"""Results as one page that needs nothing else: ratios first, then what they are made of, then every figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from benchmarks import plots
from benchmarks.measure import MORE_IS_BETTER, Record
from benchmarks.results import Results
from retrieval.units import GIB, MIB

STYLE: Final = """
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #20242b; --soft: #6d7480; --rule: #e3e1da; --ours: #2458c5; --plain: #b3bac6;
  --met: #17805a; --missed: #b8472a; --p0: #2458c5; --p1: #6f9be8; --p2: #2a9d8f; --p3: #8ec9a8; --p4: #d9a441; --p5: #b8472a;
  --p6: #7d5ba6; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181d; --ink: #e8e6e1; --soft: #98a0ac; --rule: #2c313a; --ours: #7ea6f5;
  --plain: #59616e; --met: #4cc295; --missed: #ef8a6b; } }
body { margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 940px; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.02em; }
h2 { font-size: 1.15rem; margin: 3rem 0 .3rem; }
p { margin: .3rem 0 1rem; } .soft, .legend, footer { color: var(--soft); font-size: .88rem; }
.badge { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; border: 1px solid currentColor; }
.score { display: flex; flex-wrap: wrap; gap: 2.2rem; margin: 1.8rem 0 0; } .score b { display: block; font-size: 2.3rem; line-height: 1.1;
  font-variant-numeric: tabular-nums; } .score span { color: var(--soft); font-size: .85rem; }
svg { width: 100%; height: auto; display: block; margin: .6rem 0; font-size: 13px; }
text { fill: var(--ink); } .label { text-anchor: end; } .value { text-anchor: end; font-weight: 600; font-variant-numeric: tabular-nums; }
.tick { text-anchor: middle; fill: var(--soft); font-size: 11px; } .unit { text-anchor: end; fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--rule); } .unity { stroke: var(--soft); stroke-width: 1.5; } .target { stroke: var(--ink); stroke-width: 2.5; }
.plain { fill: var(--plain); } .ours { fill: var(--ours); } .met { fill: var(--met); } .missed { fill: var(--missed); }
text.plain { fill: var(--ink); } .stem { opacity: .45; } .run { fill: var(--paper); stroke: var(--ink); stroke-width: 1; }
.part-0 { fill: var(--p0); background: var(--p0); } .part-1 { fill: var(--p1); background: var(--p1); }
.part-2 { fill: var(--p2); background: var(--p2); } .part-3 { fill: var(--p3); background: var(--p3); }
.part-4 { fill: var(--p4); background: var(--p4); } .part-5 { fill: var(--p5); background: var(--p5); }
.part-6 { fill: var(--p6); background: var(--p6); }
.legend span { margin-right: 1.2rem; } .legend i { display: inline-block; width: .8em; height: .8em;
  border-radius: 2px; margin-right: .4em; }
table { border-collapse: collapse; width: 100%; font-size: .84rem; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--rule); } td.n, th.n { text-align: right; }
details { margin-top: 3rem; } summary { cursor: pointer; font-weight: 600; }
"""
LABEL_MAX: Final = 62  # characters that fit beside a plot
KEY: Final = "The upright mark is the target; green meets it, red misses it."
STAGES_OF: Final = {"provider": ("encrypt", "send"), "client": ("receive", "decrypt", "copy", "hash", "store")}
OURS: Final = ("paid", "free")
"""What the names of our own transfers begin with."""


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
        if record.metric in ("paid against Kubo Bitswap", "paid against iroh-blobs 0.35", "paid against stock py-libp2p stream"):
            tiles.append((f"{record.ratio:.1f}×", record.metric.removeprefix("paid against ")))
    score = "".join(f"<div><b>{escape(figure)}</b><span>{escape(what)}</span></div>" for figure, what in tiles)
    return (
        "<h1>Paying for every verified byte: how fast?</h1>"
        f'<p class="soft">{escape(str(machine["processor"]))} · {machine["cores"]} cores · commit {escape(results.commit or "unknown")} · '
        f'{escape(results.taken)}<br><span class="badge">taken on {escape(state)}</span></p><div class="score">{score}</div>'
    )


def _section(title: str, words: str, drawing: str) -> str:
    return f'<h2>{escape(title)}</h2><p class="soft">{escape(words)}</p>{drawing}'


def _ratio_row(record: Record) -> plots.Row:
    assert record.ratio is not None
    return plots.Row(label=_short(record), value=record.ratio, shown=f"{record.ratio:.2f}×", target=record.target, tone=_tone(record))


def _limit_row(record: Record) -> plots.Row:
    assert record.target
    shown = f"{record.value:.3g} {record.unit}"
    times_better = record.value / record.target if MORE_IS_BETTER[record.unit] else record.target / max(record.value, 1e-9)
    return plots.Row(label=_short(record), value=times_better, shown=shown, target=1.0, tone=_tone(record))


def _short(record: Record) -> str:
    text = f"{record.name}: {record.metric}"
    return text if len(text) <= LABEL_MAX else text[: LABEL_MAX - 1] + "…"


def _tone(record: Record) -> str:
    return "plain" if record.met is None else "met" if record.met else "missed"


def _throughputs(results: Results) -> str:
    transfers = [record for record in results.records if record.name == "transfer" and record.unit == "MiB/s" and record.ratio is None]
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
    labels = list(dict.fromkeys(metric.rpartition(": ")[0] for metric in costs))
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
        record.metric.removeprefix("stage: "): record.value * GIB / MIB
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
    words = "The roofline: the bare library calls that no verified transfer can do without, measured in the same run."
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
    return f"<details><summary>Every figure</summary><table>{head}{rows}</table></details>"


def _table_row(record: Record) -> str:
    bound = "≥" if MORE_IS_BETTER[record.unit] else "≤"
    target = "" if record.target is None else f"{bound} {record.target:.3g}{'×' if record.ratio is not None else ''}"
    verdict = "" if record.met is None else "✓" if record.met else "✗"
    ratio = "" if record.ratio is None else f"{record.ratio:.2f}×"
    cells: Sequence[tuple[str, str]] = (
        ("", escape(record.name)),
        ("", escape(record.metric)),
        ("n", f"{record.value:,.4g}"),
        ("", escape(record.unit)),
        ("n", f"{record.spread:.0%}"),
        ("n", ratio),
        ("", target),
        ("", verdict),
    )
    return "<tr>" + "".join(f'<td class="{kind}">{text}' for kind, text in cells) + "</tr>"


def _foot(results: Results) -> str:
    left_out = "".join(f"<br>Not measured: {escape(skipped.what)}, because {escape(skipped.reason)}." for skipped in results.skipped)
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in results.versions.items())
    words = f"Medians of {results.runs} runs that took turns. {versions}. benchmarks/README.md defines every metric."
    return f"<footer><p>{words}{left_out}</p></footer>"
