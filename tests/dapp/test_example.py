"""The example page, used as a person would use it: in Chromium, with a wallet, against a serving provider."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import pytest
from chain_fixture import devchain  # noqa: F401
from chromium import open_browser, open_page
from dapp_pages import DAPP, Wallet, serve_folder
from http_door import open_door
from retrieval_client.cli import cli
from shop import Shop

from retrieval.cid import format_cid
from retrieval.console import run
from retrieval.dag.importer import import_path
from retrieval.dag.walk import Walk, read
from retrieval.payment.evm import EvmChain
from retrieval.store.blocks import MemoryBlockStore
from retrieval.units import MIB

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOLLAR = 1_000_000
FREE = MIB  # a day
DESKTOP, PHONE = 1280, 390
"""Widths that the page must be readable at."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def shop(tmp_path: Path, devchain: str) -> Shop:  # noqa: F811
    prices = {"price.default": "1 USD/GiB", "http.listen": ("/ip4/127.0.0.1/tcp/0",), "x402.free_per_day": FREE}
    return Shop(folder=tmp_path, rpc=devchain, prices=prices)


def picture(path: Path, width: int = 1600, height: int = 900) -> Path:
    """A PNG of some MiB that nothing was saved on."""
    rows = b"".join(
        b"\0" + bytes(value for x in range(width) for value in (x * 255 // width, y * 255 // height, 160)) for y in range(height)
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))
    return path


@contextmanager
def open_example(
    browser: Browser, wallet: Wallet | None = None, *, width: int = 1280, is_dark: bool = False, **asked: str
) -> Iterator[Page]:
    with serve_folder(DAPP) as origin, open_page(browser, width=width, is_dark=is_dark) as page:
        if wallet is not None:
            wallet.attach(page)
        page.goto(f"{origin}/example/?{urlencode(asked)}")
        yield page


def look(page: Page, name: str) -> None:
    """Keep a picture of the page, where DAPP_SCREENSHOTS names a folder; and nothing may be wider than the screen."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("DAPP_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@contextmanager
def slow_network(page: Page) -> Iterator[None]:
    """Let the page's network carry so little, while the block runs, that there are seconds to see it in."""
    session = page.context.new_cdp_session(page)
    unlimited = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", {**unlimited, "downloadThroughput": MIB // 2})
    yield
    session.send("Network.emulateNetworkConditions", unlimited)


@pytest.mark.parametrize(("width", "is_dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone"])
def test_a_person_sees_the_price_pays_it_and_gets_file_and_receipts(
    browser: Browser, shop: Shop, tmp_path: Path, width: int, is_dark: bool
) -> None:
    (site := tmp_path / "site").mkdir()
    content = picture(site / "picture.png").read_bytes()
    root = format_cid(shop.add(site).cid)
    wallet = Wallet()
    EvmChain(shop.rpc).mint(wallet.key.address, 10 * DOLLAR)
    screen = f"{width}-{'dark' if is_dark else 'light'}"
    with shop.serving() as node:
        (url,) = node.urls
        httpx.get(f"{url}/ipfs/{root}/picture.png", headers={"Range": f"bytes=0-{FREE - 1}"})
        with open_example(browser, wallet, width=width, is_dark=is_dark, what=f"{root}/picture.png", gateway=url) as page:
            page.get_by_text("Wallet", exact=True).click()
            look(page, f"{screen}-1-ask")
            page.get_by_role("button", name="Show the price").click()
            page.get_by_text("at most 0.004").wait_for()
            look(page, f"{screen}-2-price")
            with slow_network(page):
                page.get_by_role("button", name="Pay and fetch").click()
                page.get_by_text(re.compile(r"^[1-9][.0-9]* MiB of")).wait_for()
                look(page, f"{screen}-3-busy")
            page.locator("#result").wait_for()
            look(page, f"{screen}-4-finished")
            assert page.locator("#preview img").evaluate("(image) => image.naturalWidth") == 1600
            with page.expect_download() as saving:
                page.get_by_role("link", name="Save the file").click()
            assert hashlib.sha256(saving.value.path().read_bytes()).digest() == hashlib.sha256(content).digest()
            assert page.locator("#receipts .good").all_inner_texts() == ["verified"]
            with page.expect_download() as saving:
                page.locator("#receipts a").click()
            saving.value.save_as(receipt := tmp_path / saving.value.suggested_filename)
    assert len(wallet.shown) == 1
    assert run(cli, program="retrieval-client", arguments=["receipts", "verify", str(receipt)]) == 0


def test_a_person_who_refuses_or_cancels_is_told_so_and_can_try_again(browser: Browser, shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_bytes(b"a line of text\n" * 200_000)
    root = format_cid(shop.add(tmp_path / "letter.txt").cid)
    wallet = Wallet(is_willing=False)
    EvmChain(shop.rpc).mint(wallet.key.address, 10 * DOLLAR)
    with shop.serving() as node:
        (url,) = node.urls
        httpx.get(f"{url}/ipfs/{root}", headers={"Range": f"bytes=0-{FREE - 1}"})
        with open_example(browser, wallet, width=PHONE, what=root, gateway=url) as page:
            page.get_by_text("Wallet", exact=True).click()
            page.get_by_role("button", name="Show the price").click()
            page.get_by_role("button", name="Pay and fetch").click()
            page.get_by_role("alert").wait_for()
            assert "cancelled" in page.get_by_role("alert").inner_text()
            look(page, f"{PHONE}-light-5-refused")
            wallet.is_willing = True
            with slow_network(page):
                page.get_by_role("button", name="Pay and fetch").click()
                page.get_by_text(re.compile(r"^[1-9][.0-9]* MiB of")).wait_for()
                page.get_by_role("button", name="Cancel").click()
                page.get_by_text("cancelled (511)").wait_for()
            page.get_by_role("button", name="Pay and fetch").click()
            page.locator("#result").wait_for()


def test_content_that_is_not_what_its_cid_says_is_never_shown(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(3 * MIB))
    honest, bent = MemoryBlockStore(), MemoryBlockStore()
    root = import_path(honest, tmp_path / "file").cid
    *blocks, (last, payload) = read(honest, Walk(root))
    bent.put_many([*blocks, (last, payload[::-1])])
    with open_door(bent) as door:
        url = f"http://127.0.0.1:{door.port}"
        with open_example(browser, width=PHONE, is_dark=True, what=format_cid(root), gateway=url) as page:
            page.get_by_role("button", name="Show the price").click()
            page.get_by_role("button", name="Fetch it").click()
            page.get_by_text("corrupt_block (501)").wait_for()
            look(page, f"{PHONE}-dark-6-corrupt")
            assert page.locator("#result").is_hidden()


def test_a_gateway_that_cannot_be_reached_is_said_to_be(browser: Browser) -> None:
    with open_example(browser, what="bafkqaaa", gateway="http://127.0.0.1:1") as page:
        page.get_by_role("button", name="Show the price").click()
        page.get_by_role("alert").wait_for()
        assert "dial_failed" in page.get_by_role("alert").inner_text()
        look(page, f"{DESKTOP}-light-7-unreachable")
