"""When bots are due: each in a rhythm of its own, nobody forgotten, and nobody in a herd."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Final
from uuid import UUID

from agents.poller.watched import Watched

#: A wish that nobody has answered for longer than this is no reason for haste when shards are taken over.
_FRESH_S: Final = 120.0
#: What fell due while nobody held it is looked at in so many turns a second, above what is due anyway.
_TURNS_PER_S: Final = 500.0
#: Who waits for a tick and its turn no longer than this keeps its rhythm.
_KEPT_S: Final = 1.0
#: No more of an interval than this is taken off the next one for it: nobody is asked twice in an interval.
_KEPT: Final = 0.1


def phase(bot: UUID, of: str) -> float:
    """From 0 to 1, the same for the same bot: what keeps bots that were loaded together from falling due together."""
    return zlib.crc32(bot.bytes + of.encode()) / 0x1_0000_0000


def counted_from(due: float, began: float, check_s: float) -> float:
    """From when the next interval counts, for a look that was due and began at these monotonic seconds.

    From when it was due: what it waited for the tick and its turn would else be lost at every look. But bots that fell
    due together and waited for each other are spread by that, and are not to come together again.
    """
    if not 0 <= began - due < min(_KEPT_S, check_s / 2):
        return began
    return max(due, began - _KEPT * check_s)


class TakeOver:
    """Gives bots that were loaded the moment of their first look, in monotonic seconds."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._turn = 0.0

    def first_due(self, watched: Watched, now: float, moment: datetime) -> float:
        """When a bot is due that was just loaded. ``now`` and ``moment`` are the same, by either clock.

        In its own rhythm where that goes on; in its turn where it fell due while nobody held it, within its interval at
        any rate; spread over its interval where that was long ago, so that the first minute after an outage is like
        every other.
        """
        interval, seen = watched.pace.check_s, watched.health
        if watched.urgent and (moment - watched.changed_at).total_seconds() < _FRESH_S:
            return now
        spread = now + phase(watched.bot.id, "check") * interval
        if seen.observed_at is None:
            return spread
        late = (moment - seen.observed_at).total_seconds() - interval
        if late <= 0:
            return now - late
        if late > 2 * (interval + self._lease_s):
            # Twice what a killed poller costs, whose newest looks may not be written: nobody looked for long.
            return spread
        # Half of the bots of a large fleet may have fallen due while their poller was started anew.
        self._turn = max(self._turn + 1 / _TURNS_PER_S, now)
        # A few would all come in one moment, and keep that rhythm: each takes some of what it may be late at most.
        left = min(interval, self._lease_s - late) / 2
        return min(max(self._turn, now + phase(watched.bot.id, "late") * left), spread)
