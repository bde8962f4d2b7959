"""A plugin of pytest: Debian's Chromium without a window, driven by Playwright, which downloads
nothing.
"""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return the browser; its pages are closed with it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_chromium(), args=["--no-sandbox"]
        )  # root has none
        yield browser
        browser.close()


def _chromium() -> str:
    """Return where Chromium is; without it the test is skipped, which on CI is a failure."""
    found = shutil.which("chromium")
    if not found:
        reason = "needs Chromium: as root, make test installs it; else apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return str(found)
