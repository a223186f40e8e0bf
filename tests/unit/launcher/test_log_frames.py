"""What the engine sends becomes lines again, whatever it was split into; what is beyond the pace is counted."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from agents.launcher.runtimes.base import LogLine, Pace
from agents.launcher.runtimes.docker_frames import LONGEST_LINE, Budget, Frames
from agents.launcher.runtimes.docker_stats import stats_of
from control_plane.live.figures import present

SECOND = 1_795_699_788


def frame(ns: int, text: bytes, stream: int = 1) -> bytes:
    """A line as the engine sends it."""
    moment = datetime.fromtimestamp(SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    body = f"{moment}.{ns:09d}Z ".encode() + text
    return bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body


def read(data: list[bytes], since: int | None = None, pace: Pace | None = None) -> tuple[list[LogLine | None], Frames]:
    """Everything that comes of it."""
    frames, budget = Frames(since), Budget(pace or Pace(lines=1000, size=10**7), clock=lambda: 0.0)
    out = [line for piece in data for line in frames.feed(piece, budget)]
    return out + list(frames.rest(budget)), frames


@given(st.lists(st.text(alphabet="ab é", max_size=30), max_size=8), st.data())
def test_lines_come_out_whatever_the_connection_splits(texts: list[str], data: st.DataObject) -> None:
    raw = b"".join(frame(n + 1, f"{text}\n".encode()) for n, text in enumerate(texts))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    out, _ = read(pieces)
    assert [line.text for line in out if line] == texts
    assert [line.ns for line in out if line] == [SECOND * 10**9 + n + 1 for n in range(len(texts))]


def test_what_the_engine_split_is_one_line() -> None:
    part = b"x" * 16_384
    out, _ = read(
        [frame(1, part), frame(2, b"other\n", stream=2), frame(1, part), frame(1, b"end"), frame(3, b"next\n")]
    )
    assert [(line.stream, len(line.text)) for line in out if line] == [
        ("stderr", 5),
        ("stdout", 2 * 16_384 + 3),
        ("stdout", 4),
    ]


def test_a_line_without_end_is_cut_and_takes_no_more_room() -> None:
    frames, budget = Frames(None), Budget(Pace(lines=10, size=10**9), clock=lambda: 0.0)
    for _ in range(100):
        assert not list(frames.feed(frame(1, b"x" * 16_384), budget))
    assert sum(len(text) for _, text in frames._begun.values()) <= LONGEST_LINE + 1
    [line] = frames.rest(budget)
    assert line is not None
    assert line.cut
    assert len(line.text) == LONGEST_LINE


def test_reading_goes_on_after_the_last_line_and_knows_whether_it_saw_it() -> None:
    raw = [frame(n, b"line\n") for n in (1, 2, 3)]
    out, frames = read(raw, since=SECOND * 10**9 + 2)
    assert [line.ns for line in out if line] == [SECOND * 10**9 + 3]
    assert frames.joined
    _, frames = read(raw[2:], since=SECOND * 10**9 + 2)
    assert not frames.joined


def test_what_is_beyond_the_pace_is_counted() -> None:
    out, frames = read([frame(n + 1, b"line\n") for n in range(10)], pace=Pace(lines=3, size=10**6))
    assert [line is None for line in out] == [False] * 3 + [True] * 7
    assert frames.read_ns == SECOND * 10**9 + 10
    out, _ = read([frame(n + 1, b"x" * 99 + b"\n") for n in range(10)], pace=Pace(lines=100, size=250))
    assert sum(line is not None for line in out) == 3


def test_what_an_engine_does_not_tell_is_unknown() -> None:
    now = datetime.now(UTC)
    assert stats_of({}, now) is None
    assert stats_of({"pids_stats": {}, "memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}}, now) is None
    bare = stats_of({"pids_stats": {"current": 2}}, now)
    assert bare is not None
    assert (bare.processes, bare.cpu_seconds, bare.memory_bytes, bare.received_bytes) == (2, None, None, None)
    whole = stats_of(
        {
            "pids_stats": {"current": 2},
            "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
            "memory_stats": {"usage": 1000, "limit": 4000, "stats": {"inactive_file": 300}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
        },
        now,
    )
    assert whole is not None
    assert (whole.cpu_seconds, whole.memory_bytes, whole.memory_limit_bytes) == (1.5, 700, 4000)
    assert (whole.received_bytes, whole.sent_bytes) == (11, 22)


def test_rates_are_of_one_copy_alone() -> None:
    copy = UUID(int=1)

    def sample(second: int, cpu: float | None) -> dict[str, object]:
        names = ("memory_bytes", "memory_limit_bytes", "received_bytes", "sent_bytes", "processes")
        at = datetime.fromtimestamp(SECOND + second, UTC).isoformat()
        return {"at": at, "cpu_seconds": cpu, **dict.fromkeys(names)}

    assert present((sample(0, 1.0), sample(2, 2.0)), copy).cpu_cores == 0.5
    assert present((sample(0, 9.0), sample(2, 0.5)), copy).cpu_cores is None
    assert present((sample(0, 1.0), sample(100, 2.0)), copy).cpu_cores is None
    assert present((sample(0, None), sample(2, 2.0)), copy).cpu_cores is None
    assert present((sample(2, 2.0),), copy).cpu_cores is None
