"""An outlay: a channel that we spend from over HTTP, as the payer's books have it. The counterpart of a tab.

A server may claim whatever was ever signed, and says with each answer what of it is charged. So what is signed and not charged is set aside
in the ledger, which refuses to set aside more than the deposit holds; what is charged is posted. Where the server shows that it counts
another sum, and what was signed covers it, the difference is a correction of its own, as with a credit line.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.deal import postings
from retrieval.deal.records import HttpChannelRecord, HttpCountRecord, record
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.ledger.journal import Record
from retrieval.ledger.transfers import Transfer


@dataclass(slots=True, kw_only=True, eq=False)
class Outlay:
    """One channel's. Amounts over its life, in the token's smallest unit; every verb gives what is to be committed."""

    key: bytes
    """The channel's id."""
    channel: HttpChannelRecord
    charged: int = 0
    signed: int = 0
    is_counted: bool = False
    """Whether anything was ever counted: the journal of a channel that was brought from elsewhere knows nothing of it."""
    reservation: Transfer | None = None
    """None also after a start, which releases what the last process had set aside, until something is signed."""
    n_corrections: int = 0
    """Over the channel's life: a server may have its count go to and fro, and each time is a correction of its own."""
    n_reservations: int = 0
    """In this process."""

    @classmethod
    def restored(cls, key: bytes, channel: HttpChannelRecord, count: HttpCountRecord | None) -> Outlay:
        """As the disk has it."""
        if count is None:
            return cls(key=key, channel=channel)
        return cls(
            key=key, channel=channel, charged=count.charged, signed=count.signed, n_corrections=count.n_corrections or 0, is_counted=True
        )

    @property
    def credit(self) -> int:
        """What may still be charged: the deposit without what is, or what was claimed."""
        return self.channel.balance - max(self.charged, self.channel.total_claimed)

    @property
    def exposed(self) -> int:
        """What a server could claim that it has not charged."""
        return max(0, self.signed - self.charged)

    def sign(self, amount: int, now: float) -> list[Record]:
        """A voucher of ``amount`` is about to leave. The deposit covers it."""
        assert self.charged <= amount <= self.channel.balance, "a voucher is covered by its deposit"
        self.signed = max(self.signed, amount)
        return [*self._set_aside(now), self._count()]

    def charge(self, amount: int, now: float) -> list[Record]:
        """An answer says that so much was charged for it, of what was signed."""
        assert self.charged + amount <= self.signed
        self.charged += amount
        if not amount:
            return [self._count()]
        reservation, left = self.reservation, self.exposed
        assert reservation is not None, "what was signed is set aside"
        if left:
            self.reservation, posted = postings.renew(reservation, amount=amount, reserved=left)
        else:
            self.reservation, posted = None, postings.post(reservation, amount=amount)
        return [posted, self._count()]

    def correct(self, charged: int, signed: int, now: float) -> list[Record]:
        """The server counts ``charged``, and has shown our signature under ``signed``.

        Raises ``RemoteProtocolError``: ``voucher_over_deposit``, and ``payment_mismatch`` where it counts less than it has claimed; then
        nothing has changed.
        """
        assert charged <= signed
        balance, claimed = self.channel.balance, self.channel.total_claimed
        if signed > balance:
            raise RemoteProtocolError(ErrorCode.VOUCHER_OVER_DEPOSIT, f"{signed} was signed, and {balance} is known to be deposited")
        if charged < min(self.charged, claimed):
            raise RemoteProtocolError(ErrorCode.PAYMENT_MISMATCH, f"the server counts {charged}, and {claimed} was claimed")
        before, self.charged, self.signed = self.charged, charged, max(self.signed, signed)
        if before == charged:
            return [*self._set_aside(now), self._count()]
        self.n_corrections += 1
        moved = postings.correction(self.key, promised_before=before, promised=charged, now_ms=_ms(now), ordinal=self.n_corrections)
        aside = self._set_aside(now)
        # Room first, in either direction: what is set aside and what is posted never exceed the deposit together.
        return [*([*aside, moved] if charged > before else [moved, *aside]), self._count()]

    def channel_seen(self, channel: HttpChannelRecord, now: float) -> list[Record]:
        """Adopt what the chain says of the channel."""
        before, self.channel = self.channel, channel
        if before == channel:
            return []
        return postings.chain_moved(self.key, before, channel, promised=self.charged, reserved=self.exposed, now_ms=_ms(now))

    def _set_aside(self, now: float) -> list[Record]:
        """Bring what is set aside in line with what is exposed."""
        reservation, wanted = self.reservation, self.exposed
        if reservation is None:
            if not wanted:
                return []
            self.n_reservations += 1
            self.reservation = postings.reserve(self.key, self.key, ordinal=self.n_reservations, now_ms=_ms(now), amount=wanted)
            return [postings.transfer_record(self.reservation)]
        if reservation.amount == wanted:
            return []
        if not wanted:
            self.reservation = None
            return [postings.void(reservation.id)]
        self.reservation, renewed = postings.renew(reservation, amount=0, reserved=wanted)
        return [renewed]

    def _count(self) -> Record:
        self.is_counted = True
        return record(self.key, HttpCountRecord(charged=self.charged, signed=self.signed, n_corrections=self.n_corrections or None))


def opened(key: bytes, channel: HttpChannelRecord, now: float) -> tuple[Outlay, list[Record]]:
    """A channel that is new to our books."""
    return Outlay(key=key, channel=channel, is_counted=True), [
        *postings.chain_moved(key, None, channel, promised=0, reserved=0, now_ms=_ms(now)),
        record(key, HttpCountRecord(charged=0, signed=0)),
    ]


def _ms(now: float) -> int:
    return int(now * 1000)
