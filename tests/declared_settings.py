"""A declaration with every kind of setting in it, nested once, as a program would write it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from retrieval.settings import amount, choice, integer, multiaddrs, price, seconds, section, size, switch, text, url
from retrieval.units import Amount


class Level(StrEnum):
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    per_fetch: Amount = amount("0 USD", "The most one `get` may spend.")
    daily: Amount = amount("1 USD", "The most of one day.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    auto_open_max: Amount = amount("0 USD", "The largest channel opened unasked.")
    limits: Limits = section(Limits, "What may be spent.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    listen: tuple[str, ...] = multiaddrs(("/ip4/127.0.0.1/tcp/0",), "Where to listen.")
    price: int = price("0.01 USD/GiB", "What a GiB costs.")
    sessions_max: int = integer(64, "Sessions at once.", minimum=1, maximum=1_000)
    public: bool = switch(False, "Whether strangers | friends may ask.")
    level: Level = choice(Level.LOW, "How eager.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    rpc: str = url("", "The chain's RPC.")
    docs: str = url("http://127.0.0.1:1/", "Where the documentation is.")
    name: str = text("", "What this node calls itself.")
    store_bytes_max: int = size("10 GiB", "Bound of the store.")
    timeout_s: int = seconds(20, "How long to wait.")
    serve: Serve = section(Serve, "How content is sold.")
    wallet: Wallet = section(Wallet, "What may leave the wallet.")


def config(directory: Path, content: str) -> Path:
    """A configuration file with this content."""
    path = directory / "config.toml"
    path.write_text(content)
    return path
