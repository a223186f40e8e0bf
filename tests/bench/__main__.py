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

from tests.bench import hosting, reads, tenancy
from tests.bench.harness import Row, table
from tests.bench.place import database
from tests.factories import Urls

#: What is measured, by the name that may be given on the command line. Add a module with ``measure(urls)`` here.
MEASURES: dict[str, Callable[[Urls], Awaitable[list[Row]]]] = {
    "tenancy": tenancy.measure,
    "hosting": hosting.measure,
    "reads": reads.measure,
}
_REPORT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_TEXT = """# Benchmarks

Written by `make bench`. Every figure stands beside a baseline of the same run: both take turns, piece by piece; the
figures are medians over rounds, the ratio is the median of the rounds' own ratios. A bound that is broken ends the
command with 1.

{table}

Taken {when} on {cpus} CPUs, {python}, PostgreSQL {server}.
"""


async def _measure(names: list[str]) -> tuple[list[Row], str]:
    rows: list[Row] = []
    async with database() as urls:
        connection = await asyncpg.connect(urls.admin)
        server = str(await connection.fetchval("show server_version"))
        await connection.close()
        for name in names:
            rows += await MEASURES[name](urls)
    return rows, server


def main() -> int:
    """Measure, print, perhaps write; 1 where a bound is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Take the figures of what security and hosting cost."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(MEASURES)}; all where none is named")
    parser.add_argument("--write", action="store_true", help=f"write {_REPORT.name}")
    given = parser.parse_args()
    if unknown := set(given.names) - set(MEASURES):
        parser.error(f"there is no measure named {', '.join(sorted(unknown))}")
    rows, server = asyncio.run(_measure(given.names or list(MEASURES)))
    shown = table(rows)
    sys.stdout.write(shown + "\n")
    if given.write:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        when = datetime.now(UTC).date().isoformat()
        _REPORT.write_text(
            _TEXT.format(table=shown, when=when, cpus=os.cpu_count(), python=python, server=server), encoding="utf-8"
        )
    return int(any(row.verdict == "BROKEN" for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
