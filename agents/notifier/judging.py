"""When a trouble becomes an incident, what belongs to one incident, and when it is over. Pure: no clock, no I/O.

What fails together for one reason is one incident: a host, the container engine, our own poller, or most of a tenant's
bots. What comes again shortly after it was over is told once more and then has to stay well for longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Final
from uuid import UUID

from agents.notifier.judgement import Action, Change, Incident, Open, Remind, Resolve, Tenant
from agents.notifier.verdict import GONE, Seen, Verdict, verdict
from control_plane.alerts.kinds import KINDS, Kind, Rule, Scope, rule_for
from control_plane.alerts.words import aside

#: How long bots that have begun to fail may keep an incident waiting, so that it tells of all of them.
GATHER: Final = timedelta(seconds=30)
#: Until when a bot that fails joins the incident of its host, rather than being news of its own.
JOIN_WITHIN: Final = timedelta(minutes=5)
CALM: Final = timedelta(seconds=60)
#: So many bots of one host that fail together have one cause, even where most bots there are well.
TOGETHER: Final = 5
#: What comes again within this time after it was over is the same incident.
FLAP_WITHIN: Final = timedelta(minutes=30)
_FLAP_CALM: Final = timedelta(minutes=15)
_LONGEST_CALM: Final = timedelta(hours=4)
#: Kinds whose cause may lie outside of the bot.
_SHARED: Final = frozenset({"bot_down", "credential_expired", "trading_stopped"})
#: Scopes of a cause that is one by nature, however long it lasts.
_LASTING: Final = frozenset({"engine", "platform"})


def calm(flaps: int) -> timedelta:
    """How long a bot must be well before an incident is over: longer each time that it came again."""
    return CALM if flaps == 0 else min(_FLAP_CALM * 2 ** min(flaps - 1, 10), _LONGEST_CALM)


def judge(tenant: Tenant, now: datetime, stale_after: timedelta) -> list[Action]:
    """What changes for one tenant. Judging again with what comes of it changes nothing."""
    actions: list[Action] = []
    seen = {bot.bot_id: bot for bot in tenant.seen}
    for kind in KINDS:
        rules = {bot: rule_for(tenant.rules, kind, bot) for bot in seen}
        verdicts = {bot: verdict(kind, one, rules[bot], now, stale_after) for bot, one in seen.items()}
        open_now = [one for one in tenant.incidents if one.kind == kind and one.closed_at is None]
        left: dict[UUID, frozenset[UUID]] = {}
        for incident in open_now:
            left[incident.id] = frozenset(
                bot for bot in incident.bot_ids if not _over(verdicts.get(bot), incident, now)
            )
        covered = frozenset[UUID]().union(*left.values())
        due_in = {
            bot: found.since + timedelta(seconds=rules[bot].delay_s) - now
            for bot, found in verdicts.items()
            if bot not in covered and found.what == "bad" and found.confirmed and found.since is not None
        }
        due = [bot for bot, wait in due_in.items() if wait <= timedelta(0)]
        groups = _groups(kind, tenant, seen, verdicts, due, covered, open_now, now)
        soon = [bot for bot, wait in due_in.items() if timedelta(0) < wait <= GATHER]
        _take_along(groups, seen, verdicts, soon)
        if kind in _SHARED and any(_doubtful(bot, verdicts[bot.bot_id]) for bot in tenant.seen):
            groups = {key: bots for key, bots in groups.items() if _waited(key, bots, verdicts, rules, now)}
        joined: dict[UUID, set[UUID]] = {}
        by_cause = {incident.cause: incident for incident in open_now}
        for (scope, base), bots in groups.items():
            cause = cause_of(scope, base, open_now, now)
            if cause in by_cause and left[by_cause[cause].id]:
                joined.setdefault(by_cause[cause].id, set()).update(bots)
            elif cause not in by_cause:
                actions.append(_opened(kind, scope, cause, [seen[bot] for bot in bots], verdicts, rules, tenant, now))
        for incident in open_now:
            came = joined.get(incident.id, set())
            stays = left[incident.id] | came
            if not stays:
                elsewhere = frozenset[UUID]().union(*(one.bot_ids for one in open_now if one.id != incident.id))
                actions.append(_resolved(incident, incident.met - elsewhere, verdicts, seen))
                continue
            reason = _reason([verdicts[bot] for bot in stays if bot in verdicts], incident.reason)
            if stays != incident.bot_ids or reason != incident.reason:
                new = tuple(seen[bot] for bot in sorted(came - incident.met))
                actions.append(Change(incident.id, stays, new, reason))
            elif tenant.remind_after and now - (incident.reminded_at or incident.opened_at) >= tenant.remind_after:
                actions.append(Remind(incident.id, _detail(verdicts.get(bot) for bot in stays)))
    return actions


def _reason(found: Iterable[Verdict], present: str | None) -> str | None:
    """Why most of an incident's bots are in it. Of several, the present one stands until another has more."""
    counted = Counter(one.reason for one in found if one.what == "bad" and one.reason is not None)
    most = {reason for reason, times in counted.items() if times == max(counted.values())}
    return present if present in most or not most else min(most)


def _detail(found: Iterable[Verdict | None]) -> str | None:
    return next((one.detail for one in found if one is not None and one.detail is not None), None)


def _resolved(
    incident: Incident, bots: Iterable[UUID], verdicts: Mapping[UUID, Verdict], seen: Mapping[UUID, Seen]
) -> Resolve:
    """Its end: told of those that came back, or where none did, of those that nobody watches any more."""
    what = {bot: verdicts.get(bot, GONE).what for bot in sorted(bots)}
    back = [bot for bot, found in what.items() if found == "good"]
    over = back or [bot for bot, found in what.items() if found == "gone"]
    names = tuple(seen[bot] for bot in over if bot in seen)
    return Resolve(incident.id, "back" if back else "withdrawn", len(over), names)


def cause_of(scope: Scope, base: str, open_now: Sequence[Incident], now: datetime) -> str:
    """The cause of an incident that may still be joined, else one that no open incident has.

    The engine and our own poller are one cause for as long as they are away. A host, or most bots at once, may fail
    anew while somebody has not come back since the last time: that is news, and has a number.
    """
    same = [one for one in open_now if base_of(one.cause) == base]
    for one in same:
        if scope in _LASTING or now - one.told_at <= JOIN_WITHIN:
            return one.cause
    taken = {one.cause for one in same}
    return next(cause for cause in _numbered(base) if cause not in taken)


def base_of(cause: str) -> str:
    """A cause without its number."""
    return cause.partition("/")[0]


def _numbered(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}/{number}" for number in count(2))


def _over(found: Verdict | None, incident: Incident, now: datetime) -> bool:
    """Whether a bot leaves the incident that it is in. A bot that is no more has no row and no verdict."""
    if found is None or found.what == "gone":
        return True
    if found.what != "good":
        return False
    return found.since is None or (found.confirmed and now - found.since >= calm(incident.flaps))


def _doubtful(seen: Seen, found: Verdict) -> bool:
    """Whether it has begun to fail, and nobody can say yet whether it will be part of what is to be told."""
    return seen.watched and seen.failures > 0 and not found.confirmed


def _waited(
    key: tuple[Scope, str],
    bots: Sequence[UUID],
    verdicts: Mapping[UUID, Verdict],
    rules: Mapping[UUID, Rule],
    now: datetime,
) -> bool:
    if key[0] in _LASTING:
        return True
    return any(
        now - since >= timedelta(seconds=rules[bot].delay_s) + GATHER
        for bot in bots
        if (since := verdicts[bot].since) is not None
    )


def _groups(
    kind: Kind,
    tenant: Tenant,
    seen: Mapping[UUID, Seen],
    verdicts: Mapping[UUID, Verdict],
    due: Sequence[UUID],
    covered: frozenset[UUID],
    open_now: Sequence[Incident],
    now: datetime,
) -> dict[tuple[Scope, str], list[UUID]]:
    """The bots that are due, by what they have in common."""
    groups: dict[tuple[Scope, str], list[UUID]] = {}
    if not due:
        return groups
    young = {base_of(one.cause) for one in open_now if now - one.told_at <= JOIN_WITHIN}
    bad = Counter(seen[bot].host for bot, found in verdicts.items() if found.what == "bad")
    # What is in no incident yet, whether or not it has lasted long enough to be told by itself.
    fresh = Counter(
        (seen[bot].host or f"hosted:{bot}", aside(found.reason))
        for bot, found in verdicts.items()
        if found.what == "bad" and found.confirmed and bot not in covered
    )
    most_fail = 2 * fresh.total() > tenant.watched
    for bot in due:
        scope, host, apart = verdicts[bot].scope, seen[bot].host, aside(verdicts[bot].reason)
        alike = [times for (_, other), times in fresh.items() if other == apart]
        if scope in _LASTING:
            key: tuple[Scope, str] = (scope, scope)
        elif kind not in _SHARED:
            key = ("bot", f"bot:{bot}")
        elif f"many{apart}" in young or (most_fail and len(alike) >= 2 and sum(alike) >= 3):
            key = ("many", f"many{apart}")
        elif host is not None and (
            f"host:{host}{apart}" in young
            or fresh[host, apart] >= TOGETHER
            or (fresh[host, apart] >= 2 and 2 * bad[host] > tenant.by_host.get(host, 0))
        ):
            key = ("host", f"host:{host}{apart}")
        else:
            key = ("bot", f"bot:{bot}")
        groups.setdefault(key, []).append(bot)
    return groups


def _take_along(
    groups: Mapping[tuple[Scope, str], list[UUID]],
    seen: Mapping[UUID, Seen],
    verdicts: Mapping[UUID, Verdict],
    soon: Iterable[UUID],
) -> None:
    """Add to what bots have in common those that share it and are due in a moment: they are counted in its message."""
    for bot in soon:
        apart = aside(verdicts[bot].reason)
        wider: tuple[tuple[Scope, str], ...] = (("many", f"many{apart}"), ("host", f"host:{seen[bot].host}{apart}"))
        for group in [groups[key] for key in wider if key in groups][:1]:
            group.append(bot)


def _opened(
    kind: Kind,
    scope: Scope,
    cause: str,
    bots: Sequence[Seen],
    verdicts: Mapping[UUID, Verdict],
    rules: Mapping[UUID, Rule],
    tenant: Tenant,
    now: datetime,
) -> Open:
    found = [verdicts[bot.bot_id] for bot in bots]
    since = min(one.since for one in found if one.since is not None)
    again = next(
        (
            one.id
            for one in tenant.incidents
            if one.kind == kind
            and one.cause == cause
            and one.closed_at is not None
            and now - one.closed_at <= FLAP_WITHIN
        ),
        None,
    )
    # Of several rules the most urgent one speaks for all.
    rule = min((rules[bot.bot_id] for bot in bots), key=lambda one: (one.severity != "critical", one.bot_id is None))
    return Open(kind, scope, cause, tuple(bots), rule, since, _reason(found, None), _detail(found), again)
