"""The Chromium of this machine, without a window: for tests of what web pages do.

One rule: nothing is downloaded. ``playwright`` of PyPI drives the browser that is installed here; a test that wants one where there is none
is skipped with that reason.

Playwright's objects belong to the thread that made them, and while a browser is open that thread has a running event loop of asyncio's.
So what runs a provider, or a server, keeps it in another (``Shop.serving``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS: Final = 60_000
"""For one step of a page; a test that waits this long has failed."""
FLAGS: Final = (
    "--disable-dev-shm-usage",  # containers give /dev/shm 64 MiB, and a page that outgrows it crashes
    "--disable-background-networking",  # loopback only
    "--no-proxy-server",
)


def executable() -> str:
    """Where the browser is: ``CHROMIUM_BIN``, else on the PATH. Skips the test where there is none."""
    found = os.environ.get("CHROMIUM_BIN") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("there is no chromium here (apt-get install chromium, or CHROMIUM_BIN)")
    return found


@contextmanager
def open_browser(*flags: str) -> Iterator[Browser]:
    """A browser while the block runs, with these flags besides. One costs a second or two: take one a module, and a page a test."""
    path = executable()
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the test extra)")
    is_root = os.geteuid() == 0  # for whom Chromium's sandbox does not work
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, chromium_sandbox=not is_root, args=[*FLAGS, *flags], timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, *, width: int = 1280, height: int = 900, is_dark: bool = False) -> Iterator[Page]:
    """A page with storage of its own, as large as a screen is. What its script throws and nobody catches fails the test at the end."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if is_dark else "light")
    context.set_default_timeout(PATIENCE_MS)
    try:
        page = context.new_page()
        thrown: list[str] = []
        page.on("pageerror", lambda error: thrown.append(str(error)))
        yield page
        assert thrown == []
    finally:
        context.close()
