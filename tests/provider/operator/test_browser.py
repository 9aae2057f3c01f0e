"""The page in a browser: it renders, follows what happens, loads nothing from elsewhere and complains of nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from chain_fixture import devchain  # noqa: F401
from chromium import open_browser, open_page
from http_door import Caller
from processes import write_file
from retrieval_client import get
from shop import Shop
from trading_history import NAMES, History

from retrieval.cid import format_cid
from retrieval.devchain.children import Child, Children
from retrieval.units import MIB

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SELLING: Final = {
    "price.default": "1 USD/GiB",
    "http.listen": ("/ip4/127.0.0.1/tcp/0",),
    "operator.listen": ("/ip4/127.0.0.1/tcp/0",),
    "chain.claim_above": "1000 USD",
}
LOOKS: Final = [(1280, 900, False), (1280, 900, True), (390, 844, False), (390, 844, True)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    (tmp_path / "output").mkdir()
    with Children(tmp_path / "output") as children:
        yield children


def serve(children: Children, shop: Shop) -> Child:
    child = children.start("retrieval-provider", "--home", shop.home.path, "serve")
    child.ready()
    return child


def opened(page: Page, shop: Shop, child: Child) -> tuple[str, list[str]]:
    """Come in by the link; gives the page's address, and what will be complained of."""
    (url,) = child.results[0]["operator"]
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("requestfailed", lambda request: troubles.append(request.url))
    page.on("request", lambda request: troubles.append(request.url) if not request.url.startswith(f"{url}/") else None)
    token = (shop.home.path / "operator.token").read_text().strip()
    page.goto(f"{url}/?token={token}")
    assert page.url == f"{url}/", "the token does not stay in the address"
    return url, troubles


def test_a_busy_page_fits_a_screen_and_a_phone_light_and_dark(
    tmp_path: Path,
    devchain: str,  # noqa: F811
    children: Children,
    browser: Browser,
) -> None:
    shop = Shop(folder=tmp_path, rpc=devchain, prices=SELLING)
    History(shop).write(now_ms=int(time.time() * 1000) - 60_000, hours=14, n_payers=3)
    child = serve(children, shop)
    for width, height, is_dark in LOOKS:
        with open_page(browser, width=width, height=height, is_dark=is_dark) as page:
            url, troubles = opened(page, shop, child)
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(15, 18, 22)" if is_dark else "rgb(244, 245, 247)")
            assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out"
            hidden = page.evaluate(
                "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.closest('section').id)"
            )
            assert hidden == [], (width, page.locator("#content").inner_text())
            assert page.locator("#over_time g").count() == 48
            heights = page.evaluate("[...document.querySelectorAll('#over_time rect.lower')].map(e => e.getBoundingClientRect().height)")
            assert max(heights) > 100
            shown = page.locator("#content").inner_text()
            assert all(name in shown for name in NAMES)
            assert page.locator("#channels .tag.closing").count() == 1
            assert page.locator("#deals tbody tr").count() == 10
            first = page.locator("#deals tbody").inner_text()
            page.get_by_text("next ›").last.click()
            page.wait_for_url(f"{url}/?deals=10#deals")
            assert page.locator("#deals tbody").inner_text() != first
            page.get_by_role("link", name="days").click()
            page.wait_for_url(f"{url}/?by=day#over_time")
            assert page.locator("#over_time g").count() == 30
            assert troubles == []


def test_an_open_page_follows_what_happens_and_says_when_its_provider_is_gone(
    tmp_path: Path,
    devchain: str,  # noqa: F811
    children: Children,
    browser: Browser,
) -> None:
    shop = Shop(folder=tmp_path, rpc=devchain, prices=SELLING)
    root = shop.add(write_file(tmp_path / "film", 8 * MIB, seed=3))
    child, cid = serve(children, shop), format_cid(root.cid)
    door = Caller(port=int(child.results[0]["urls"][0].rpartition(":")[2]))
    with open_page(browser) as page:
        _, troubles = opened(page, shop, child)
        assert "No deal yet." in page.locator("#deals").inner_text()
        assert "Nothing is being sent." in page.locator("#transfers").inner_text()
        with closing(door.connect()) as sock:  # somebody who reads slowly
            sock.sendall(f"GET /ipfs/{cid} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            page.locator("#transfers progress").wait_for()
            assert "127.0.0.1" in page.locator("#transfers").inner_text()
        page.get_by_text("Nothing is being sent.").wait_for()
        bought = get(cid, child.results[0]["addresses"][0], out=tmp_path / "got", home=shop.client(wallet__auto_open_max="1 USD").path)
        page.locator("#deals tbody tr").wait_for()
        page.locator(".tile", has_text="Unclaimed").get_by_text(f"{bought.paid / 1e6:.6f}".rstrip("0")).wait_for()
        assert troubles == []
        child.kill()
        page.get_by_text("What you see is as it was.").wait_for()
        assert page.locator("#deals tbody tr").count() == 1


def test_without_scripts_the_page_is_whole_and_the_form_opens_it(tmp_path: Path, children: Children, browser: Browser) -> None:
    shop = Shop(folder=tmp_path, prices={**SELLING, "price.default": "0 USD/GiB"})
    child = serve(children, shop)
    (url,) = child.results[0]["operator"]
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(url)
        page.get_by_label("Token").fill("not it")
        page.get_by_role("button", name="Sign in").click()
        assert page.get_by_text("That was not the token.").is_visible()
        page.get_by_label("Token").fill((shop.home.path / "operator.token").read_text().strip())
        page.get_by_role("button", name="Sign in").click()
        assert page.get_by_role("heading", name="Health").is_visible()
        assert page.locator(".checks li").count() == 5
        page.get_by_role("button", name="Sign out").click()
        assert page.get_by_label("Token").is_visible()
    finally:
        context.close()
