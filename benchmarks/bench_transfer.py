"""How fast does a paid, verified and durable retrieval move, beside free ones, its neighbours, and what the machine could do?"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from benchmarks.market import open_market
from benchmarks.measure import Setting, Sheet, take_turns
from benchmarks.pair import Fetched, Peer, Unavailable
from benchmarks.peers import aiohttp_stream, iroh_blobs, kubo_bitswap, libp2p_stream
from benchmarks.stages import Stages, measure_stages, median_stages, stage_costs
from benchmarks.workload import write_file
from retrieval.units import GIB, MIB, USD_DECIMALS

PAID: Final = "paid"
FREE: Final = "free"
EXPORTED: Final = "paid, exported to a file"
TARGETS: Final = {FREE: 0.97, kubo_bitswap.LABEL: 7.0, iroh_blobs.LABEL: 4.0, libp2p_stream.LABEL: 1.5, aiohttp_stream.LABEL: None}
"""By what the paid retrieval is compared with."""
ROOFLINE_TARGET: Final = 0.6
GB: Final = 1_000_000_000
USD: Final = 10**USD_DECIMALS


def run(setting: Setting, sheet: Sheet) -> None:
    n_bytes, folder = setting.workload.transfer_bytes, setting.folder
    with ExitStack() as opened:
        market = opened.enter_context(open_market(folder / "market", paid=True))
        root = market.add(n_bytes, seed=1)
        paid, free = market.serve(), market.serve_free()
        payer = market.new_client(paid)
        peers: dict[str, Peer] = {
            PAID: market.peer(paid, payer, root),
            FREE: market.peer(free, market.new_client(free, free=True), root),
        }
        exported = market.peer(paid, payer, root, out=folder / "exported")
        if setting.with_peers:
            peers |= _open_neighbours(setting, sheet, opened)
        fetched = take_turns(setting.runs, {label: peer.fetch for label, peer in peers.items()})
        fetched[EXPORTED] = []
        stages: list[Stages] = []
        for number in range(setting.runs):
            fetched[EXPORTED].append(exported.fetch())
            (folder / "exported").unlink()
            stages.append(measure_stages(folder / f"stages-{number}", setting.workload.stage_bytes))
    _write_down(sheet, fetched)
    sheet.add("paid against the roofline", _rates(fetched[PAID]), "MiB/s", baseline=median_stages(stages).rate, target=ROOFLINE_TARGET)
    for stage in stage_costs(stages[0]):
        sheet.add(f"stage: {stage}", [stage_costs(each)[stage] for each in stages], "CPU s/MiB")


def _open_neighbours(setting: Setting, sheet: Sheet, opened: ExitStack) -> dict[str, Peer]:
    """The foreign peers that can be measured here."""
    n_bytes, folder = setting.workload.transfer_bytes, setting.folder
    file = write_file(folder / "content", n_bytes, seed=1)
    peers: dict[str, Peer] = {
        libp2p_stream.LABEL: opened.enter_context(libp2p_stream.open_peer(n_bytes)),
        aiohttp_stream.LABEL: opened.enter_context(aiohttp_stream.open_peer(n_bytes)),
    }
    for neighbour in (iroh_blobs, kubo_bitswap):
        try:
            peers[neighbour.LABEL] = opened.enter_context(neighbour.open_peer(folder, file))
        except Unavailable as unavailable:
            sheet.skip(neighbour.LABEL, str(unavailable))
    return peers


def _write_down(sheet: Sheet, fetched: dict[str, list[Fetched]]) -> None:
    for label, fetches in fetched.items():
        sheet.add(label, _rates(fetches), "MiB/s")
    for label, target in TARGETS.items():
        if label in fetched:
            baseline = next(record.value for record in sheet.records if record.metric == label)
            sheet.add(f"paid against {label}", _rates(fetched[PAID]), "MiB/s", baseline=baseline, target=target)
    for label, fetches in fetched.items():
        sheet.add(f"{label}: provider", [each.provider_cpu_s * GIB / each.n_bytes for each in fetches], "CPU s/GiB")
        sheet.add(f"{label}: client", [each.client_cpu_s * GIB / each.n_bytes for each in fetches], "CPU s/GiB")
    for label in (PAID, FREE):
        sheet.add(f"{label}: longest stall", [each.stall_s for each in fetched[label]], "s")
        verified = [each.verified_s for each in fetched[label] if each.verified_s is not None]
        sheet.add(f"{label}: to the last verified byte", [fetched[label][0].n_bytes / MIB / each for each in verified], "MiB/s")
        sheet.add(f"{label}: after it", [each.seconds - s for each, s in zip(fetched[label], verified, strict=True)], "s")
    sheet.add("paid: cost", [each.paid / USD / (each.n_bytes / GB) for each in fetched[PAID]], "USD/GB")


def _rates(fetches: list[Fetched]) -> list[float]:
    return [each.n_bytes / MIB / each.seconds for each in fetches]
