"""Small charts drawn by the server: lines of an SVG, with a gap where nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from control_plane.dashboard.wording import read

WIDTH, HEIGHT = 300, 48
_LONGEST_STEP = 3

Points = Sequence[tuple[datetime, float | None]]


def lines(points: Points, most: float | None = None) -> list[str]:
    """The points of each unbroken line. The scale begins at zero and ends at ``most`` or at the highest value."""
    known = [value for _, value in points if value is not None]
    if not known:
        return []
    top = max(most or 0.0, *known) or 1.0
    begin, end = points[0][0], points[-1][0]
    span = (end - begin).total_seconds() or 1.0
    longest = _usual_step(points) * _LONGEST_STEP
    found: list[list[str]] = [[]]
    before: datetime | None = None
    for at, value in points:
        if value is None or (before is not None and at - before > longest):
            found.append([])
        if value is not None:
            x = (at - begin).total_seconds() / span * WIDTH
            found[-1].append(f"{x:.1f},{HEIGHT - value / top * (HEIGHT - 4) - 2:.1f}")
            before = at
    # A single point is drawn as a line of no length, which its round ends make visible.
    return [" ".join(line if len(line) > 1 else line * 2) for line in found if line]


def of(things: Sequence[Any], name: str, most: float | None = None) -> list[str]:
    """The lines of one figure of things that say when they are of (``at``)."""
    return lines([(_moment(read(thing, "at")), read(thing, name)) for thing in things], most)


def _moment(at: datetime | str) -> datetime:
    return datetime.fromisoformat(at) if isinstance(at, str) else at


def _usual_step(points: Points) -> timedelta:
    steps = sorted(after[0] - before[0] for before, after in pairwise(points))
    return steps[len(steps) // 2] if steps else timedelta(seconds=1)
