"""The bar of health: everything is in it, and downtime is never too short to be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from control_plane.dashboard.health_bar import WIDTH, length, pieces, rows, share, states, title
from control_plane.performance.schemas import BucketView, LatencyView, SpanView, TimelineView, UptimeView
from control_plane.performance.timeline import Spent

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=30)


def view(*told: tuple[float, str, str | None]) -> TimelineView:
    """Health that changed after so many hours."""
    edges = [*(START + timedelta(hours=hours) for hours, _, _ in told), END]
    spans = [
        SpanView(from_=begin, to=end, state=state, reason=text, text=text, trading_state=None)
        for begin, end, (_, state, text) in zip(edges, edges[1:], told, strict=False)
    ]
    nothing = UptimeView(ratio=None, healthy_s=0, observed_s=0, unobserved_s=0)
    latency = LatencyView(readings=0, median_ms=None, p95_ms=None)
    return TimelineView(
        from_=START, to=END, interval="1d", uptime=nothing, latency=latency, spans=spans, complete=True, buckets=[]
    )


def test_a_minute_of_downtime_is_seen_in_a_month() -> None:
    shown = pieces(view((0, "healthy", None), (100, "unhealthy", "Not reachable"), (100 + 1 / 60, "healthy", None)))
    assert [piece.state for piece in shown] == ["healthy", "healthy", "unhealthy"]
    assert shown[-1].width >= 2
    assert shown[-1].x == pytest.approx(WIDTH * 100 / 720, abs=0.01)
    assert shown[-1].title == "Not healthy (Not reachable), 05 Mar 04:00 to 05 Mar 04:01 UTC"


def test_what_is_too_much_to_be_told_span_by_span_is_told_by_buckets() -> None:
    told = view((600, "healthy", None), (700, "unhealthy", None))
    latency = LatencyView(readings=0, median_ms=None, p95_ms=None)
    spent = [(86400, 86400), (0, 0), (43200, 86400)] * 10
    buckets = [
        BucketView(
            START + timedelta(days=n),
            UptimeView(Spent(healthy, observed - healthy).ratio, healthy, observed, 86400 - observed),
            latency,
        )
        for n, (healthy, observed) in enumerate(spent)
    ]
    shown = pieces(msgspec.structs.replace(told, complete=False, buckets=buckets))
    early = sorted((piece.x, piece.state) for piece in shown)[:4]
    assert [state for _, state in early] == ["healthy", "unknown", "unhealthy", "healthy"]
    assert early[2][0] == pytest.approx(WIDTH * 2 / 30, abs=0.01)
    assert sum(piece.width for piece in shown) == pytest.approx(WIDTH, abs=0.5)
    assert "50.00% up" in next(piece.title for piece in shown if piece.x == early[2][0])
    assert states(msgspec.structs.replace(told, complete=False, buckets=buckets)) == ["healthy", "unhealthy", "unknown"]
    # Where all is told, buckets say nothing more.
    assert len(pieces(msgspec.structs.replace(told, buckets=buckets))) == 2


def test_the_legend_names_what_there_is() -> None:
    told = view((0, "unknown", None), (5, "healthy", None), (7, "unknown", None))
    assert states(told) == ["healthy", "unknown"]
    assert [span.state for span in rows(told)] == ["unknown", "healthy", "unknown"]
    assert "Not observed" in title(told.spans[0])


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(None, "–"), (1.0, "100%"), (0.999999, "99.99%"), (0.5, "50.00%"), (0.0, "0.00%"), (0.98765, "98.77%")],
)
def test_only_what_was_never_down_is_all_of_the_time(ratio: float | None, text: str) -> None:
    assert share(ratio) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (90061, "1 d 1 h"), (86400 * 30, "30 d")],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert length(seconds) == text
