"""The token that opens the operator's page, and what a browser keeps in its place.

The token lies in the home, readable by its owner only, so that it can be shown again. A browser gets a pass made of it, which ends by
itself and with the token, and does not give the token away. Comparing takes the same time whatever was guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from retrieval.home import SECRET_MODE, Home, ensure_secret, read_secret, replace_file

FILE_NAME: Final = "operator.token"
TOKEN_BYTES: Final = 32
PASS_S: Final = 12 * 3600
"""How long a browser stays in."""
PASS_MAX: Final = 128  # characters of one


def ensure_token(home: Home) -> str:
    """The home's token, made when there is none.

    Raises ``LocalProtocolError``: ``secret_exposed``, ``config_invalid``, ``file_unreadable``.
    """
    return ensure_secret(home.path / FILE_NAME, lambda: secrets.token_bytes(TOKEN_BYTES)).reveal().hex()


def read_token(home: Home) -> str:
    """The home's token as it is now. Raises as ``ensure_token``."""
    return read_secret(home.path / FILE_NAME).reveal().hex()


def renew_token(home: Home) -> str:
    """A new token; the old one and all passes made of it open nothing any more. Raises as ``ensure_token``."""
    token = secrets.token_hex(TOKEN_BYTES)
    replace_file(home.path / FILE_NAME, token.encode() + b"\n", mode=SECRET_MODE)
    return token


def is_token(token: str, guess: str) -> bool:
    return _are_same(token, guess)


def new_pass(token: str, now_s: float) -> str:
    """What a browser shows in place of the token, until it ends."""
    until = str(int(now_s) + PASS_S)
    return f"{until}.{_seal(token, until)}"


def is_pass(token: str, shown: str, now_s: float) -> bool:
    """Whether a pass was made of this token and has not ended."""
    until, _, seal = shown[:PASS_MAX].partition(".")
    return _are_same(_seal(token, until), seal) and int(until) > now_s


def _seal(token: str, until: str) -> str:
    return hmac.new(token.encode(), _bytes_of(f"operator's page until {until}"), hashlib.sha256).hexdigest()


def _are_same(known: str, guess: str) -> bool:
    return hmac.compare_digest(_bytes_of(known), _bytes_of(guess))


def _bytes_of(text: str) -> bytes:
    """Of a header or a form, which may have been no text."""
    return text.encode("utf-8", "surrogatepass")
