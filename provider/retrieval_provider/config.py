"""The provider's settings, declared once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from retrieval.errors import ErrorCode, LocalProtocolError
from retrieval.home import Home
from retrieval.payment.channel import WITHDRAW_DELAY_FLOOR_S, WITHDRAW_DELAY_MAX_S
from retrieval.settings import amount as amount_of
from retrieval.settings import integer, load, multiaddrs, price, seconds, section, size, switch, text, url
from retrieval.settings.declare import keys_of
from retrieval.units import Amount
from retrieval.wire.messages import BLOCK_SIZE_MAX, LIFETIME_MAX_S, WINDOW_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    listen: tuple[str, ...] = multiaddrs(("/ip4/127.0.0.1/tcp/4801",), "Where clients reach this provider; port 0 takes a free one.")
    sessions_max: int = integer(256, "Sessions open at once, over all clients.", minimum=1, maximum=100_000)
    sessions_per_peer_max: int = integer(8, "Sessions open at once for one peer id.", minimum=1, maximum=1024)
    sessions_per_prefix_max: int = integer(
        64, "Sessions open at once for one address prefix (an IPv4 address, or an IPv6 /64).", minimum=1, maximum=100_000
    )
    queries_per_minute: int = integer(
        600, "Queries a minute of one peer id; beyond it they are refused for a while.", minimum=1, maximum=1_000_000
    )
    queries_per_minute_prefix: int = integer(3_000, "Queries a minute of one address prefix.", minimum=1, maximum=1_000_000)
    queries_per_minute_total: int = integer(30_000, "Queries a minute of all clients.", minimum=1, maximum=10_000_000)
    denylist: str = text("", "A file that names what is not served (*.deny, IPIP-383), inside the home unless its path is absolute.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    listen: tuple[str, ...] = multiaddrs((), "Where the HTTP gateway listens, such as /ip4/127.0.0.1/tcp/4802; nowhere by default.")
    announce: tuple[str, ...] = multiaddrs(
        (), "Where clients reach the gateway, such as /dns4/example.org/tcp/443/tls/http; where it listens by default."
    )
    workers: int = integer(1, "Processes that serve HTTP.", minimum=1, maximum=64)
    requests_max: int = integer(1_024, "Requests that one of these processes answers at once.", minimum=1, maximum=100_000)
    requests_per_minute: int = integer(
        1_200,
        "Requests a minute of one address prefix to one of these processes, but for those that are paid.",
        minimum=1,
        maximum=10_000_000,
    )
    connections_max: int = integer(
        4_096, "Connections to one of these processes; beyond it the one idle for longest is closed.", minimum=1, maximum=1_000_000
    )
    connections_per_prefix_max: int = integer(
        256, "Connections of one address prefix to one of these processes.", minimum=1, maximum=1_000_000
    )
    proxies: tuple[str, ...] = multiaddrs(
        ("/ip4/127.0.0.1", "/ip6/::1"),
        "Proxies in front, or ranges like /ip4/10.0.0.0/ipcidr/8: their X-Forwarded-For is believed, and no limit counts for them.",
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
class X402:
    free_per_day: int = size("64 MiB", "Bytes a day that each client address may have over HTTP for nothing.")
    transfer_min: Amount = amount_of("0.01 USD", "The least a single transfer pays, as each costs gas; what is not used is kept.")
    deposit_min: Amount = amount_of("0.1 USD", "The least that is deposited with a first payment over HTTP, as it costs us gas.")
    facilitator: str = url("", "A facilitator that submits transfers and deposits; this provider's own key by default.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    window_first: int = size("4 MiB", "Unpaid bytes allowed to a channel that has paid little: what a stranger can cost you.")
    window_max: int = size("64 MiB", "Unpaid bytes allowed at most, reached when twice as much was paid.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    listen: tuple[str, ...] = multiaddrs(
        (), "Where the operator's page and /metrics are, on loopback only, such as /ip4/127.0.0.1/tcp/4804; nowhere by default."
    )
    free_space_min: int = size("512 MiB", "Free disk space below which /readyz says that the provider is not ready.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    port: str = text("", "The serial port of a radio board, such as /dev/ttyUSB0; none by default.")
    frequency: int = integer(
        869_525_000, "Hz; the whole signal must lie in one band that is allowed here.", minimum=1, maximum=3_000_000_000
    )
    bandwidth: int = integer(125_000, "Hz, as the others have it.", minimum=7_810, maximum=500_000)
    spreading_factor: int = integer(7, "As the others have it: each step doubles the airtime and reaches further.", minimum=5, maximum=12)
    power: int = integer(14, "dBm; the board allows what its band does.", minimum=-9, maximum=30)
    fee_cap: Amount = amount_of("0.001 USD", "The most that all relays together may ask for carrying one packet of ours.")
    relay_budget: Amount = amount_of(
        "0 USD", "The most that relays may be promised within a day, over all packets; with 0 only relays that are free carry ours."
    )
    charge_relays: bool = switch(
        True, "Whether what relays ask for the way back is added to the price; if not, it is ours to bear, within relay_budget."
    )
    relay: bool = switch(True, "Whether the board also carries packets of others, where it runs our firmware.")
    relay_fee: Amount = amount_of("0 USD", "What it asks for each packet it carries.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    bytes_max: int = size("10 GiB", "How much content this home may hold.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    serve: Serve = section(Serve, "Serving.")
    http: Http = section(Http, "The HTTP gateway.")
    chain: Chain = section(Chain, "Getting paid.")
    price: Pricing = section(Pricing, "Prices.")
    x402: X402 = section(X402, "What clients may have, and how they pay, over HTTP.")
    credit: Credit = section(Credit, "What clients may owe.")
    store: Store = section(Store, "The block store.")
    radio: Radio = section(Radio, "Serving over the radio.")
    operator: Operator = section(Operator, "The operator's page.")


def load_settings(home: Home, flags: Mapping[str, object] | None = None) -> tuple[ProviderSettings, dict[str, str]]:
    """The settings of a home, and where each came from. ``flags`` are by dotted key, None where not given.

    Raises ``LocalProtocolError``: ``not_initialised``, ``config_invalid``, ``file_unreadable``.
    """
    settings, origins = load(ProviderSettings, home.require().config_path, os.environ, flags or {})
    _require_sound(settings)
    return settings, origins


def shown_settings(settings: ProviderSettings, origins: Mapping[str, str]) -> list[dict[str, object]]:
    """Every setting as config.toml would hold it, with where it came from."""
    return [
        {
            "key": key.dotted,
            "kind": key.kind.name,
            "value": key.kind.show(getattr(getattr(settings, key.section), key.name)),
            "from": origins[key.dotted],
        }
        for key in keys_of(ProviderSettings)
    ]


def _require_sound(settings: ProviderSettings) -> None:
    """What no single key can say of itself."""
    delay_s, credit = settings.chain.withdraw_delay, settings.credit
    rules = (
        (delay_s >= WITHDRAW_DELAY_FLOOR_S, "chain.withdraw_delay is under an hour: a claim might come too late"),
        (delay_s <= WITHDRAW_DELAY_MAX_S, "chain.withdraw_delay is above 30 days: no channel can have it"),
        (settings.chain.poll > 0, "chain.poll is 0: channels would be looked at without a pause"),
        (credit.window_first >= BLOCK_SIZE_MAX, "credit.window_first is below 2 MiB: one block could not be sent"),
        (credit.window_first <= credit.window_max, "credit.window_first is above credit.window_max"),
        (credit.window_max <= WINDOW_BYTES_MAX, "credit.window_max is above 1 GiB: the protocol has no such window"),
        (0 < settings.price.quote_lifetime <= LIFETIME_MAX_S, "price.quote_lifetime is 0, or above 7 days"),
        (
            settings.radio.relay_budget == 0 or settings.chain.rpc != "",
            "radio.relay_budget is above 0 and chain.rpc is empty: relays could not be paid",
        ),
        (
            all(re.match(r"/ip4/127\.|/ip6/::1/", address) for address in settings.operator.listen),
            "operator.listen is not on loopback: put it at /ip4/127.0.0.1, and reach it from elsewhere through a tunnel",
        ),
    )
    for holds, complaint in rules:
        if not holds:
            raise LocalProtocolError(ErrorCode.CONFIG_INVALID, complaint)
