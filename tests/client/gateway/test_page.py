"""The gateway's page in a browser: it opens by a token, shows what is left, and complains of nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from chromium import open_browser, open_page
from counter_gateway import Running, open_counter
from retrieval_client.config import ClientSettings
from shop import new_home

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LOOKS = [(1000, 800, False), (390, 844, True)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Running]:
    home = new_home(tmp_path_factory.mktemp("page") / "client", "retrieval-client", ClientSettings, {"wallet.per_fetch": "0.5 USD"})
    with open_counter(home) as counter:
        yield counter


@pytest.mark.parametrize(("width", "height", "is_dark"), LOOKS)
def test_a_token_opens_the_books(counter: Running, browser: Browser, width: int, height: int, is_dark: bool) -> None:
    token = counter.new_token(cap=250_000)
    with open_page(browser, width=width, height=height, is_dark=is_dark) as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"http://{counter.authority}/")
        assert page.locator("#books").is_hidden()
        page.fill("#token", token)
        page.click("#open button")
        page.wait_for_selector("#left tr")
        assert "0.25 USD" in page.inner_text("#left")
        assert "Nothing was bought yet." in page.inner_text("#books")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than the screen"
        assert said == []


def test_a_token_that_is_not_good_opens_nothing(counter: Running, browser: Browser) -> None:
    with open_page(browser) as page:
        page.goto(f"http://{counter.authority}/")
        page.fill("#token", "rmt_" + "A" * 43)
        page.click("#open button")
        page.wait_for_function("document.getElementById('trouble').textContent")
        assert "token" in page.inner_text("#trouble")
        assert page.locator("#books").is_hidden()
