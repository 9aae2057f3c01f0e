"""How fast does a paid, verified and durable retrieval move, beside free ones, its neighbours, and what the machine could do?"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from retrieval_client.bench.metrics import GB

from benchmarks.market import open_market
from benchmarks.measure import Setting, Sheet, take_turns
from benchmarks.pair import Fetched, Peer, Unavailable
from benchmarks.peers import aiohttp_stream, iroh_blobs, kubo_bitswap, libp2p_stream
from benchmarks.stages import Stages, measure_stages, median_stages
from benchmarks.workload import write_file
from retrieval.units import GIB, MIB, USD_DECIMALS

PAID: Final = "paid"
FREE: Final = "free"
EXPORTED: Final = "paid, exported to a file"
TARGETS: Final = {FREE: 0.97, kubo_bitswap.ANCHOR_LABEL: 7.0, iroh_blobs.LABEL: 4.0, libp2p_stream.LABEL: 1.5}
"""By what the paid retrieval is compared with; other peers are reported and have none."""
ROOFLINE_TARGET: Final = 0.6
USD: Final = 10**USD_DECIMALS


def run(setting: Setting, sheet: Sheet) -> None:
    n_bytes, folder = setting.workload.transfer_bytes, setting.folder
    stages: list[Stages] = []
    with ExitStack() as opened:
        market = opened.enter_context(open_market(folder / "market", paid=True))
        root = market.add(n_bytes, seed=1)
        paid, free = market.serve(), market.serve_free()
        payer = market.new_client(paid)
        peers: dict[str, Peer] = {
            PAID: market.peer(paid, payer, root),
            FREE: market.peer(free, market.new_client(free, free=True), root),
            EXPORTED: market.peer(paid, payer, root, out=folder / "exported"),
        }
        if setting.with_peers:
            peers |= _open_neighbours(setting, sheet, opened)

        def measure_stages_once() -> None:
            stages.append(measure_stages(folder, setting.workload.stage_bytes))

        subjects = {label: peer.fetch for label, peer in peers.items()}
        fetched = take_turns(setting.runs, subjects, after_each_round=measure_stages_once)
    _write_down(sheet, fetched)
    _against_roofline(sheet, fetched[PAID], stages)


def _open_neighbours(setting: Setting, sheet: Sheet, opened: ExitStack) -> dict[str, Peer]:
    """The foreign peers that can be measured here."""
    n_bytes, folder = setting.workload.transfer_bytes, setting.folder
    file = write_file(folder / "content", n_bytes, seed=1)
    peers: dict[str, Peer] = {
        libp2p_stream.LABEL: opened.enter_context(libp2p_stream.open_peer(n_bytes)),
        aiohttp_stream.LABEL: opened.enter_context(aiohttp_stream.open_peer(n_bytes)),
    }
    try:
        peers[iroh_blobs.LABEL] = opened.enter_context(iroh_blobs.open_peer(folder, file))
    except Unavailable as unavailable:
        sheet.skip(iroh_blobs.LABEL, str(unavailable))
    try:
        for number, binary in kubo_bitswap.binaries().items():
            peers[kubo_bitswap.label_of(number)] = opened.enter_context(kubo_bitswap.open_peer(binary, folder / f"kubo-{number}", file))
    except Unavailable as unavailable:
        sheet.skip("Kubo Bitswap", str(unavailable))
    for number in (release.number for release in kubo_bitswap.RELEASES if not release.binary.is_file()):
        sheet.skip(kubo_bitswap.label_of(number), "it was not built: run `make bench-env` where Go is installed")
    return peers


def _write_down(sheet: Sheet, fetched: dict[str, list[Fetched]]) -> None:
    medians = {label: sheet.add(label, _rates(fetches), "MiB/s").value for label, fetches in fetched.items()}
    for label, baseline in medians.items():
        if label not in (PAID, EXPORTED):
            sheet.add(f"paid against {label}", _rates(fetched[PAID]), "MiB/s", baseline=baseline, target=TARGETS.get(label))
    for label, fetches in fetched.items():
        sheet.add(f"{label}: provider", [each.provider_cpu_s * GIB / each.n_bytes for each in fetches], "CPU s/GiB")
        sheet.add(f"{label}: client", [each.client_cpu_s * GIB / each.n_bytes for each in fetches], "CPU s/GiB")
        if synced := [each.synced_s for each in fetches if each.synced_s is not None]:
            sheet.add(f"{label}: final sync", synced, "s")
    for label in (PAID, FREE):
        sheet.add(f"{label}: longest stall", [each.stall_s for each in fetched[label]], "s")
        verified = [each.verified_s for each in fetched[label] if each.verified_s is not None]
        sheet.add(f"{label}: to the last verified byte", [fetched[label][0].n_bytes / MIB / each for each in verified], "MiB/s")
        sheet.add(f"{label}: after it", [each.seconds - s for each, s in zip(fetched[label], verified, strict=True)], "s")
    sheet.add("paid: cost", [each.paid / USD / (each.n_bytes / GB) for each in fetched[PAID]], "USD/GB")


def _against_roofline(sheet: Sheet, fetches: list[Fetched], stages: list[Stages]) -> None:
    at_best = median_stages(stages)
    sheet.add("paid against the roofline", _rates(fetches), "MiB/s", baseline=at_best.rate, target=ROOFLINE_TARGET)
    for stage in at_best.costs:
        sheet.add(f"stage: {stage}", [each.costs[stage] * GIB / MIB for each in stages if stage in each.costs], "CPU s/GiB")


def _rates(fetches: list[Fetched]) -> list[float]:
    return [each.n_bytes / MIB / each.seconds for each in fetches]
