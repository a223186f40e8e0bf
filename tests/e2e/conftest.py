"""A real browser, and where its pictures go."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.e2e.browser import chromium


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures of the pages are kept: the folder that TRADEWISE_SCREENSHOTS names, to look at them afterwards."""
    folder = Path(os.environ.get("TRADEWISE_SCREENSHOTS") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium."""
    async with chromium() as opened:
        yield opened
