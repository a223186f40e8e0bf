"""The dashboard's scripts and styles, built before the first test as an installation has them: pages need them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.assets import AssetsUnavailableError, build

ROOT = Path(__file__).parents[1]


def pytest_configure() -> None:
    """Build what is missing or older than its sources. A few milliseconds where nothing is."""
    try:
        build(ROOT, lambda text: print(text, file=sys.stderr, flush=True))
    except AssetsUnavailableError as error:
        raise pytest.UsageError(str(error)) from error
