from __future__ import annotations

import os

import pytest

from tests.browser.lab_server import chromium


@pytest.fixture(scope="session")
def needs_chromium() -> None:
    """Skip where no Chromium is; in continuous integration its absence is a failure."""
    if chromium() is None:
        words = "this test drives a real browser: install Chromium, or name one in the variable CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
