"""asyncio. What fetches and counts in Trio, as the routes see it: every question goes over the bridge, and waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from retrieval.errors import RetrievalError
from retrieval.transport.bridge import Bridge, BridgeClosed

from ..source import Source
from .budgets import Budgets, Left
from .errands import Errand, Errands, Permit
from .market import Market, Provider, Quotation
from .tokens import Token, TokenId


class Across:
    """The other side."""

    def __init__(self, bridge: Bridge, errands: Errands, market: Market, budgets: Budgets) -> None:
        self.tokens: Mapping[TokenId, Token] = {}
        """Those that are good; replaced as a whole when one is made or revoked."""
        self._bridge: Final = bridge
        self._errands: Final = errands
        self._market: Final = market
        self._budgets: Final = budgets

    @property
    def configured(self) -> tuple[Provider, ...]:
        """The providers of the configuration."""
        return self._market.configured

    @property
    def per_request(self) -> int:
        """The most that one request may spend, whatever its token says."""
        return self._budgets.limits.per_request

    async def join(self, source: Source, permit: Permit, *, alone: bool) -> Errand:
        """As ``Errands.join``; cancelled, it is not joined."""
        joined: list[Errand] = []

        async def join() -> None:
            joined.append(await self._errands.join(source, permit, alone=alone))

        try:
            await self._bridge.in_trio(join)
        except asyncio.CancelledError:
            for errand in joined:  # it came too late to be heard of, and nobody else would leave it
                with suppress(BridgeClosed):
                    await self.leave(errand)
            raise
        return joined[0]

    async def leave(self, errand: Errand) -> None:
        """As ``Errands.leave``."""
        await self._bridge.in_trio(self._errands.leave, errand)

    async def quotations(self, source: Source, permit: Permit) -> list[Quotation]:
        """What those say who may be asked for a source, the cheapest first."""
        providers = permit.providers or self._market.configured
        heard = await self._bridge.in_trio(self._market.quotations, source, providers)
        return sorted(heard, key=lambda each: (each.price is None, each.price.amount_max if each.price is not None else 0))

    async def left(self, token: Token, origin: str) -> tuple[Left, int]:
        """What a token may still spend for a web page, and what was spent today by all."""

        async def look() -> tuple[Left, int]:
            return self._budgets.left(token, origin), self._budgets.spent_today()

        return await self._bridge.in_trio(look)


def failure_row(error: RetrievalError) -> dict[str, str]:
    """Why somebody gave no price."""
    return {"code": error.code.label, "title": error.row.summary, "hint": error.row.hint}
