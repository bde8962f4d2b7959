"""What a test needs of its machine: without it the test is skipped, and on CI it fails."""

import os
from typing import TypeVar

import pytest

Found = TypeVar("Found")


def need(found: Found | None, what: str) -> Found:
    """Return what was `found`; without it skip the test, or fail it where CI=true."""
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def need_root(why: str) -> None:
    """Skip the test for an ordinary user, on CI too."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {why}")
