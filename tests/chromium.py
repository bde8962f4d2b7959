"""A plugin of pytest: Debian's Chromium without a window, driven by Playwright."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.needs import need


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return the browser; its pages are closed with it."""
    executable = chromium()
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


def chromium() -> str:
    """Return Chromium's path; the test needs it."""
    how = "as root, make test installs it; else apt-get install chromium"
    return need(shutil.which("chromium"), f"Chromium: {how}")
