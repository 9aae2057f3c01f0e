"""Thirty nodes, or as many as asked, that want content of each other for an hour, over real firmware.

The rule: whoever wants behaves as a client program does. It asks again when nobody answers, opens another session when one breaks, and
counts content as delivered when its bytes are those of the CID.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from benchmarks.radio.endpoint import EPOCH_S, Endpoint, account_of, id_of, key_of
from benchmarks.radio.host import Setup
from benchmarks.radio.lora import Channel
from benchmarks.radio.mesh import Mesh, make_mesh
from benchmarks.radio.simulation import Simulation
from benchmarks.radio.survey import Survey, Want, take
from benchmarks.radio.timeline import HOUR_US, SECOND_US
from retrieval.cid import RAW, Cid, cid_of
from retrieval.radio.airtime import Modulation
from retrieval.radio.codes import code16_up
from retrieval.radio.packet import PacketType
from retrieval.radio.regions import band_of
from retrieval.radio.station import QuoteHeard, SessionId, SessionMoved, SessionOpened, Station, StationEvent, StationSettings, WantHeard

CONTENT_BYTES: Final = 1024
WANT_EVERY_US: Final = 600 * SECOND_US
FEE: Final = 10
"""What each relay asks for a packet, in millionths."""
FEE_CAP: Final = 200
HOP_LIMIT: Final = 5
NEAR_HOP_LIMIT: Final = 2
"""Of the first want: most content is near, and a flood that ends there takes a third of the air."""
ASK_FARTHER_US: Final = 25 * SECOND_US
ASK_AGAIN_US: Final = 60 * SECOND_US
"""Without a quote or news of the session for so long, the client asks anew."""
ASKS_MAX: Final = 4
STALLED_S: Final = 180.0
"""Without news of the session for so long, the client asks whether another would sell it."""
SESSION_US: Final = 300 * SECOND_US
"""How long a session is kept after the last news of it: its last acknowledgements may have to be said again."""
WANT_FROM_US: Final = 60 * SECOND_US
WANT_UNTIL_US: Final = 420 * SECOND_US
"""Within its ten minutes. It is asked for during as many; the last of the hour have three at the least."""
PROGRESS_US: Final = 10 * SECOND_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where the mesh is, and how it sends there."""

    name: str
    frequency_hz: int
    power_dbm: int
    modulation: Modulation = Modulation()


REGIONS: Final = {
    "EU868": Region(name="EU868", frequency_hz=869_525_000, power_dbm=22, modulation=Modulation(bandwidth_hz=250_000)),
    "EU868-narrow": Region(name="EU868", frequency_hz=869_525_000, power_dbm=22),
    "EU868-1%": Region(name="EU868", frequency_hz=868_300_000, power_dbm=14, modulation=Modulation(bandwidth_hz=250_000)),
}
"""The relay band is just wide enough for 250 kHz, at which a frame occupies it half as long as at 125."""


class Trader:
    """What runs on one node's computer: it sells what it has, and buys what it was told to want."""

    def __init__(self, endpoint: Endpoint, *, quoted: Callable[[Cid, int], None], delivered: Callable[[Cid], None]) -> None:
        self.content: Final[dict[bytes, bytes]] = {}
        self.endpoint: Final = endpoint
        self._quoted: Final = quoted
        self._delivered: Final = delivered
        self._asked: Final[dict[bytes, Cid]] = {}
        """By what quotes name."""
        self._buying: Final[dict[SessionId, tuple[Cid, bytearray]]] = {}
        self._selling: Final[dict[SessionId, bytearray]] = {}
        self._n_sessions = 0
        endpoint.on_event = self._told

    def want(self, cid: Cid, *, hop_limit: int) -> None:
        """Ask, whatever was asked before."""
        self._asked[self.endpoint.station.want(cid, price_max=1_000, now=self.endpoint.now, hop_limit=hop_limit)] = cid
        self.endpoint.move()

    def forget(self, cid: Cid) -> None:
        for session in [session for session, (wanted, _) in self._buying.items() if wanted == cid]:
            del self._buying[session]
            self.endpoint.station.close(session)

    def is_stalled(self, cid: Cid) -> bool:
        """Whether nobody is delivering it, or whoever does has fallen silent."""
        sessions = self.endpoint.station.sessions
        news = [sessions[session].last_news for session, (wanted, _) in self._buying.items() if wanted == cid and session in sessions]
        return not any(self.endpoint.now - last < STALLED_S for last in news)

    def _told(self, event: StationEvent) -> None:
        station, now = self.endpoint.station, self.endpoint.now
        match event:
            case WantHeard(want=want) if want.cid in self.content:
                station.quote(event, n_bytes=len(self.content[want.cid]), n_blocks=1, price=0, now=now)
            case QuoteHeard(quote=quote) if quote.wanted in self._asked:
                cid = self._asked.pop(quote.wanted)
                self._quoted(cid, quote.way.price)
                if self.is_stalled(cid):
                    self.forget(cid)
                    self._n_sessions += 1
                    session = station.open(id_of(quote.provider), self._n_sessions, now)
                    self._buying[session] = (cid, bytearray())
                    station.sessions[session].write(cid, PacketType.RECORD)
            case SessionOpened(session=session):
                self._selling[session] = bytearray()
                self._close_later(session)
            case SessionMoved(session=session):
                self._moved(session)
            case _:
                pass

    def _moved(self, session: SessionId) -> None:
        bearer = self.endpoint.station.sessions.get(session)
        if bearer is None:
            return
        if session in self._selling:
            self._selling[session] += bearer.read()
            payload = self.content.get(bytes(self._selling[session]))
            if payload is not None:
                self._selling[session].clear()
                bearer.write(payload, PacketType.FRAGMENT)
        elif session in self._buying:
            cid, came = self._buying[session]
            came += bearer.read()
            if bearer.error is not None:
                self.forget(cid)
            elif len(came) >= CONTENT_BYTES and cid_of(RAW, bytes(came)) == cid:
                del self._buying[session]
                self._close_later(session)
                self._delivered(cid)
        if bearer.error is not None:
            self._close(session)

    def _close_later(self, session: SessionId) -> None:
        self.endpoint.later(SESSION_US, partial(self._close_unless_moved, session))

    def _close_unless_moved(self, session: SessionId) -> None:
        bearer = self.endpoint.station.sessions.get(session)
        if bearer is not None and self.endpoint.now - bearer.last_news < SESSION_US / SECOND_US:
            self._close_later(session)
        else:
            self._close(session)

    def _close(self, session: SessionId) -> None:
        self.endpoint.station.close(session)
        self._selling.pop(session, None)


class Hour:
    """A mesh, its traders, and what each of them wants when."""

    def __init__(self, simulation: Simulation, mesh: Mesh, *, seed: int, hours: float, region: Region) -> None:
        self._simulation: Final = simulation
        self._mesh: Final = mesh
        self._delivered_us: Final[dict[bytes, int]] = {}
        self._price_of: Final[dict[bytes, int]] = {}
        """What relays ask for a packet on the way that was quoted."""
        self._planned: Final[dict[bytes, Want]] = {}
        self._random: Final = random.Random(seed)
        keys = {name: key_of(seed, number) for number, name in enumerate(mesh.places)}
        setup = Setup(
            frequency_hz=region.frequency_hz,
            modulation=region.modulation,
            power_dbm=region.power_dbm,
            fee_code=code16_up(FEE),
            time_s=EPOCH_S,
        )
        settings = StationSettings(modulation=region.modulation, fee_cap=FEE_CAP, hop_limit=HOP_LIMIT)
        hosts = {name: simulation.add(name) for name in mesh.places}
        stations = {name: Station(key, settings, account_of(key), first_packet_id=1) for name, key in keys.items()}
        self.traders: Final = {
            name: Trader(Endpoint(hosts[name], simulation.timeline, station), quoted=self._was_quoted, delivered=self._arrived)
            for name, station in stations.items()
        }
        simulation.boot({name: replace(setup, host_id=trader.endpoint.station.id) for name, trader in self.traders.items()})
        for start_us in range(0, round(hours * HOUR_US) - WANT_EVERY_US + 1, WANT_EVERY_US):
            for name in mesh.places:
                self._plan(name, start_us)

    def _plan(self, client: str, start_us: int) -> None:
        """One want, somewhere within its ten minutes, of content that one other node has."""
        provider = self._random.choice([name for name in self._mesh.places if name != client])
        payload = self._random.randbytes(CONTENT_BYTES)
        asked_us = start_us + self._random.randrange(WANT_FROM_US, WANT_UNTIL_US)
        cid = cid_of(RAW, payload)
        self.traders[provider].content[cid] = payload
        reached = self._mesh.reached(client)
        self._planned[cid] = Want(
            client=client, provider=provider, asked_us=asked_us, hops=reached.get(provider, 0) - 1, has_path=provider in reached
        )
        self._simulation.timeline.at(asked_us, partial(self._ask, client, cid, asked_us + WANT_EVERY_US, ASKS_MAX))

    def _ask(self, client: str, cid: Cid, until_us: int, n_left: int) -> None:
        trader, timeline = self.traders[client], self._simulation.timeline
        if cid in self._delivered_us or timeline.now_us >= until_us:
            return
        is_first = n_left == ASKS_MAX
        if trader.is_stalled(cid) and n_left:
            trader.want(cid, hop_limit=NEAR_HOP_LIMIT if is_first else HOP_LIMIT)
            n_left -= 1
        timeline.after(ASK_FARTHER_US if is_first else ASK_AGAIN_US, partial(self._ask, client, cid, until_us, n_left))

    def _was_quoted(self, cid: Cid, price: int) -> None:
        self._price_of[cid] = price

    def _arrived(self, cid: Cid) -> None:
        self._delivered_us[cid] = self._simulation.timeline.now_us

    def outcome(self) -> list[Want]:
        """Every want, and what became of it."""
        return [
            replace(
                want,
                delivered_us=self._delivered_us.get(cid),
                price=self._price_of.get(cid, 0),
                failure="" if cid in self._delivered_us else self._why(cid),
            )
            for cid, want in self._planned.items()
        ]

    def _why(self, cid: bytes) -> str:
        return "nobody answered" if cid not in self._price_of else "the session did not end in time"


def run_hour(
    n_nodes: int, *, seed: int, hours: float, region: str, progress: Callable[[float, Simulation], None] = lambda share, simulation: None
) -> Survey:
    """Run it all; ``progress`` is told now and then how much of it is over. Raises ``KeyError`` for a region without a row."""
    where = REGIONS[region]
    began_s = time.process_time()
    channel = Channel(
        frequency_hz=where.frequency_hz, bandwidth_hz=where.modulation.bandwidth_hz, spreading=where.modulation.spreading_factor
    )
    mesh = make_mesh(n_nodes, seed=seed, channel=channel, power_dbm=where.power_dbm)
    band = band_of(where.frequency_hz, where.modulation.bandwidth_hz)
    assert band is not None
    with Simulation(mesh.links, seed=seed, region=where.name, losses_per_10_000=mesh.losses_per_10_000, keep_log=False) as simulation:
        hour = Hour(simulation, mesh, seed=seed, hours=hours, region=where)
        end_us = round(hours * HOUR_US)
        while simulation.timeline.now_us < end_us:
            simulation.timeline.run(min(simulation.timeline.now_us + PROGRESS_US, end_us))
            progress(simulation.timeline.now_us / end_us, simulation)
        return take(
            simulation.air,
            mesh,
            simulation.census,
            hour.outcome(),
            region=region,
            seed=seed,
            hours=hours,
            content_bytes=CONTENT_BYTES,
            budget_us=band.budget_us,
            findings=simulation.findings(),
            cpu_s=time.process_time() - began_s,
        )
