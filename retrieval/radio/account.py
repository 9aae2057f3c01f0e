"""What an origin owes the relays that carried its packets, and how they are paid.

``RelayAccount`` is the origin's side: messages and ``now`` in, Steps out. A packet with a fee cap is a promise, so it is on disk before it
leaves. A relay's operator shows the relay's receipts; what they and a delivery receipt both say is paid by a voucher on an ordinary
channel from the origin to the operator, in one Step: the transfer, the carriage, the line's best voucher, and then the payment leaves.
Anything may arrive twice: a carriage is paid once, and who asks again gets the voucher that stands.

``take_payment`` is the operator's side of the same: a voucher that is worth what its carriages say is booked as income.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import Final

from retrieval.deal import fold, postings
from retrieval.deal.line import CreditLine
from retrieval.deal.records import DELIVERY_ID_SIZE, AdvertRecord, CarriageRecord, DeliveryRecord, PacketRecord, record
from retrieval.deal.spending import SpendingLine
from retrieval.deal.step import NOTHING, Step
from retrieval.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from retrieval.identity import EvmAddress, PeerId, public_key_of
from retrieval.ledger.journal import Record
from retrieval.ledger.state import StateView
from retrieval.payment.channel import ChannelConfig, ChannelId
from retrieval.payment.typed_data import Domain
from retrieval.payment.voucher import Voucher, VoucherSigner, verify_voucher
from retrieval.radio.advert import Advert, read_advert
from retrieval.radio.budget import RelayBudget
from retrieval.radio.packet import (
    EVERYONE,
    ID_SIZE,
    TAG_SIZE,
    Entry,
    Packet,
    PacketHash,
    RadioId,
    first_token,
    next_token,
    radio_id,
)
from retrieval.radio.proof import CARRIED_MAX, Carried, Delivered, DeliveryReceipt, RelayReceipt, verify_delivery
from retrieval.wire.messages import PEER_ID_SIZE, Present, VoucherFields
from retrieval.wire.shape import blob, many, nested, wire

CLAIM_WITHIN_S: Final = 30 * 86_400
"""How long after a packet left its relays may come for their fee."""
DELIVERED_WITHIN_S: Final = 86_400
"""How long after it left a packet's delivery receipt may come."""
PACKETS_MAX: Final = 200_000
"""Promises that are remembered, some 80 MiB of them. Beyond it nothing that costs a fee leaves."""
RECEIPTS_PER_CLAIM_MAX: Final = 16
"""Of six packets each: what is recorded of them, four records a packet at most, fits one commit of the journal."""
ADVERTS_PER_CLAIM_MAX: Final = 32
IDENTITIES_PER_TAG_MAX: Final = 4
"""That are remembered. Those that a claim brings are tried before them, so strangers of one tag keep no relay from its fee."""
ADVERTS_MAX: Final = 4_096
"""Relays that are remembered; a claim brings the advertisements of those that were forgotten."""
ADVERTS_FORGOTTEN_MAX: Final = 64
"""At once, so that a step with them still fits one commit."""
BUSY_S: Final = 60
_PACKET_IDS: Final = (1 << 32) - 1
TRAILS_TRIED_MAX: Final = 64
"""Combinations of nodes with equal tags that are held against a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An operator asks for what its relay earned."""

    relay: bytes = wire(1, blob(PEER_ID_SIZE))
    channel_id: bytes = wire(2, blob(0, 32))
    """Empty where the operator knows of none; the origin takes the one that it has funded."""
    receipts: tuple[bytes, ...] = wire(3, many(blob(0, 255), RECEIPTS_PER_CLAIM_MAX, least=1))
    adverts: tuple[bytes, ...] = wire(4, many(blob(0, 255), ADVERTS_PER_CLAIM_MAX))
    """Frames of the relay's advertisement and of its neighbours', for an origin that heard them never, or not lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The answer: a voucher, and which of the packets claimed it pays for, with those paid before."""

    relay: bytes = wire(1, blob(PEER_ID_SIZE))
    voucher: VoucherFields | None = wire(2, nested(VoucherFields), optional=True)
    paid: tuple[bytes, ...] = wire(3, many(blob(16), CARRIED_MAX * RECEIPTS_PER_CLAIM_MAX))
    opening: Present | None = wire(4, nested(Present), optional=True)
    """The channel itself, from an origin that does not present it in sessions."""


@dataclass(slots=True)
class Tables:
    """What an account begins with, from the journal's tables."""

    packets: Mapping[bytes, PacketRecord] = field(default_factory=dict)
    deliveries: Mapping[bytes, DeliveryRecord] = field(default_factory=dict)
    carriages: Mapping[bytes, CarriageRecord] = field(default_factory=dict)
    adverts: Mapping[bytes, AdvertRecord] = field(default_factory=dict)


def tables_of(state: StateView) -> Tables:
    """What an account begins with, out of the journal's tables."""
    return Tables(
        packets=dict(fold.scan(state, PacketRecord)),
        deliveries=dict(fold.scan(state, DeliveryRecord)),
        carriages=dict(fold.scan(state, CarriageRecord)),
        adverts=dict(fold.scan(state, AdvertRecord)),
    )


def next_packet_id(tables: Tables, now: float) -> int:
    """Where to go on counting packets: above all that the journal knows, and all that a clock leaves room for, since what was free to
    send is written down nowhere. Nobody sends more than four frames a second for long."""
    known = max((row.packet_id + 1 for row in tables.packets.values()), default=0)
    return max(known, int(now * 4) & _PACKET_IDS) & _PACKET_IDS


class RelayAccount:
    """The origin's side, over all relays and channels."""

    def __init__(
        self,
        origin: RadioId,
        trail_key: bytes,
        signer: VoucherSigner | None,
        tables: Tables,
        *,
        now: float,
        per_day: int | None = None,
        adverts_max: int = ADVERTS_MAX,
    ) -> None:
        """``per_day`` is what relays may be promised within a day, None where each purchase has a limit of its own."""
        self.budget: Final = None if per_day is None else RelayBudget(per_day, tables.packets.values())
        self._origin: Final = origin
        self._trail_key: Final = trail_key
        self._signer: Final = signer
        self._packets = {PacketHash(key): row for key, row in tables.packets.items()}
        self._hash_of: dict[int, PacketHash] = {}
        self._forget(now)
        self._deliveries = {key: DeliveryReceipt.decode(row.signed) for key, row in tables.deliveries.items()}
        self._carriages: dict[bytes, int] = {key: row.amount for key, row in tables.carriages.items()}
        self._names: dict[bytes, list[RadioId]] = {}
        """By tag: relays that were heard of."""
        self._adverts: Final[dict[RadioId, Advert]] = {}
        self._adverts_max: Final = adverts_max
        for row in tables.adverts.values():
            self._learn(_read(row.frame))

    # what may be owed

    def send(self, packet: Packet, now: float) -> tuple[Packet, Step]:
        """``packet`` with its first token, and the promise to be on disk before it leaves.

        Raises ``LocalProtocolError``: ``rate_limited`` when too many promises are remembered, ``over_budget`` when the day's is spent.
        """
        packet = replace(packet, token=first_token(self._trail_key, packet.hash))
        if packet.fee_cap == 0:
            return packet, NOTHING
        if self.budget is not None and packet.fee_cap > (left := self.budget.left(now)):
            raise LocalProtocolError(ErrorCode.OVER_BUDGET, f"relays may be promised {max(0, left)} more today")
        if len(self._packets) >= PACKETS_MAX:
            self._forget(now)
        if len(self._packets) >= PACKETS_MAX:
            raise LocalProtocolError(ErrorCode.RATE_LIMITED, f"fees of {PACKETS_MAX} packets may still be asked for", retry_after_s=86_400)
        row = PacketRecord(
            packet_id=packet.packet_id,
            destination=packet.destination,
            fee_cap=packet.fee_cap,
            sent_ms=int(now * 1000),
            delivery=b"",
            relays=b"",
        )
        self._packets[packet.hash] = row
        self._hash_of[packet.packet_id] = packet.hash
        if self.budget is not None:
            self.budget.promise(packet.fee_cap, now)
        return packet, Step(records=(record(packet.hash, row),))

    def is_proven(self, destination: RadioId) -> bool:
        """Whether everything that was sent there has its delivery receipt."""
        return all(row.delivery for row in self._packets.values() if row.destination == destination)

    def meet(self, *frames: bytes) -> Step:
        """Know relays by their advertisements, and keep each that says something new.

        Raises ``RemoteProtocolError``: ``malformed_frame``, ``malformed_message``, ``bad_signature``; then nothing has changed.
        """
        return self._meet([(frame, _read(frame)) for frame in frames])

    def operator_of(self, relay: PeerId, brought: Iterable[Advert] = ()) -> EvmAddress:
        """Who is paid for what a relay carries, by its newest advertisement among those met and ``brought``.

        Raises ``RemoteProtocolError(channel_unacceptable)`` when it never advertised.
        """
        advert = self._adverts.get(radio_id(public_key_of(relay)))
        for each in brought:
            if each.peer_id == relay and (advert is None or _is_news(each, advert)):
                advert = each
        if advert is None:
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "the relay never advertised")
        return advert.operator

    def heard(self, relay: RadioId) -> None:
        """Know a relay by its full id, so that trails it is on can be checked."""
        names = self._names.setdefault(relay[:TAG_SIZE], [])
        if relay not in names and len(names) < IDENTITIES_PER_TAG_MAX:
            names.append(relay)

    def _meet(self, brought: Iterable[tuple[bytes, Advert]]) -> Step:
        records = [record(advert.id, AdvertRecord(frame=frame)) for frame, advert in brought if self._learn(advert)]
        return Step(records=(*records, *self._forget_adverts()))

    def _learn(self, advert: Advert) -> bool:
        """Whether it says something new."""
        self.heard(advert.id)
        known = self._adverts.get(advert.id)
        if known is not None and not _is_news(advert, known):
            return False
        self._adverts.pop(advert.id, None)  # the newest stand last
        self._adverts[advert.id] = advert
        return True

    def _forget_adverts(self) -> list[Record]:
        """Where there are too many: the oldest of those that nothing is owed to, some at once, since who is owed takes a while to see."""
        n_over = len(self._adverts) - self._adverts_max
        if n_over <= 0:
            return []
        owed = {
            relay
            for hash_, row in self._packets.items()
            for relay in (row.relays[at : at + ID_SIZE] for at in range(0, len(row.relays), ID_SIZE))
            if hash_ + relay not in self._carriages
        }
        n_forgotten = min(max(n_over, self._adverts_max // ADVERTS_FORGOTTEN_MAX), ADVERTS_FORGOTTEN_MAX)
        forgotten = list(islice((id_ for id_ in self._adverts if id_ not in owed), n_forgotten))
        for id_ in forgotten:
            del self._adverts[id_]
            names = self._names.get(id_[:TAG_SIZE], [])
            if id_ in names:
                names.remove(id_)
            if not names:
                self._names.pop(id_[:TAG_SIZE], None)
        return [record(id_, AdvertRecord(frame=b"")) for id_ in forgotten]

    def deliver(self, signed: bytes, destination: PeerId) -> Step:
        """Take a delivery receipt; the first that holds for a packet counts. Raises ``RemoteProtocolError``: ``bad_receipt``,
        ``bad_signature``."""
        receipt = DeliveryReceipt.decode(signed)
        hashes = [self._hash_of.get(one.packet_id) for one in receipt.delivered]
        if receipt.origin != self._origin or not all(hashes):
            raise _bad("it is for packets that we did not send, or not lately")
        known = [hash_ for hash_ in hashes if hash_ is not None]
        if any(self._packets[hash_].destination not in (receipt.destination, EVERYONE) for hash_ in known):
            raise _bad("it is of another destination than its packets")
        verify_delivery(signed, destination, known)
        if any(sum(entry.fee for entry in receipt.trail) > self._packets[hash_].fee_cap for hash_ in known):
            raise _bad("its trail asks more than the fee cap")
        fresh = [(hash_, one) for hash_, one in zip(known, receipt.delivered, strict=True) if not self._packets[hash_].delivery]
        if not fresh:
            return NOTHING
        key = hashlib.sha256(signed).digest()[:DELIVERY_ID_SIZE]
        self._deliveries[key] = receipt
        records = [record(key, DeliveryRecord(signed=signed, destination=destination))]
        for hash_, one in fresh:
            relays = self._proven(hash_, receipt.trail, one, self._candidates(receipt.trail))
            self._prefer(relays)
            records.append(self._keep(hash_, replace(self._packets[hash_], delivery=key, relays=b"".join(relays))))
        return Step(records=tuple(records))

    # paying

    def settle(self, claim: Claim, line: SpendingLine) -> tuple[Settlement, Step]:
        """Pay a relay's operator what its receipts prove, on ``line``, the channel that the claim names where it names one.

        Carriages are paid in the order of the receipts, as far as the channel goes; those that are left out are paid when it was topped
        up and they are claimed again.

        Raises ``RemoteProtocolError``: ``bad_receipt``, ``bad_signature``, ``channel_unacceptable``; and ``LocalProtocolError``:
        ``channel_busy`` while deals are paid from the channel, since two payments would then name one voucher, and ``channel_unfunded``
        where it does not go as far as one carriage. Then no money has moved.
        """
        relay = PeerId(claim.relay)
        brought = [(frame, _read(frame)) for frame in claim.adverts]
        adverts = [advert for _, advert in brought]
        operator = self.operator_of(relay, adverts)
        if line.channel is None or claim.channel_id not in (b"", line.key):
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "the claim names another channel")
        if ChannelConfig.from_bytes(line.channel.config).receiver != operator:
            raise RemoteProtocolError(ErrorCode.CHANNEL_UNACCEPTABLE, "the channel does not pay the operator that the relay advertised")
        if line.purchases:
            raise LocalProtocolError(ErrorCode.CHANNEL_BUSY, "deals are being paid from it", retry_after_s=BUSY_S)
        due: dict[bytes, CarriageRecord] = {}
        paid: dict[bytes, None] = {}
        proven: dict[PacketHash, PacketRecord] = {}
        left, n_unpaid = max(0, line.credit), 0
        for signed in claim.receipts:
            receipt = RelayReceipt.read(signed, relay)
            if receipt.origin != self._origin:
                raise _bad("it is for another origin's packets")
            for carried in receipt.carried:
                row = self._owed(carried, receipt.relay, adverts)
                if row is None:
                    continue
                if row != self._packets[carried.packet]:
                    proven[carried.packet] = row
                subject = carried.packet + receipt.relay
                if subject not in self._carriages and subject not in due:
                    if carried.fee > left:
                        n_unpaid += 1
                        continue
                    left -= carried.fee
                    due[subject] = CarriageRecord(channel=line.key, amount=carried.fee, receipt=signed, relay=relay)
                paid[carried.packet] = None
        if n_unpaid and not paid:
            raise LocalProtocolError(ErrorCode.CHANNEL_UNFUNDED, f"{line.credit} is free, and {n_unpaid} carriages cost more")
        payment = self._pay(line, due)
        kept = tuple(self._keep(hash_, row) for hash_, row in proven.items())
        for row in proven.values():
            self._prefer([RadioId(row.relays[at : at + ID_SIZE]) for at in range(0, len(row.relays), ID_SIZE)])
        return Settlement(relay=relay, voucher=line.best, paid=tuple(paid)), self._meet(brought) + Step(records=kept) + payment

    def _owed(self, carried: Carried, relay: RadioId, brought: Iterable[Advert]) -> PacketRecord | None:
        """The packet with its proven relays, or None while the delivery is not proven. Raises ``bad_receipt`` at a contradiction."""
        row = self._packets.get(carried.packet)
        if row is None or not row.delivery:
            return None
        receipt = self._deliveries[row.delivery]
        one = next(one for one in receipt.delivered if one.packet_id == row.packet_id)
        relays, at = row.relays, carried.hop
        if not relays:
            candidates = self._candidates(receipt.trail, brought)
            if at < len(receipt.trail) and receipt.trail[at].tag == relay[:TAG_SIZE]:
                candidates[at] = [relay]  # which signed for this hop: no stranger of its tag is in its way
            relays = b"".join(self._proven(carried.packet, receipt.trail, one, candidates))
        if not relays:
            return None
        if at >= len(receipt.trail) or relays[at * ID_SIZE : (at + 1) * ID_SIZE] != relay:
            raise _bad("the delivery receipt does not have the relay at that hop")
        if receipt.trail[at].fee_code != carried.fee_code:
            raise _bad("the delivery receipt has another fee")
        return replace(row, relays=relays)

    def _pay(self, line: SpendingLine, due: Mapping[bytes, CarriageRecord]) -> Step:
        amount = sum(carriage.amount for carriage in due.values())
        if not due:
            return NOTHING
        assert amount <= line.credit
        records = []
        for subject, carriage in due.items():
            self._carriages[subject] = carriage.amount
            records.append(record(subject, carriage))
            if carriage.amount:
                records += postings.carried(line.key, subject, amount=carriage.amount)
        if amount:
            assert self._signer is not None, "a channel has an authorizer"
            voucher = self._signer.sign(ChannelId(line.key), line.best_amount + amount)
            line.best = VoucherFields(channel_id=line.key, amount=voucher.amount, signature=voucher.signature)
        return Step(records=(*records, line.to_record()))

    # trails

    def _candidates(self, trail: Sequence[Entry], brought: Iterable[Advert] = ()) -> list[list[RadioId]]:
        """Who may stand behind each tag of a trail, those whose advertisements a claim ``brought`` first."""
        named = [advert.id for advert in brought]
        return [
            list(dict.fromkeys((*(id_ for id_ in named if id_[:TAG_SIZE] == entry.tag), *self._names.get(entry.tag, ()))))
            for entry in trail
        ]

    def _prefer(self, relays: Iterable[RadioId]) -> None:
        """Relays that a trail proved come before strangers of their tags, and take their places."""
        for relay in relays:
            names = self._names.get(relay[:TAG_SIZE], [])
            self._names[relay[:TAG_SIZE]] = [relay, *(name for name in names if name != relay)][:IDENTITIES_PER_TAG_MAX]

    def _proven(
        self, hash_: PacketHash, trail: Sequence[Entry], one: Delivered, candidates: Sequence[Sequence[RadioId]]
    ) -> tuple[RadioId, ...]:
        """The relays of a trail that its token proves, by full id; none when one is not among those tried, or the trail was rewritten."""
        start = first_token(self._trail_key, hash_)
        for relays in islice(product(*candidates), TRAILS_TRIED_MAX):
            token = start
            for relay, entry in zip(relays, trail, strict=True):
                token = next_token(token, hash_, relay, entry.fee_code)
            if token == one.token:
                return relays
        return ()

    def _keep(self, hash_: PacketHash, row: PacketRecord) -> Record:
        self._packets[hash_] = row
        return record(hash_, row)

    def _forget(self, now: float) -> None:
        """Packets whose relays came too late for their fee, or that never arrived."""
        kept_from_ms = {
            is_delivered: int((now - age_s) * 1000) for is_delivered, age_s in ((True, CLAIM_WITHIN_S), (False, DELIVERED_WITHIN_S))
        }
        self._packets = {hash_: row for hash_, row in self._packets.items() if row.sent_ms >= kept_from_ms[bool(row.delivery)]}
        self._hash_of = {row.packet_id: hash_ for hash_, row in self._packets.items()}


def take_payment(
    line: CreditLine, settlement: Settlement, relay: PeerId, receipts: Iterable[bytes], booked: Mapping[bytes, int], domain: Domain
) -> Step:
    """Book a settlement on the operator's side. ``receipts`` are those of the claim, ``booked`` the carriages that were booked before.

    The voucher must be worth the best one and the fees of what it says is paid and was not booked yet. Raises ``RemoteProtocolError``:
    ``bad_voucher``, ``stale_voucher``, ``payment_mismatch``, ``voucher_over_deposit``; then nothing has changed.
    """
    carriages: dict[bytes, CarriageRecord] = {}
    for signed in receipts:
        receipt = RelayReceipt.read(signed, relay)
        for carried in receipt.carried:
            subject = carried.packet + radio_id(public_key_of(relay))
            if carried.packet in settlement.paid and subject not in booked:
                carriages.setdefault(subject, CarriageRecord(channel=line.key, amount=carried.fee, receipt=signed, relay=relay))
    amount = sum(carriage.amount for carriage in carriages.values())
    if amount:
        _check_voucher(line, settlement.voucher, line.best_amount + amount, domain)
        line.best = settlement.voucher
    records: list[Record] = []
    for subject, carriage in carriages.items():
        records.append(record(subject, carriage))
        if carriage.amount:
            records += postings.carried(line.key, subject, amount=carriage.amount)
    return Step(records=(*records, line.to_record()) if records else ())


def _check_voucher(line: CreditLine, voucher: VoucherFields | None, amount: int, domain: Domain) -> None:
    if voucher is None or line.channel is None or voucher.channel_id != line.key:
        raise RemoteProtocolError(ErrorCode.BAD_VOUCHER, "it is missing, or of another channel")
    authorizer = ChannelConfig.from_bytes(line.channel.config).payer_authorizer
    verify_voucher(Voucher(channel_id=ChannelId(line.key), amount=voucher.amount, signature=voucher.signature), authorizer, domain)
    if voucher.amount < line.best_amount:
        raise RemoteProtocolError(ErrorCode.STALE_VOUCHER, f"{voucher.amount} is below {line.best_amount}")
    if voucher.amount != amount:
        raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, f"the carriages come to {amount}, the voucher says {voucher.amount}")
    if voucher.amount > line.channel.balance:
        raise RemoteProtocolError(ErrorCode.VOUCHER_OVER_DEPOSIT, f"{voucher.amount} of {line.channel.balance}")


def _read(frame: bytes) -> Advert:
    return read_advert(Packet.decode(frame))


def _is_news(advert: Advert, known: Advert) -> bool:
    return advert.sequence >= known.sequence and replace(advert, sequence=known.sequence) != known


def _bad(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_RECEIPT, f"the radio receipt cannot be taken: {why}")
