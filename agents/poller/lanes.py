"""Who is looked at next, and how many at once: nobody's trouble delays anybody else.

Three lanes. Urgent bots, whom somebody waits for, go first. Bots that timed out last time queue apart, so that a crowd
of hanging bots holds up nobody but itself. All others are regular; one whose look drags on counts as slow from then on,
and its place in the regular lane is free again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final
from uuid import UUID

import msgspec

from agents.engines.base import Reason
from agents.poller.watched import Watched

URGENT, REGULAR, SLOW = 0, 1, 2
#: Where a bot stands: not here, in a queue, or being looked at.
IDLE, QUEUED, ACTIVE = 0, 1, 2
#: A look that has lasted so long is slow.
_LONG_S: Final = 1.0
#: Of bots that wait for their tenant's turn, so many are passed over at a time.
_PASSED_OVER: Final = 64


class Room(msgspec.Struct, frozen=True):
    """How many looks may be under way at once."""

    urgent: int = 64
    regular: int = 256
    """Not counting those that drag on."""
    slow: int = 1536
    total: int = 3072
    per_host: int = 64
    """Of one host, not counting those that drag on."""
    per_host_slow: int = 64
    """Of one host, those that timed out last time."""
    per_tenant_slow: int = 1024
    """Slow ones of one tenant: a thousand bots of one owner that hang leave room for those of others."""
    spacing_s: float = 0.05
    burst_s: float = 0.2
    """Looks at bots that share an origin begin so far apart, but for a few in a row."""

    def within(self, files: int) -> Room:
        """The same for a process that may have so many files open, of which looks may take half."""
        if files // 2 >= self.total:
            return self
        total = max(64, files // 2)
        return msgspec.structs.replace(
            self, total=total, slow=total // 2, per_tenant_slow=total // 3, regular=min(self.regular, total // 4)
        )


class _Count:
    """What is under way at one host, and who waits for a turn there: regular ones, and those that timed out."""

    __slots__ = ("active", "long", "slow_waiting", "waiting")

    def __init__(self) -> None:
        self.active = 0
        self.long = 0
        self.waiting: deque[Watched] = deque()
        self.slow_waiting: deque[Watched] = deque()


class Lanes:
    """Queues of bots that are due, and a count of the looks under way. Times are monotonic seconds."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.queues: tuple[deque[Watched], ...] = (deque(), deque(), deque())
        """By lane, who is due and has not begun, without those that wait for their host."""
        self._young: dict[Watched, float] = {}
        """Looks that have not lasted long yet, and since when; oldest first."""
        self._long: set[Watched] = set()
        self._urgent = 0
        self._slow = 0
        self._hosts: dict[str, _Count] = {}
        self._slow_tenants: dict[UUID, int] = {}
        self._origins: dict[str, float] = {}
        self._quiet: dict[str, float] = {}

    @property
    def under_way(self) -> int:
        """Looks that have begun and not ended."""
        return len(self._young) + len(self._long)

    @property
    def queued(self) -> int:
        """How many bots are due and have not begun, without those that wait for their host."""
        return sum(map(len, self.queues))

    def offer(self, watched: Watched) -> None:
        """Queue a bot that is due."""
        if watched.urgent:
            lane = URGENT
        elif watched.health.reason == Reason.TIMEOUT:
            lane = SLOW
        else:
            lane = REGULAR
        watched.lane, watched.state = lane, QUEUED
        self.queues[lane].append(watched)

    def begin(self, now: float, most: int) -> Iterator[tuple[Watched, float]]:
        """At most so many that may begin now, each with 0; or, not to begin, with the seconds that its origin needs to
        rest."""
        begun = 0
        for lane, queue in enumerate(self.queues):
            kept: list[Watched] = []
            while queue and begun < most and len(kept) < _PASSED_OVER and self._free(lane):
                watched = queue.popleft()
                if watched.gone or watched.state != QUEUED or watched.lane != lane:
                    # Gone, or it went another way meanwhile.
                    continue
                rest = self._rest(watched, now)
                if rest > 0:
                    watched.state = IDLE
                    yield watched, rest
                elif self._turn(watched, now, kept):
                    begun += 1
                    yield watched, 0.0
            queue.extend(kept)

    def _free(self, lane: int) -> bool:
        room = self._room
        if lane == URGENT:
            return self._urgent < room.urgent
        if len(self._young) + len(self._long) >= room.total:
            return False
        if lane == REGULAR:
            return len(self._young) < room.regular
        return self._slow < room.slow

    def _rest(self, watched: Watched, now: float) -> float:
        """How long its origin needs to rest before the next look; a person's question does not wait for that."""
        origin = watched.origin
        if origin is None or watched.lane == URGENT:
            return 0.0
        if self._quiet and (until := self._quiet.get(origin, 0.0)) > now:
            return until - now
        if watched.promised:
            watched.promised = False
            return 0.0
        room = self._room
        earliest = max(now, self._origins.get(origin, 0.0))
        # Turns are handed out in order: each that waits has its own.
        self._origins[origin] = earliest + room.spacing_s
        if earliest - now <= room.burst_s:
            return 0.0
        watched.promised = True
        return earliest - now

    def _turn(self, watched: Watched, now: float, kept: list[Watched]) -> bool:
        """Take the turns that ``watched`` needs, or have it wait for them."""
        lane, room, tenant = watched.lane, self._room, watched.bot.tenant_id
        if lane == SLOW and self._slow_tenants.get(tenant, 0) >= room.per_tenant_slow:
            kept.append(watched)
            return False
        if watched.host is not None:
            count = self._hosts.get(watched.host)
            if count is None:
                count = self._hosts[watched.host] = _Count()
            full = count.long >= room.per_host_slow if lane == SLOW else count.active >= room.per_host
            if full and lane != URGENT:
                (count.slow_waiting if lane == SLOW else count.waiting).append(watched)
                return False
            if lane == SLOW:
                count.long += 1
            else:
                count.active += 1
        if lane == SLOW:
            self._slow += 1
            self._slow_tenants[tenant] = self._slow_tenants.get(tenant, 0) + 1
            self._long.add(watched)
        else:
            self._urgent += lane == URGENT
            self._young[watched] = now
        watched.state, watched.turn = ACTIVE, watched.host
        return True

    def end(self, watched: Watched) -> None:
        """A look has ended."""
        watched.state = IDLE
        long = self._young.pop(watched, None) is None
        self._long.discard(watched)
        if watched.lane == URGENT:
            self._urgent -= not long
        elif watched.lane == SLOW:
            self._slow -= 1
            tenant = watched.bot.tenant_id
            left = self._slow_tenants[tenant] - 1
            if left:
                self._slow_tenants[tenant] = left
            else:
                del self._slow_tenants[tenant]
        host = watched.turn
        if host is not None:
            count = self._hosts[host]
            if long:
                count.long -= 1
            else:
                count.active -= 1
            if count.waiting or count.slow_waiting:
                self._call(count)
            if not (count.active or count.long or count.waiting or count.slow_waiting):
                del self._hosts[host]

    def _call(self, count: _Count) -> None:
        """Queue those again that waited for a turn of this host; whether it is theirs is seen there."""
        for lane, waiting, room in (
            (REGULAR, count.waiting, self._room.per_host - count.active),
            (SLOW, count.slow_waiting, self._room.per_host_slow - count.long),
        ):
            called = 0
            while waiting and called < room:
                watched = waiting.popleft()
                # One that went another way meanwhile, because somebody asked for it, is called by nobody.
                if not watched.gone and watched.state == QUEUED and watched.lane == lane:
                    self.queues[lane].append(watched)
                    called += 1

    def sweep(self, now: float) -> None:
        """Looks that drag on leave the regular and the urgent lane: others may take their places."""
        while self._young:
            watched, began = next(iter(self._young.items()))
            if now - began < _LONG_S:
                return
            del self._young[watched]
            self._long.add(watched)
            self._urgent -= watched.lane == URGENT
            if watched.turn is not None:
                count = self._hosts[watched.turn]
                count.active -= 1
                count.long += 1
                self._call(count)

    def quiet(self, watched: Watched, until: float) -> None:
        """Leave an origin alone that asked for it; urgent looks apart."""
        if watched.origin is not None:
            self._quiet[watched.origin] = max(until, self._quiet.get(watched.origin, 0.0))

    def asked_for_rest(self, watched: Watched, now: float) -> bool:
        """Whether it waits because its origin asked for that, and not only for its turn there."""
        return watched.origin is not None and self._quiet.get(watched.origin, 0.0) > now

    def tidy(self, now: float) -> None:
        """Drop what says nothing any more."""
        self._origins = {origin: at for origin, at in self._origins.items() if at > now}
        self._quiet = {origin: at for origin, at in self._quiet.items() if at > now}
