"""Offers: from what content weighs and costs to a quote that is signed and kept until it is accepted or dies."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.deal import terms
from retrieval.deal.books import Offered, ProviderBooks
from retrieval.errors import ErrorCode, RemoteProtocolError
from retrieval.identity import PeerId
from retrieval.units import ceil_div
from retrieval.wire import shape
from retrieval.wire.messages import Query, Quote, Settlement, SignedQuote, quote_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the program decided a query's content weighs and costs."""

    price_per_gib: int
    flat_fee: int
    n_bytes: int
    n_blocks: int
    exact: bool
    block_size_max: int
    lifetime_s: int


def sign_offer(
    books: ProviderBooks,
    peer: PeerId,
    query: Query,
    offer: Offer,
    *,
    settlement: Settlement | None,
    hellos_digest: bytes,
    nonce: bytes,
    now: float,
) -> SignedQuote:
    """The quote that answers ``query``, known to ``books`` from now on.

    Raises ``RemoteProtocolError``: ``price_too_high`` above what the query allows, ``rpc_unavailable`` where nobody can be paid.
    """
    selection = query.selection
    assert selection is not None
    fee_due = offer.flat_fee and books.flat_fee_due(peer, selection.digest, now)
    rate = terms.Rate(price_per_gib=offer.price_per_gib, flat_fee=offer.flat_fee if fee_due else 0)
    if query.price_per_gib_max is not None and rate.price_per_gib > query.price_per_gib_max:
        raise RemoteProtocolError(ErrorCode.PRICE_TOO_HIGH, f"{rate.price_per_gib} a GiB is asked, {query.price_per_gib_max} was offered")
    if not rate.is_free and settlement is None:
        raise RemoteProtocolError(ErrorCode.RPC_UNAVAILABLE, "this provider has no chain to be paid on")
    line = books.lines.get(peer) if rate.is_free else books.line_of_peer(peer)
    window_first = max(books.window_first, offer.block_size_max)
    block_size = min(offer.block_size_max, ceil_div(offer.n_bytes, max(1, offer.n_blocks)))  # as most are; the largest may be one of few
    quote = Quote(
        version=1,
        query_id=query.query_id,
        selection_digest=selection.digest,
        hellos_digest=hellos_digest,
        nonce=nonce,
        client_peer=peer,
        cursor=query.cursor,
        price_per_gib=rate.price_per_gib,
        flat_fee=rate.flat_fee,
        n_bytes=offer.n_bytes,
        n_blocks=offer.n_blocks,
        exact=offer.exact,
        amount_max=rate.owed(offer.n_bytes),
        window_first=window_first,
        window_max=max(books.window_max, window_first),
        pay_interval=terms.pay_interval(line.window if line else books.window_first, max(1, block_size)),
        lifetime_s=offer.lifetime_s,
        settlement=None if rate.is_free else settlement,
        channel=None if rate.is_free or line is None else line.known(),
        block_size_max=offer.block_size_max,
    )
    body = shape.encode(quote)
    signed = SignedQuote(body=body, signature=books.key.sign("quote", body))
    books.offer(Offered(quote=quote, signed=signed, selection=selection, expires_at=now + offer.lifetime_s), quote_digest(body))
    return signed
