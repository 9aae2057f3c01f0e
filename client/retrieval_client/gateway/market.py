"""Trio. Where content is to be had: the providers of the configuration, or those that a request names, in the order in which to try them.

The rule: what is free comes first, then what is cheapest; a provider that failed is left alone for a while, unless it is the only one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from retrieval.errors import ErrorCode, LocalProtocolError, RetrievalError
from retrieval.transport.libp2p import PeerAddress

from ..source import Source
from ..web.address import GatewayAddress, provider_of

log: Final = logging.getLogger("retrieval_client.gateway")

Provider = PeerAddress | GatewayAddress

NAMED_MAX: Final = 4
"""Providers that one request may name."""
ASKED_AT_ONCE_MAX: Final = 16
"""Providers that are asked for a quote for one request: as many as a configuration may have."""
QUOTES_DUE_S: Final = 3.0
"""How long quotes are waited for once there are several to choose from; who is slower is tried last."""
SET_BACK_S: Final = 30.0
"""How long a provider that failed is tried after the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider asks for all of a source that is not here. Amounts in the token's smallest unit."""

    amount_max: int
    n_bytes: int
    price_per_gib: int
    decimals: int
    free_bytes_per_day: int = 0
    """What a gateway gives each address for nothing: as far as that is not used up, it asks less."""

    def to_json(self) -> dict[str, object]:
        return {
            "amount_max": str(self.amount_max),
            "bytes": self.n_bytes,
            "price_per_gib": str(self.price_per_gib),
            "decimals": self.decimals,
            "free_bytes_per_day": self.free_bytes_per_day,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotation:
    """What became of asking one provider."""

    provider: Provider
    price: Price | None
    failure: RetrievalError | None


AskPrice = Callable[[Provider, Source], Awaitable[Price]]
"""Raises ``RetrievalError``."""


class Market:
    """The providers that are known."""

    def __init__(self, configured: Sequence[str], ask: AskPrice) -> None:
        """Raises ``LocalProtocolError(config_invalid)``."""
        try:
            self.configured: Final = tuple(map(provider_of, configured))
        except RetrievalError as error:
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, f"gateway.providers: {error.detail}") from error
        self._ask: Final = ask
        self._set_back_until: Final[dict[str, float]] = {}

    def set_back(self, provider: Provider, error: RetrievalError) -> None:
        """Try a provider that failed after the others, for a while."""
        log.info("%s is set back for %g s: %s", provider, SET_BACK_S, error)
        now = trio.current_time()
        for name in [name for name, until in self._set_back_until.items() if until <= now]:
            del self._set_back_until[name]
        self._set_back_until[str(provider)] = now + SET_BACK_S

    async def price(self, provider: Provider, source: Source) -> Price:
        """What a provider asks for what of a source is not here. Raises ``RetrievalError``."""
        return await self._ask(provider, source)

    async def ranked(self, source: Source, providers: Sequence[Provider]) -> list[Provider]:
        """The order in which to try them. A single one is not asked first: it says its price when it is bought from."""
        if len(providers) < 2:
            return list(providers)
        quotations = await self.quotations(source, providers)
        priced = {str(each.provider): each.price.amount_max for each in quotations if each.price is not None}
        now = trio.current_time()

        def rank(provider: Provider) -> tuple[bool, bool, int]:
            name = str(provider)
            return name not in priced, self._set_back_until.get(name, 0) > now, priced.get(name, 0)

        return sorted(providers, key=rank)

    async def quotations(self, source: Source, providers: Sequence[Provider]) -> list[Quotation]:
        """What each of them asks, as far as they say so in time; the first that is free ends it."""
        assert len(providers) <= ASKED_AT_ONCE_MAX
        heard: list[Quotation] = []
        with trio.move_on_after(QUOTES_DUE_S):
            async with trio.open_nursery() as nursery:

                async def ask(provider: Provider) -> None:
                    try:
                        heard.append(Quotation(provider=provider, price=await self._ask(provider, source), failure=None))
                    except RetrievalError as error:
                        heard.append(Quotation(provider=provider, price=None, failure=error))
                        return
                    if heard[-1].price is not None and heard[-1].price.amount_max == 0:
                        nursery.cancel_scope.cancel()

                for provider in providers:
                    nursery.start_soon(ask, provider)
        return heard
