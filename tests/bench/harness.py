"""How every figure is taken: warmed up, both sides in turns, medians of rounds, and the spread beside them."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles

import msgspec

Work = Callable[[], Awaitable[None]]


class Row(msgspec.Struct, frozen=True):
    """One line of the report. ``ours`` and ``baseline`` a piece, in ``unit``; ``bound`` is what the ratio may be.

    Where there is nothing to compare with, ``baseline`` is a limit and the ratio tells how much of it is used.
    """

    name: str
    ours: float
    baseline: float
    ratio: float
    bound: float | None
    spread: str
    unit: str = "µs"

    @property
    def verdict(self) -> str:
        """Whether the bound holds."""
        if self.bound is None:
            return "for information"
        return "holds" if self.ratio <= self.bound else "BROKEN"


class Sample(msgspec.Struct):
    """Microseconds a piece of one round, by the clock on the wall and by this process's CPU."""

    wall: float = 0.0
    cpu: float = 0.0

    async def add(self, work: Work, pieces: int) -> None:
        """One piece of ``pieces``."""
        wall, cpu = time.perf_counter(), time.process_time()
        await work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.cpu += cpu / pieces * 1e6
        self.wall += wall / pieces * 1e6


async def _round(pieces: int, *works: Work) -> list[Sample]:
    """Every kind of work ``pieces`` times, in turns: what slows the machine for a while slows all of them."""
    samples = [Sample() for _ in works]
    pairs = list(zip(samples, works, strict=True))
    gc.collect()
    gc.disable()
    try:
        for _ in range(pieces):
            for sample, work in pairs:
                await sample.add(work, pieces)
            pairs.reverse()
    finally:
        gc.enable()
    return samples


async def compare(
    name: str, ours: Work, baseline: Work, *, bound: float | None, rounds: int = 25, pieces: int = 200
) -> list[Row]:
    """Two rows: by client CPU, which ``bound`` holds for, and by the clock for information."""
    await _round(pieces, ours, baseline)
    taken = [await _round(pieces, ours, baseline) for _ in range(rounds)]
    return [
        row_of(f"{name} (client CPU)", [(mine.cpu, other.cpu) for mine, other in taken], bound),
        row_of(f"{name} (wall clock)", [(mine.wall, other.wall) for mine, other in taken], None),
    ]


async def against_time(
    name: str, work: Work, limit_us: float, *, rounds: int = 25, pieces: int = 200, bound: float | None = 1.0
) -> Row:
    """One row: microseconds of the wall clock a piece, against ``limit_us``."""
    await _round(pieces, work)
    taken = [(await _round(pieces, work))[0].wall for _ in range(rounds)]
    return row_of(name, [(value, limit_us) for value in taken], bound)


def row_of(name: str, pairs: list[tuple[float, float]], bound: float | None, *, unit: str = "µs") -> Row:
    """One row of rounds, each ours and the baseline's."""
    ratios = [mine / other for mine, other in pairs]
    low, *_, high = quantiles(ratios, n=20) if len(ratios) > 1 else ratios * 2
    return Row(
        name=name,
        ours=median(mine for mine, _ in pairs),
        baseline=median(other for _, other in pairs),
        ratio=median(ratios),
        bound=bound,
        spread=f"{max(low, min(ratios)):.2f} to {min(high, max(ratios)):.2f}",
        unit=unit,
    )


def table(rows: list[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| What | Ours | Baseline | Ratio | 5 % to 95 % of rounds | Bound | Verdict |",
        "|---|--:|--:|--:|---|--:|---|",
    ]
    for row in rows:
        bound = "" if row.bound is None else f"{row.bound:.2f}"
        figures = f"{row.ours:.0f} {row.unit} | {row.baseline:.0f} {row.unit} | {row.ratio:.3f}"
        lines.append(f"| {row.name} | {figures} | {row.spread} | {bound} | {row.verdict} |")
    return "\n".join(lines)
