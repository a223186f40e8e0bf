"""When the next tick is due: by the wall clock, without drift, with a bound on what is made up for after a pause."""

from datetime import datetime, timedelta

MAX_CATCH_UP = 600
"""Ticks made up for at most after downtime. Older ones are dropped: the paper market stood still meanwhile."""


class Schedule:
    """Due times lie one interval apart, counted from the last tick ever made and not from when it was processed."""

    def __init__(self, interval: timedelta, last_tick_at: datetime | None, now: datetime) -> None:
        self._interval = interval
        self.next_at = (last_tick_at or now) + interval
        self.dropped = 0

    def due(self, now: datetime) -> datetime | None:
        """Take the next due time if it has come, or None."""
        if self.next_at - now > self._interval:
            # The clock was set back. Waiting for the old time could take for ever.
            self.next_at = now + self._interval
        missed = (now - self.next_at) // self._interval + 1
        if missed > MAX_CATCH_UP:
            self.dropped += missed - MAX_CATCH_UP
            self.next_at += (missed - MAX_CATCH_UP) * self._interval
        if missed < 1:
            return None
        taken = self.next_at
        self.next_at += self._interval
        return taken
