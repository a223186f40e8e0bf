"""``python -m tests.bench``: take every figure, print them, and write docs/benchmarks.md with ``--write``."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from tests.bench import hosting, poller, reads, tenancy
from tests.bench.harness import Row, table
from tests.bench.place import database
from tests.factories import Urls

#: What is measured, by the name that may be given on the command line. Add a module with ``measure(urls)`` here.
MEASURES: dict[str, Callable[[Urls], Awaitable[list[Row]]]] = {
    "tenancy": tenancy.measure,
    "hosting": hosting.measure,
    "poller": poller.measure,
    "reads": reads.measure,
}
#: How it is measured, where that takes words.
METHODS: dict[str, str] = {"poller": poller.METHOD}
_REPORT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_TEXT = """# Benchmarks

Written by `make bench`. Every figure stands beside a baseline of the same run: both take turns, piece by piece; the
figures are medians over rounds, the ratio is the median of the rounds' own ratios. A bound that is broken ends the
command with 1. What is measured alone (`make bench ARGS=hosting`) replaces its own part.
"""
_PART = """## {name}
{method}
{table}

Taken {when} on {cpus} CPUs, {python}, PostgreSQL {server}.
"""


async def _measure(names: list[str]) -> tuple[dict[str, list[Row]], str]:
    rows: dict[str, list[Row]] = {}
    async with database() as urls:
        connection = await asyncpg.connect(urls.admin)
        server = str(await connection.fetchval("show server_version"))
        await connection.close()
        for name in names:
            rows[name] = await MEASURES[name](urls)
    return rows, server


def _parts(report: str) -> dict[str, str]:
    """What a report says so far, by the name of what was measured."""
    found = (part.partition("\n")[::2] for part in report.split("\n## ")[1:])
    return {name: f"## {name}\n{text.rstrip()}\n" for name, text in found}


def _write(rows: dict[str, list[Row]], server: str) -> None:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    taken = {"when": datetime.now(UTC).date(), "cpus": os.cpu_count(), "python": python, "server": server}
    parts = _parts(_REPORT.read_text("utf-8"))
    parts |= {
        name: _PART.format(name=name, method=METHODS.get(name, ""), table=table(measured), **taken)
        for name, measured in rows.items()
    }
    _REPORT.write_text("\n".join([_TEXT, *(parts[name] for name in MEASURES if name in parts)]), "utf-8")


def main() -> int:
    """Measure, print, perhaps write; 1 where a bound is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Take the figures of what security, hosting and polling cost."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(MEASURES)}; all where none is named")
    parser.add_argument("--write", action="store_true", help=f"write {_REPORT.name}")
    given = parser.parse_args()
    if unknown := set(given.names) - set(MEASURES):
        parser.error(f"there is no measure named {', '.join(sorted(unknown))}")
    rows, server = asyncio.run(_measure(given.names or list(MEASURES)))
    every = [row for measured in rows.values() for row in measured]
    sys.stdout.write(table(every) + "\n")
    if given.write:
        _write(rows, server)
    return int(any(row.verdict == "BROKEN" for row in every))


if __name__ == "__main__":
    raise SystemExit(main())
