"""``python -m tests.faults.table``: inject every fault at its full length and write the recovery matrix into the docs.

Words after the command go to pytest. Only a run of everything writes the table.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.recovery import PROPERTY

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
_BEGIN, _END = "<!-- recovery matrix: written by `python -m tests.faults.table` -->\n", "<!-- end -->\n"
_HEAD = "| Fault | What happens | Told after | All well after |\n|---|---|--:|--:|\n"


class Collector:
    """Takes the rows out of pytest's reports."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float | None, float]] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        """Let tests know (`in_full`)."""
        config.pluginmanager.register(object(), PROPERTY)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test that passed has measured."""
        if report.when == "call" and report.passed:
            self.rows += [json.loads(str(value)) for name, value in report.user_properties if name == PROPERTY]


def table(rows: list[tuple[str, str, float | None, float]]) -> str:
    """The rows in Markdown; a fault that was injected several times is told once, with its slowest recovery."""
    slowest: dict[tuple[str, str], tuple[float | None, float]] = {}
    for fault, then, noticed, took in rows:
        _, before = slowest.get((fault, then), (None, 0.0))
        slowest[fault, then] = (noticed, max(before, took))
    lines = [
        f"| {fault} | {then} | {_seconds(noticed)} | {_seconds(took)} |\n"
        for (fault, then), (noticed, took) in slowest.items()
    ]
    return _HEAD + "".join(lines)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def main(arguments: list[str]) -> int:
    """Run, print, write; pytest's exit status."""
    collector = Collector()
    where = str(Path(__file__).parent)
    status = pytest.main([where, "-q", "-k", "matrix", *arguments], plugins=[collector])
    shown = table(collector.rows)
    sys.stdout.write(shown)
    if status == 0 and not arguments:
        before, _, rest = _PAGE.read_text("utf-8").partition(_BEGIN)
        when = f"\nTaken {datetime.now(UTC).date().isoformat()} on {os.cpu_count()} CPUs.\n"
        _PAGE.write_text(before + _BEGIN + shown + when + _END + rest.partition(_END)[2], "utf-8")
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
