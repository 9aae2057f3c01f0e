"""Settings: a program declares them once, as frozen dataclasses; reading, writing and documenting them follow from that.

The rule: a later source wins (defaults, config.toml, environment, flags), and whatever is not understood is an error that names the
place, what was expected and the nearest known key. People write ``"0.01 USD/GiB"``; the program sees integers.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Wallet:
        per_fetch: Amount = amount("0 USD", "The most one `get` may spend.")

    @dataclass(frozen=True, slots=True, kw_only=True)
    class ClientSettings:
        wallet: Wallet = section(Wallet, "What may be spent.")

    settings, origins = load(ClientSettings, home.config_path, os.environ, {"wallet.per_fetch": option})

A declaration without a file is usable as it stands: ``ClientSettings()`` holds the defaults.
"""

from retrieval.settings.declare import amount, choice, endpoints, integer, multiaddrs, price, seconds, section, size, switch, text, url
from retrieval.settings.load import CONFIG_BYTES_MAX, load
from retrieval.settings.write import render_reference, set_key, write_default

__all__ = [
    "CONFIG_BYTES_MAX",
    "amount",
    "choice",
    "endpoints",
    "integer",
    "load",
    "multiaddrs",
    "price",
    "render_reference",
    "seconds",
    "section",
    "set_key",
    "size",
    "switch",
    "text",
    "url",
    "write_default",
]
