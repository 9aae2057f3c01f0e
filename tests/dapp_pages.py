"""The dapp module in a real browser: pages that load it from one origin and fetch from another, and wallets whose keys stay in Python."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chromium import open_page
from eth_account import Account

from retrieval.identity import EvmKey, format_address
from retrieval.payment.chain import DEVCHAIN

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DAPP: Final = Path(__file__).parents[1] / "client" / "dapp"
REFUSED_BY_USER: Final = 4001  # EIP-1193

WALLET_SCRIPT: Final = """
window.ethereum = {
  async request ({ method, params }) {
    const { result, error } = await window.askWallet(method, params ?? [])
    if (error) throw Object.assign(new Error(error.message), { code: error.code })
    return result
  }
}
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Tests have their own output."""


def serve_folder(folder: Path) -> AbstractContextManager[str]:
    """A static server for a folder, and nothing else; gives its origin."""
    return serve_http(functools.partial(_Quiet, directory=str(folder)))


@contextmanager
def serve_http(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server in threads of its own, since the thread of a browser's tests has an event loop already; gives its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(slots=True, kw_only=True)
class Wallet:
    """An EIP-1193 wallet: ``eth_account`` signs what it is shown, as MetaMask would."""

    key: EvmKey = field(default_factory=EvmKey.generate)
    chain_id: int = DEVCHAIN.chain_id
    is_willing: bool = True
    shown: list[dict[str, Any]] = field(default_factory=list)
    """The typed data that its owner was asked to sign."""

    @property
    def address(self) -> str:
        return format_address(self.key.address)

    def request(self, method: str, params: list[Any]) -> dict[str, Any]:
        match method:
            case "eth_accounts" | "eth_requestAccounts":
                return {"result": [self.address]}
            case "eth_chainId":
                return {"result": hex(self.chain_id)}
            case "eth_signTypedData_v4":
                typed_data = json.loads(params[1])
                self.shown.append(typed_data)
                if not self.is_willing:
                    return {"error": {"code": REFUSED_BY_USER, "message": "User rejected the request."}}
                assert params[0] == self.address.lower()
                return {
                    "result": "0x" + Account.sign_typed_data(self.key.secret, full_message=typed_data).signature.hex().removeprefix("0x")
                }
            case _:
                return {"error": {"code": 4200, "message": f"{method} is not supported"}}

    def attach(self, page: Page) -> None:
        """Make it the page's ``window.ethereum``, before the page is loaded."""
        page.expose_function("askWallet", lambda method, params: self.request(method, params))
        page.add_init_script(WALLET_SCRIPT)


@contextmanager
def open_module(browser: Browser, wallet: Wallet | None = None) -> Iterator[Page]:
    """An empty page of an origin of its own, which has the module as ``window.dapp``."""
    with serve_folder(DAPP) as origin, open_page(browser) as page:
        if wallet is not None:
            wallet.attach(page)
        page.goto(f"{origin}/package.json")
        page.evaluate("async () => { window.dapp = await import('/retrieval.js') }")
        page.evaluate(HELPERS)
        yield page


HELPERS: Final = """
() => {
  window.sha256 = async (bytes) =>
    Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)), (byte) => byte.toString(16).padStart(2, '0')).join('')
  window.attempt = async (work) => {
    try {
      return await work()
    } catch (error) {
      return { code: error.code ?? error.name, message: String(error), number: error.number, status: error.status, stack: error.stack }
    }
  }
}
"""
"""``attempt`` makes of what a work throws an object that leaves the page."""
