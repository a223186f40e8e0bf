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

from tests.bench import hosting, poller, tenancy
from tests.bench.harness import Row, table
from tests.bench.place import database
from tests.factories import Urls

#: What is measured, by the name that may be given on the command line. Add a module with ``measure(urls)`` here.
MEASURES: dict[str, Callable[[Urls], Awaitable[list[Row]]]] = {
    "tenancy": tenancy.measure,
    "hosting": hosting.measure,
    "poller": poller.measure,
}
_REPORT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_TEXT = """# Benchmarks

Written by `make bench`, each part by its own name (`make bench ARGS=poller`). Every figure stands beside a baseline of
the same run: both take turns, piece by piece; the figures are medians over rounds, the ratio is the median of the
rounds' own ratios. Where there is nothing to compare with, the baseline is a limit and the ratio tells how much of it
is used. A bound that is broken ends the command with 1.
"""
_PART = """
## {name}
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
            sys.stdout.write(f"{name}\n{table(rows[name])}\n\n")
            sys.stdout.flush()
    return rows, server


def report(before: str, parts: dict[str, str]) -> str:
    """The report with ``parts`` in it, each by its name; what was not measured this time stays as it was."""
    kept = {part.partition("\n")[0]: f"\n## {part.rstrip()}\n" for part in before.split("\n## ")[1:]}
    every = {**kept, **parts}
    return _TEXT + "".join(every[name] for name in MEASURES if name in every)


def _method(name: str) -> str:
    """How a part is measured, where its module says so."""
    text: str = getattr(sys.modules[MEASURES[name].__module__], "METHOD", "")
    return f"\n{text.strip()}\n" if text else ""


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
    if given.write:
        place = {
            "when": datetime.now(UTC).date().isoformat(),
            "cpus": os.cpu_count(),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "server": server,
        }
        parts = {
            name: _PART.format(name=name, method=_method(name), table=table(found), **place)
            for name, found in rows.items()
        }
        _REPORT.write_text(report(_REPORT.read_text(encoding="utf-8"), parts), encoding="utf-8")
    return int(any(row.verdict == "BROKEN" for found in rows.values() for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
