"""A survey as one page that needs nothing else: the mesh drawn in SVG, airtime, costs and every figure below it.

The rule: whatever a colour says, a word or a shape says too; and no name becomes markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import Final

from benchmarks import plots
from benchmarks.radio.survey import ORDER, NodeFigures, Survey
from benchmarks.radio.terminal import FAIR_DB, STRONG_DB, strength
from benchmarks.report import STYLE

MAP_WIDTH: Final = 960
MAP_MARGIN: Final = 44
MAP_HEIGHT_MAX: Final = 680
NODE_RADIUS: Final = (5.0, 15.0)
"""Of a node that sent nothing, and of one that spent its budget."""
ARC_WIDTH: Final = 4
MAP_STYLE: Final = """
svg { display: block; width: 100%; height: auto; margin: 1rem 0 .3rem; background: var(--well); border-radius: 10px; }
:root { --well: #f3f1ea; --strong: #17805a; --fair: #d9a441; --faint: #b3bac6; }
@media (prefers-color-scheme: dark) { :root { --well: #1b1f26; --strong: #4cc295; --fair: #d9a441; --faint: #59616e; } }
.link { fill: none; stroke-linecap: round; } .link.strong { stroke: var(--strong); } .link.fair { stroke: var(--fair); }
.link.faint { stroke: var(--faint); stroke-dasharray: 2 5; }
.node { fill: var(--paper); stroke: var(--ink); stroke-width: 1.5; } .arc { fill: none; stroke: var(--ours); }
.node.hot { stroke: var(--missed); } .arc.hot { stroke: var(--missed); }
svg text { font: 600 12px system-ui, sans-serif; fill: var(--ink); text-anchor: middle; paint-order: stroke; stroke: var(--well);
  stroke-width: 3px; stroke-linejoin: round; } svg .scale { font-weight: 400; fill: var(--soft); } svg .rule { stroke: var(--soft); }
.key i { display: inline-block; width: 1.6em; height: 0; border-top: 3px solid; margin-right: .4em; vertical-align: middle; }
.key .strong { border-color: var(--strong); } .key .fair { border-color: var(--fair); }
.key .faint { border-color: var(--faint); border-top-style: dotted; }
.score b.met { color: var(--met); } .score b.missed { color: var(--missed); }
@media (min-width: 701px) { .row { grid-template-columns: 12rem 1fr 6.5rem; } }
code { font-size: .85em; overflow-wrap: anywhere; }
"""


def page(survey: Survey) -> str:
    """HTML, UTF-8."""
    body = "\n".join(_sections(survey))
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>A radio mesh that pays its relays</title>\n<style>{STYLE}{MAP_STYLE}</style>\n{body}\n</html>\n"
    )


def _sections(survey: Survey) -> Iterator[str]:
    yield _head(survey)
    yield f"<h2>The mesh</h2>{_map(survey)}{_map_key(survey)}"
    yield _airtime(survey)
    yield _purposes(survey)
    yield _costs(survey)
    yield _collisions(survey)
    yield _table(survey)
    yield _foot(survey)


def _head(survey: Survey) -> str:
    tiles = [
        (f"{survey.delivery:.1%}", f"of {survey.n_with_path} wants delivered", survey.targets()[1][2]),
        (f"{survey.worst_share:.0%}", "of its budget spent by the busiest node, in its worst hour", survey.targets()[0][2]),
        (f"{survey.overhead:.1%}", "of all budgets for adverts and finding", survey.targets()[2][2]),
        (f"{survey.n_frames:,}", f"frames sent, {survey.n_collided:,} receptions spoilt", None),
        (str(len(survey.findings)), "findings of the chip's model", survey.targets()[3][2]),
    ]
    score = "".join(f"<div>{_figure(figure, met)}<span>{escape(what)}</span></div>" for figure, what, met in tiles)
    hours = f"{survey.hours:g} {'hour' if survey.hours == 1 else 'hours'}"
    return (
        "<h1>A radio mesh that pays its relays</h1>"
        f'<p class="soft">{len(survey.nodes)} nodes · {hours} of virtual time · {escape(survey.region)} · seed {survey.seed} · '
        f"each node wants {survey.content_bytes} bytes every ten minutes<br>"
        '<span class="badge">the firmware is real, the air is simulated, nothing ran on silicon</span></p>'
        f'<div class="score">{score}</div>'
    )


def _figure(shown: str, met: bool | None) -> str:
    if met is None:
        return f"<b>{escape(shown)}</b>"
    return f'<b class="{"met" if met else "missed"}">{escape(shown)} {"✓" if met else "✗"}</b>'


def _map(survey: Survey) -> str:
    east = max((node.east_km for node in survey.nodes), default=0) or 1.0
    north = max((node.north_km for node in survey.nodes), default=0) or 1.0
    scale = min((MAP_WIDTH - 2 * MAP_MARGIN) / east, (MAP_HEIGHT_MAX - 2 * MAP_MARGIN) / north)
    stretch = (MAP_WIDTH - 2 * MAP_MARGIN) / (east * scale)  # a map wider than it is long keeps its north
    height = north * scale + 2 * MAP_MARGIN
    places = {
        node.name: (MAP_MARGIN + node.east_km * scale * min(stretch, 1.6), MAP_MARGIN + (north - node.north_km) * scale)
        for node in survey.nodes
    }
    drawn = [f'<svg viewBox="0 0 {MAP_WIDTH} {height:.0f}" role="img" aria-label="Map of the mesh: nodes, and links by their strength">']
    for kind in ("faint", "fair", "strong"):
        for link in survey.links:
            if strength(link.snr_db) == kind:
                (x1, y1), (x2, y2) = places[link.one], places[link.other]
                width = 0.8 + 0.7 * math.log10(1 + link.n_heard)
                words = (
                    f"{link.one} – {link.other}: SNR {link.snr_db:+.1f} dB, {link.loss:.0%} lost by chance, {link.n_heard:,} frames heard"
                )
                drawn.append(
                    f'<path class="link {kind}" stroke-width="{width:.1f}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}">'
                    f"<title>{escape(words)}</title></path>"
                )
    drawn += [_node(node, *places[node.name]) for node in survey.nodes]
    return "".join(drawn) + "</svg>"


def _node(node: NodeFigures, x: float, y: float) -> str:
    """A circle with an arc around it: how much of its budget the node spent."""
    radius = NODE_RADIUS[0] + (NODE_RADIUS[1] - NODE_RADIUS[0]) * math.sqrt(min(node.share, 1.0))
    hot = " hot" if node.share > 0.9 else ""
    around = 2 * math.pi * (radius + ARC_WIDTH)
    words = f"{node.name}: {node.share:.0%} of its budget, {node.n_sent:,} frames sent, {node.n_heard:,} heard, {node.n_collided:,} spoilt"
    return (
        f'<g><title>{escape(words)}</title><circle class="node{hot}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
        f'<circle class="arc{hot}" cx="{x:.1f}" cy="{y:.1f}" r="{radius + ARC_WIDTH:.1f}" stroke-width="{ARC_WIDTH}" '
        f'stroke-dasharray="{around * min(node.share, 1.0):.1f} {around:.1f}" transform="rotate(-90 {x:.1f} {y:.1f})"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}">{escape(node.name.removeprefix("n"))}</text></g>'
    )


def _map_key(survey: Survey) -> str:
    counts = {kind: sum(strength(link.snr_db) == kind for link in survey.links) for kind in ("strong", "fair", "faint")}
    words = {"strong": f"{STRONG_DB:+g} dB or more", "fair": f"{FAIR_DB:+g} dB or more", "faint": "fainter"}
    keys = "".join(f'<span><i class="{kind}"></i>{words[kind]}: {counts[kind]}</span>' for kind in words)
    return (
        f'<p class="legend key">Links by SNR: {keys}Thicker: more frames were heard. A ring shows how much of its budget a node spent, '
        "full at the law's limit. Point at anything for its figures.</p>"
    )


def _airtime(survey: Survey) -> str:
    rows = [
        plots.Stack(
            label=node.name,
            shown=f"{node.share:.0%}",
            parts=[
                (purpose, 100 * node.share * node.airtime_by_purpose_us.get(purpose, 0) / max(node.airtime_us, 1))
                for purpose in ORDER
                if purpose in survey.airtime_by_purpose_us
            ],
        )
        for node in sorted(survey.nodes, key=lambda node: -node.share)
    ]
    words = "Airtime in the worst hour of each node, in per cent of what the law allows it, and what it was spent on."
    return f'<h2>Who sends how much</h2><p class="soft">{words}</p>{plots.stacks(rows, unit="% of budget")}'


def _purposes(survey: Survey) -> str:
    rows = [
        plots.Row(
            label=f"{purpose}: {survey.n_frames_by_purpose.get(purpose, 0):,} frames",
            value=100 * length_us / survey.available_us,
            shown=f"{length_us / survey.available_us:.1%}",
            tone="ours",
        )
        for purpose, length_us in survey.airtime_by_purpose_us.items()
    ]
    words = "Of all that all nodes together may send."
    return f'<h2>What the air is used for</h2><p class="soft">{words}</p>{plots.bars(rows, unit="% of all budgets")}' if rows else ""


def _costs(survey: Survey) -> str:
    if not survey.hops:
        return ""
    rows = "".join(
        f'<tr><td>{_relays(row.hops)}<td class="n">{row.n_delivered}<td class="n">{row.median_s:.1f} s'
        f'<td class="n">{row.median_price:,}</tr>'
        for row in survey.hops
    )
    head = '<tr><th>on the way<th class="n">delivered<th class="n">median time<th class="n">relaying a packet costs, millionths</tr>'
    return f'<h2>What a hop costs</h2><div class="wide"><table>{head}{rows}</table></div>'


def _relays(n_relays: int) -> str:
    return "no relay" if n_relays == 0 else "1 relay" if n_relays == 1 else f"{n_relays} relays"


def _collisions(survey: Survey) -> str:
    rows = [
        plots.Stack(
            label=node.name,
            shown=f"{node.n_collided / max(1, node.n_heard + node.n_collided):.0%} spoilt",
            parts=[
                ("heard", node.n_heard),
                ("spoilt by a collision", node.n_collided),
                ("lost by chance", node.n_lost),
                ("while sending", node.n_deaf),
            ],
        )
        for node in sorted(survey.nodes, key=lambda node: -node.n_collided)
    ]
    words = "Every frame that was strong enough to be understood at a node, and what became of it there."
    return f'<h2>What arrives</h2><p class="soft">{words}</p>{plots.stacks(rows, unit="frames")}'


def _table(survey: Survey) -> str:
    head = (
        '<tr><th>node<th class="n">sent<th class="n">airtime, s<th class="n">worst hour, s<th class="n">budget, s'
        '<th class="n">heard<th class="n">spoilt<th class="n">lost<th class="n">deaf</tr>'
    )
    rows = "".join(
        f"<tr><td>{escape(node.name)}"
        + "".join(
            f'<td class="n">{cell}'
            for cell in (
                f"{node.n_sent:,}",
                *(f"{length_us / 1_000_000:.1f}" for length_us in (node.airtime_us, node.worst_hour_us, node.budget_us)),
                *(f"{count:,}" for count in (node.n_heard, node.n_collided, node.n_lost, node.n_deaf)),
            )
        )
        + "</tr>"
        for node in survey.nodes
    )
    return f'<details><summary>Every node</summary><div class="wide"><table>{head}{rows}</table></div></details>'


def _foot(survey: Survey) -> str:
    said = [*survey.breaches, *survey.findings, *(f"undelivered, {count}: {failure}" for failure, count in survey.failures.items())]
    listed = "".join(f"<br>{escape(words)}" for words in said[:20])
    return (
        f"<footer><p>{survey.cpu_s:.1f} s of CPU. Whoever runs it with seed {survey.seed} has the same log, byte for byte: SHA-256 "
        f"<code>{escape(survey.log_sha256)}</code>. Path loss and shadowing are those measured around Oulu at 868 MHz; there is no fading."
        f"{listed}</p></footer>"
    )
