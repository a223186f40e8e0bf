"""Rows of the recovery matrix: each test that injects a fault tells what happened and how long it took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pytest

PROPERTY = "recovery"


class Row:
    """One row. The time is from the fault until all that must hold holds again; use as ``with`` around both."""

    def __init__(self, fault: str, then: str, tell: Callable[[str, object], None]) -> None:
        self._fault = fault
        self._then = then
        self._tell = tell
        self._began = 0.0
        self._noticed: float | None = None

    def __enter__(self) -> Self:
        self.again()
        return self

    def again(self) -> None:
        """The fault is only now over, or only now there: measure from here."""
        self._began = time.monotonic()

    def noticed(self) -> None:
        """The bot's status tells it now."""
        self._noticed = time.monotonic() - self._began

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            took = time.monotonic() - self._began
            self._tell(PROPERTY, json.dumps([self._fault, self._then, self._noticed, took]))


Recovery = Callable[[str, str], Row]


@pytest.fixture
def recovery(record_property: Callable[[str, object], None]) -> Recovery:
    """Makes a row: ``with recovery("fault", "what happens") as row``."""
    return lambda fault, then: Row(fault, then, record_property)


@pytest.fixture(scope="session")
def in_full(request: pytest.FixtureRequest) -> bool:
    """Whether outages last as long, and crowds are as large, as the table says: only where the table is written."""
    return request.config.pluginmanager.has_plugin(PROPERTY)
