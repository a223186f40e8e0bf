"""What was seen and not written yet: bounded, and where it is full the oldest figures go first, then oldest changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from agents.poller.waiting import Change, Result, Snapshot, Waiting, rows_of
from agents.poller.watched import Watched


class Buffer:
    """Everything that waits to be written, by bot: any number of results of one bot are one health row."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bots: dict[Watched, Waiting] = {}
        self._changes: deque[Waiting] = deque()
        """Whose changes they are, oldest first."""
        self._snapshots: deque[Waiting] = deque()
        self.dropped = 0
        """Rows that were given up because there was no room."""

    def __len__(self) -> int:
        return len(self._bots)

    @property
    def rows(self) -> int:
        """Rows that cannot be seen again."""
        return len(self._changes) + len(self._snapshots)

    def put(self, result: Result) -> bool:
        """Have a result wait, unless it says no more than what was written a moment ago. Whether it waits."""
        watched = result.watched
        if watched.recorded is not None:
            result = msgspec.structs.replace(result, previous=watched.recorded)
            watched.recorded = None
        rows = rows_of(result)
        waiting = self._bots.get(watched)
        if waiting is None and not rows and result.repeats and watched.lost is None:
            return False
        watched.told_at = result.decision.health.observed_at
        if waiting is not None and waiting.result.epoch != result.epoch:
            # Seen under a lease that has ended: it could not be recorded any more.
            waiting = None
        if waiting is None:
            waiting = self._bots[watched] = Waiting(result)
            waiting.lost, watched.lost = watched.lost, None
        else:
            waiting.result = result
            waiting.urgent = waiting.urgent or result.urgent
        if rows:
            for row in rows:
                if type(row) is Change:
                    waiting.changes.append(row)
                    self._changes.append(waiting)
                elif type(row) is Snapshot:
                    waiting.snapshots.append(row)
                    self._snapshots.append(waiting)
            if len(self._changes) + len(self._snapshots) > self._limit:
                self._make_room()
        return True

    def _make_room(self) -> None:
        """The oldest rows go. Figures first: the next ones say more than they did, but a state holds until it is said
        that it changed."""
        while self.rows > self._limit:
            if self._snapshots:
                _drop_oldest(self._snapshots.popleft())
            else:
                waiting = self._changes.popleft()
                waiting.lose(waiting.changes.pop(0).at)
            self.dropped += 1

    def take(self) -> list[Waiting]:
        """Everything that waits, to be written now."""
        taken, self._bots = list(self._bots.values()), {}
        self._changes, self._snapshots = deque(), deque()
        return taken

    def not_recorded(self, waiting: Waiting) -> None:
        """A health was given up: what comes next of its bot is compared with what its row still says."""
        newer = self._bots.get(waiting.result.watched)
        if newer is None:
            waiting.result.watched.recorded = waiting.previous
        else:
            newer.previous = waiting.previous
        if waiting.lost is not None:
            self.lose(waiting, waiting.lost)

    def lose(self, waiting: Waiting, at: datetime) -> None:
        """A change was given up: what comes next of its bot tells of it."""
        newer = self._bots.get(waiting.result.watched)
        if newer is None:
            waiting.result.watched.lost = at
        else:
            newer.lose(at)

    def give_back(self, taken: Sequence[Waiting]) -> None:
        """What could not be written waits on, before what came since."""
        bots: dict[Watched, Waiting] = {}
        for older in taken:
            newer = self._bots.pop(older.result.watched, None)
            if newer is not None and newer.result.epoch == older.result.epoch:
                older.result, older.urgent = newer.result, older.urgent or newer.urgent
                older.changes += newer.changes
                older.snapshots += newer.snapshots
                if newer.lost is not None:
                    older.lose(newer.lost)
            bots[older.result.watched] = older
        # By time over all bots: the oldest are the first to go.
        changes = ((row.at, of_bot) for of_bot in bots.values() for row in of_bot.changes)
        snapshots = ((row.at, of_bot) for of_bot in bots.values() for row in of_bot.snapshots)
        self._changes = self._ordered(changes, self._changes, bots)
        self._snapshots = self._ordered(snapshots, self._snapshots, bots)
        self._bots = bots | self._bots
        self._make_room()

    @staticmethod
    def _ordered(
        given_back: Iterable[tuple[datetime, Waiting]], since: deque[Waiting], bots: dict[Watched, Waiting]
    ) -> deque[Waiting]:
        order = deque(of_bot for _, of_bot in sorted(given_back, key=_moment))
        order.extend(of_bot for of_bot in since if of_bot.result.watched not in bots)
        return order


def _drop_oldest(waiting: Waiting) -> None:
    """Drop a snapshot, and not that it was of another story than the one before."""
    gone = waiting.snapshots.pop(0)
    if waiting.snapshots:
        following = waiting.snapshots[0]
        following.anew, following.elsewhere = following.anew or gone.anew, following.elsewhere or gone.elsewhere
    elif gone.elsewhere:
        waiting.result.watched.point_elsewhere()
    elif gone.anew:
        waiting.result.watched.anew = True


def _moment(item: tuple[datetime, Waiting]) -> datetime:
    return item[0]
