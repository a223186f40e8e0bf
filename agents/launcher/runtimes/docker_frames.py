"""The engine's frames of a log, put together into lines, and how many of them are taken.

A frame is eight bytes of header with the stream and the size, then the line with its time in front. What the engine
splits (a line of more than 16 KiB) is put together again, so that a secret in it can be found whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, Literal

from agents.launcher.runtimes.base import LogLine, Pace

LONGEST_LINE: Final = 65_536
"""Bytes of one line that are kept; the rest of it is thrown away as it comes."""
_HEADER: Final = 8
#: What the engine splits longer lines into.
_PART: Final = 16_384
_STREAMS: Final[dict[int, Literal["stdout", "stderr"]]] = {1: "stdout", 2: "stderr"}


class Frames:
    """Puts frames together into lines. Counts what a budget leaves out, at the cost of a few steps a line."""

    def __init__(self, since: int | None) -> None:
        self.since = since
        self.read_ns = since
        #: How many frames there were.
        self.seen = 0
        #: Whether the line that reading goes on after was seen again.
        self.joined = since is None
        self._raw = bytearray()
        self._begun: dict[int, tuple[int, bytearray]] = {}

    def feed(self, data: bytes, budget: Budget) -> Iterator[LogLine | None]:
        """The lines that ``data`` completes; None for each one beyond the budget."""
        raw = self._raw
        raw += data
        at, end = 0, len(raw)
        while end - at >= _HEADER:
            size = int.from_bytes(raw[at + 4 : at + 8], "big")
            if end - at - _HEADER < size:
                break
            stream = raw[at]
            stamp, _, text = bytes(raw[at + _HEADER : at + _HEADER + size]).partition(b" ")
            at += _HEADER + size
            self.seen += 1
            yield from self._frame(stream, _nanoseconds(stamp), text, budget)
        del raw[:at]

    def rest(self, budget: Budget) -> Iterator[LogLine | None]:
        """Lines that were begun and never ended: a copy's very last words may have no newline."""
        for stream in sorted(self._begun, key=lambda stream: self._begun[stream][0]):
            yield from self._finish(stream, budget)

    def _frame(self, stream: int, ns: int, text: bytes, budget: Budget) -> Iterator[LogLine | None]:
        begun = self._begun.get(stream)
        # Parts of one line share its time; some logging drivers of the engine tell its end in no other way.
        if begun is not None and begun[0] != ns:
            yield from self._finish(stream, budget)
            begun = None
        ended = text.endswith(b"\n") or len(text) < _PART
        if begun is None and ended:
            yield from self._line(stream, ns, text, budget)
            return
        if begun is None:
            begun = self._begun[stream] = (ns, bytearray())
        begun[1].extend(text[: LONGEST_LINE + 1 - len(begun[1])])
        if ended:
            yield from self._finish(stream, budget)

    def _finish(self, stream: int, budget: Budget) -> Iterator[LogLine | None]:
        ns, text = self._begun.pop(stream)
        return self._line(stream, ns, bytes(text), budget)

    def _line(self, stream: int, ns: int, text: bytes, budget: Budget) -> Iterator[LogLine | None]:
        if self.since is not None and ns <= self.since:
            self.joined = self.joined or ns == self.since
            return
        self.read_ns = ns if self.read_ns is None else max(ns, self.read_ns)
        yield _line(ns, stream, text) if budget.take(len(text)) else None


class Budget:
    """Lines and bytes that may still be taken in the present second."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._until = 0.0
        self._lines = self._size = 0
        self.renew()

    @property
    def open(self) -> bool:
        """Whether anything is left."""
        return self._lines > 0 and self._size > 0

    def renew(self) -> None:
        """Begin another second where the last one is over."""
        now = self._clock()
        if now >= self._until:
            self._until, self._lines, self._size = now + 1.0, self._pace.lines, self._pace.size

    def take(self, size: int) -> bool:
        """Whether one more line may be taken; it is then."""
        if not self.open:
            return False
        self._lines -= 1
        self._size -= size
        return True


def _line(ns: int, stream: int, text: bytes) -> LogLine:
    cut = len(text) > LONGEST_LINE
    # A NUL is what the database cannot store.
    words = text[:LONGEST_LINE].decode("utf-8", "replace").replace("\0", "").rstrip("\r\n")
    return LogLine(ns=ns, stream=_STREAMS.get(stream, "stdout"), text=words, cut=cut)


def _nanoseconds(stamp: bytes) -> int:
    """``2026-01-31T12:00:00.123456789Z`` as nanoseconds since 1970."""
    whole, _, fraction = stamp.decode("ascii").rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)
