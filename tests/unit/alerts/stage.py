"""A tenant's bots over time, judged as the notifier does, with its incidents kept in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import msgspec

from agents.notifier.judgement import Change, Incident, Open, Remind, Resolve, Tenant
from agents.notifier.judging import FLAP_WITHIN, judge
from agents.notifier.verdict import Seen
from control_plane.alerts.kinds import Rule, rules_in_force
from control_plane.alerts.words import back_title, title_of

START = datetime(2027, 1, 10, 12, tzinfo=UTC)
TENANT = UUID(int=7)
STALE = timedelta(seconds=55)
INTERVAL = timedelta(seconds=15)


def bot_id(number: int) -> UUID:
    return uuid5(TENANT, str(number))


def bot(number: int, **changes: Any) -> Seen:
    """A bot that is well: external, on a host of its own, seen just now."""
    values: dict[str, Any] = {
        "bot_id": bot_id(number),
        "name": f"bot {number}",
        "watched": True,
        "hosted": False,
        "host": f"host-{number}",
        "status": "connected",
        "status_reason": None,
        "status_since": START,
        "state": "healthy",
        "reason": None,
        "observed_at": START,
        "failures": 0,
        "trading_state": "running",
        "engine_lost_at": None,
        "state_since": START - timedelta(days=1),
        "trading_since": None,
        "changed_at": None,
        "watched_since": None,
        "drawdown": Decimal(0),
        **changes,
    }
    return Seen(**values)


class Stage:
    """Time passes by ``pass_``; ``said`` is what would have been told."""

    def __init__(self, *bots: Seen, rules: Iterable[Rule] = (), remind_after: timedelta | None = None) -> None:
        self.now = START
        self.bots = {one.bot_id: one for one in bots}
        self.rules = tuple(rules)
        self.remind_after = remind_after
        self.incidents: list[Incident] = []
        self._runs = {one.bot_id: _run(one) for one in bots}
        self.said: list[tuple[str, str, str]] = []
        #: What each of them is called, and the names that an incident holds.
        self.titles: list[str] = []
        self.names: dict[UUID, list[str]] = {}

    def add(self, *bots: Seen) -> None:
        """More bots."""
        for one in bots:
            self._runs[one.bot_id] = _run(one)
            self.bots[one.bot_id] = self._looked(one, INTERVAL)

    def set(self, number: int, **changes: Any) -> None:
        """What is seen of a bot from now on. A new state begins now; one good look of a bot that failed begins none."""
        was = self.bots[bot_id(number)]
        run = _run(msgspec.structs.replace(was, **changes))
        if changes.get("reason") != "recovering" and run != self._runs[was.bot_id]:
            self._runs[was.bot_id] = run
            changes.setdefault("state_since", self.now)
        if "trading_state" in changes and changes["trading_state"] != was.trading_state:
            changes.setdefault("trading_since", self.now)
        self.bots[was.bot_id] = self._looked(msgspec.structs.replace(was, **changes), INTERVAL)

    def down(self, *numbers: int, reason: str = "unreachable") -> None:
        for number in numbers:
            self.set(number, state="unhealthy", reason=reason, failures=3)

    def up(self, *numbers: int) -> None:
        for number in numbers:
            self.set(number, state="healthy", reason=None, failures=0)

    def look(self, every: timedelta = INTERVAL) -> None:
        """The poller looks at every bot and finds it as it was."""
        for key, one in self.bots.items():
            self.bots[key] = self._looked(one, every)

    def judge(self) -> list[tuple[str, str, str]]:
        """One pass; what it says."""
        before = len(self.said)
        tenant = Tenant(
            rules=rules_in_force(TENANT, self.rules),
            seen=tuple(self.bots.values()),
            watched=sum(one.watched for one in self.bots.values()),
            by_host=Counter(one.host or "" for one in self.bots.values() if one.watched),
            incidents=tuple(
                one for one in self.incidents if one.closed_at is None or self.now - one.closed_at <= FLAP_WITHIN
            ),
            remind_after=self.remind_after,
        )
        for action in judge(tenant, self.now, STALE):
            self._apply(action)
        return self.said[before:]

    def pass_(
        self, how_long: timedelta, *, looking: bool = True, every: timedelta = INTERVAL
    ) -> list[tuple[str, str, str]]:
        """Time passes, the poller looks each interval, the notifier judges after each look; what it says."""
        before = len(self.said)
        until = self.now + how_long
        while self.now < until:
            self.now = min(self.now + every, until)
            if looking:
                self.look(every)
            self.judge()
        return self.said[before:]

    @property
    def open(self) -> list[Incident]:
        return [one for one in self.incidents if one.closed_at is None]

    def _looked(self, one: Seen, every: timedelta) -> Seen:
        """Seen now; after a time when nobody looked, watched again since now."""
        missed = one.observed_at is not None and self.now - one.observed_at > 3 * every
        since = self.now if missed else one.watched_since
        return msgspec.structs.replace(one, observed_at=self.now, watched_since=since)

    def _apply(self, action: Open | Change | Resolve | Remind) -> None:
        if isinstance(action, Open):
            bots = frozenset(one.bot_id for one in action.bots)
            values: dict[str, Any] = {"bot_ids": bots, "met": bots, "told_at": self.now, "reason": action.reason}
            if action.again is not None:
                was = self._get(action.again)
                now = msgspec.structs.replace(was, closed_at=None, flaps=was.flaps + 1, reminded_at=self.now, **values)
                self._put(now)
            else:
                assert all(one.cause != action.cause or one.kind != action.kind for one in self.open)
                now = Incident(
                    id=uuid5(TENANT, f"incident {len(self.incidents)}"),
                    kind=action.kind,
                    scope=action.scope,
                    cause=action.cause,
                    opened_at=self.now,
                    **values,
                )
                self.incidents.append(now)
            self.names[now.id] = [one.name for one in action.bots]
            self._say("opened" if action.again is None else "again", now)
            return
        was = self._get(action.id)
        if isinstance(action, Change):
            came = frozenset(one.bot_id for one in action.came)
            assert not came & was.met, "a bot is counted once"
            self.names[was.id] += [one.name for one in action.came]
            self._put(msgspec.structs.replace(was, bot_ids=action.bot_ids, met=was.met | came, reason=action.reason))
        elif isinstance(action, Resolve):
            self._put(msgspec.structs.replace(was, bot_ids=frozenset(), closed_at=self.now))
            names = [one.name for one in action.over]
            self.said.append((action.resolution, was.kind, was.cause))
            self.titles.append(back_title(was.kind, names, len(was.met), action.resolution, action.count, was.reason))
        else:
            self._put(msgspec.structs.replace(was, reminded_at=self.now))
            self._say("reminder", was)

    def _say(self, what: str, one: Incident) -> None:
        self.said.append((what, one.kind, one.cause))
        self.titles.append(title_of(one.kind, one.scope, one.cause, self.names[one.id], len(one.met), one.reason))

    def _get(self, identity: UUID) -> Incident:
        return next(one for one in self.incidents if one.id == identity)

    def _put(self, changed: Incident) -> None:
        self.incidents = [changed if one.id == changed.id else one for one in self.incidents]


def _run(seen: Seen) -> tuple[str, bool]:
    """What goes on from look to look."""
    return seen.state, seen.reason == "auth"
