"""The provider's settings, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.settings import amount as amount_of
from retrieval.settings import integer, multiaddrs, price, seconds, section, size, url
from retrieval.units import Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    listen: tuple[str, ...] = multiaddrs(("/ip4/127.0.0.1/tcp/4801",), "Where clients reach this provider; port 0 takes a free one.")
    sessions_max: int = integer(256, "Sessions open at once, over all clients.", minimum=1, maximum=100_000)
    sessions_per_peer_max: int = integer(8, "Sessions open at once for one peer id.", minimum=1, maximum=1024)
    sessions_per_prefix_max: int = integer(64, "Sessions open at once for one address prefix (/24 or /48).", minimum=1, maximum=100_000)
    queries_per_minute: int = integer(
        600, "Queries a minute of one peer id; beyond it they are refused for a while.", minimum=1, maximum=1_000_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    rpc: str = url("", "JSON-RPC of the chain on which this provider is paid; empty serves free content only.")
    poll: int = seconds("15 s", "How often channels are looked at on the chain.")
    claim_above: Amount = amount_of("1 USD", "Unclaimed earnings at which a claim is sent by itself.")
    withdraw_delay: int = seconds("1 day", "The shortest withdraw delay accepted in a channel, never under an hour.")
    deposit_min: Amount = amount_of("0 USD", "The smallest deposit accepted in a channel.")
    confirmations: int = integer(0, "Blocks that must lie above a deposit before it counts.", minimum=0, maximum=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    default: int = price("0.01 USD/GiB", "What content without a price of its own costs.")
    flat_fee: Amount = amount_of("0 USD", "What a deal costs besides, once a day for the same content and payer.")
    quote_lifetime: int = seconds("1 h", "How long a quote can be accepted, and a deal resumed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    window_first: int = size("4 MiB", "Unpaid bytes allowed to a channel that has paid little: what a stranger can cost you.")
    window_max: int = size("64 MiB", "Unpaid bytes allowed at most, reached when twice as much was paid.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    bytes_max: int = size("10 GiB", "How much content this home may hold.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    serve: Serve = section(Serve, "Serving.")
    chain: Chain = section(Chain, "Getting paid.")
    price: Pricing = section(Pricing, "Prices.")
    credit: Credit = section(Credit, "What clients may owe.")
    store: Store = section(Store, "The block store.")
