"""Health over time as the server draws it: pieces of a bar, and the same in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from control_plane.performance.schemas import SpanView, TimelineView

WIDTH: Final = 1000
#: A span is drawn at least so wide: half a minute of downtime is seen in a month.
_NARROWEST: Final = 2.0
_ROWS: Final = 12
_NAMES: Final = {
    "healthy": "Healthy",
    "unhealthy": "Not healthy",
    "stale": "Asked too often",
    "unknown": "Not observed",
}
_PERCENT: Final = 99.995


class Piece(msgspec.Struct, frozen=True):
    """One piece of the bar."""

    x: float
    width: float
    state: str
    title: str


def state_name(state: str) -> str:
    """A state of health in words."""
    return _NAMES.get(state, state)


def pieces(view: TimelineView) -> list[Piece]:
    """The bar, from left to right; what is not healthy is drawn last, so that nothing hides it."""
    whole = max((view.to - view.from_).total_seconds(), 1.0)
    drawn = []
    told = [(span.from_, span.to, span.state, title(span)) for span in view.spans]
    for begin, end, state, words in [*_untold(view), *told]:
        x = (begin - view.from_).total_seconds() / whole * WIDTH
        width = max((end - begin).total_seconds() / whole * WIDTH, _NARROWEST)
        drawn.append(Piece(round(min(x, WIDTH - _NARROWEST), 2), round(width, 2), state, words))
    return sorted(drawn, key=lambda piece: piece.state in {"unhealthy", "stale"})


def _untold(view: TimelineView) -> Iterator[tuple[datetime, datetime, str, str]]:
    """What lies before the oldest of the spans that are told one by one, by buckets."""
    if view.complete or not view.spans:
        return
    first = view.spans[0].from_
    ends = [*(bucket.at for bucket in view.buckets[1:]), view.to]
    for bucket, ends_at in zip(view.buckets, ends, strict=True):
        begin, end, uptime = max(bucket.at, view.from_), min(ends_at, first), bucket.uptime
        if end > begin:
            state = (
                "unhealthy" if uptime.healthy_s < uptime.observed_s else "healthy" if uptime.observed_s else "unknown"
            )
            up = f"{share(uptime.ratio)} up" if uptime.observed_s else state_name(state)
            yield begin, end, state, f"{up}, {begin:%d %b %H:%M} to {end:%d %b %H:%M} UTC"


def title(span: SpanView) -> str:
    """A span in one line."""
    why = f" ({span.text})" if span.text else ""
    return f"{state_name(span.state)}{why}, {span.from_:%d %b %H:%M} to {span.to:%d %b %H:%M} UTC"


def states(view: TimelineView) -> list[str]:
    """The states that there are, in the order of the legend."""
    found = {piece.state for piece in pieces(view)}
    return [state for state in _NAMES if state in found]


def rows(view: TimelineView) -> Sequence[SpanView]:
    """The newest spans, newest first."""
    return list(reversed(view.spans[-_ROWS:]))


def share(ratio: float | None) -> str:
    """Uptime as a percentage. Only what was never down is 100 %."""
    if ratio is None:
        return "–"
    percentage = ratio * 100
    if percentage == 100:
        return "100%"
    return f"{min(percentage, _PERCENT - 0.005):.2f}%"


def length(seconds: float) -> str:
    """A length of time in its two largest units, such as `3 d 4 h`."""
    left = int(timedelta(seconds=seconds).total_seconds())
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
