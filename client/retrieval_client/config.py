"""The client's settings, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.settings import amount as amount_of
from retrieval.settings import price, seconds, section, size, url
from retrieval.units import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    per_fetch: Amount = amount_of("0 USD", "The most one `get` may spend without --max-spend, and the most --max-spend may say.")
    auto_open_max: Amount = amount_of("0 USD", "The deposit with which a `get` may open a channel by itself; 0 asks for `fund` instead.")
    price_max: int = price("0 USD/GiB", "The highest price a query names; 0 names none and leaves it to per_fetch.")
    withdraw_delay: int = seconds("1 day", "The withdraw delay of channels this wallet opens, where the provider's terms allow it.")
    session_key_lifetime: int = seconds("30 d", "How long this machine may spend from a channel before its owner signs again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    rpc: str = url("", "JSON-RPC of the chain this wallet pays on; empty fetches free content only.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    timeout: int = seconds("60 s", "How long a `get` goes on without verified progress before it gives up, resumable.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    bytes_max: int = size("10 GiB", "How much content this home may hold.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    wallet: Wallet = section(Wallet, "What may be spent.")
    chain: Chain = section(Chain, "Paying.")
    fetch: Fetch = section(Fetch, "Fetching.")
    store: Store = section(Store, "The block store.")
