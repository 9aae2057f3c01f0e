"""The client's settings, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.settings import amount as amount_of
from retrieval.settings import endpoints, integer, price, seconds, section, size, text, url
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
class Radio:
    frequency: int = integer(
        869_525_000, "Hz; the whole signal must lie in one band that is allowed here.", minimum=1, maximum=3_000_000_000
    )
    bandwidth: int = integer(125_000, "Hz, as the others have it.", minimum=7_810, maximum=500_000)
    spreading_factor: int = integer(7, "As the others have it: each step doubles the airtime and reaches further.", minimum=5, maximum=12)
    power: int = integer(14, "dBm; the board allows what its band does.", minimum=-9, maximum=30)
    fee_cap: Amount = amount_of("0.001 USD", "The most that all relays together may ask for carrying one packet of ours.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    bytes_max: int = size("10 GiB", "How much content this home may hold.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    listen: str = text("127.0.0.1:4803", "Where the gateway answers; another than a loopback address also takes --allow-remote.")
    host: str = text("", "A further name, without the port, by which a gateway that others can reach is called.")
    providers: tuple[str, ...] = endpoints(
        (), "Who is asked for content: multiaddrs that end in /p2p/ and a peer id, and URLs of gateways."
    )
    per_day: Amount = amount_of(
        "1 USD", "The most that all tokens together may spend in a day (UTC); wallet.per_fetch holds for each fetch."
    )
    per_origin: Amount = amount_of("1 USD", "The most that may be spent in a day for one web page, by its origin.")
    timeout: int = seconds("30 s", "How long a fetch goes on without verified progress before its request fails.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    wallet: Wallet = section(Wallet, "What may be spent.")
    chain: Chain = section(Chain, "Paying.")
    fetch: Fetch = section(Fetch, "Fetching.")
    store: Store = section(Store, "The block store.")
    radio: Radio = section(Radio, "Fetching over the radio.")
    gateway: Gateway = section(Gateway, "The gateway on this machine.")
