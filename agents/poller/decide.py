"""What one look at a bot means: the new health row, whether its status changes, when to look again.

Pure: no clock, no I/O. A bot that worked is not called down for one missed answer (a reload closes freqtrade's port for
half a second), and one that failed is not called well for one answer; but the first outcome after a person changed
something is told at once, because somebody waits for it.

The status tells of the connection, the health of everything: a bot that answers while its trading loop stands still is
`connected`, and says in its reason what is wrong (`trouble`). Trading that its owner stopped or paused is neither.
"""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from agents.engines.base import Reading, Reason
from agents.poller.facts import Bot, Decision, Health, Outcome, StatusChange
from agents.poller.trouble import RECOVERING, TROUBLES, Finding, carried_age, find
from control_plane.bots.kinds import LONGEST_REST_S

SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - the name of a reason
ENGINE_UNKNOWN = "engine_unknown"
CONFIG_INVALID = "config_invalid"
NOT_TRADING = "not_trading"

#: Certain at the first sight: asking again cannot turn them into an accident of the network.
CONCLUSIVE = frozenset(
    {Reason.AUTH.value, Reason.EGRESS_REFUSED.value, SECRET_UNREADABLE, ENGINE_UNKNOWN, CONFIG_INVALID}
)

FAILURES_TO_BELIEVE = 3
INTERVALS_TO_BELIEVE = 2
STARTING_INTERVAL_S = 0.3
_LONGEST_BACKOFF_S = 900.0
_SPREAD = 0.1


def decide(bot: Bot, previous: Health, outcome: Outcome, interval: timedelta, *, repeats: int = 1) -> Decision:
    """Judge one check of ``bot``. ``interval`` is the regular time between two checks, ``repeats`` how many in a row
    had this outcome, this one included."""
    known = _about_this_copy(bot, previous)
    good = outcome.good
    health = _health(bot, known, outcome, interval, good=good)
    if bot.hosted:
        change = None
    elif good:
        change = _connected(bot, health)
    else:
        change = _failing(bot, health, outcome, known, repeats)
    return Decision(health, change, _pause_s(bot, known, outcome, interval.total_seconds()))


def settle(bot: Bot, now: datetime) -> Decision:
    """An external bot that its owner has switched off: not called any more, and said so."""
    change = _told(bot, "inactive", None, None)
    health = Health(observed_generation=bot.generation, observed_at=now)
    # Due again at once when it is switched on; until then nothing looks at this time.
    return Decision(health, change, 0.0)


def _about_this_copy(bot: Bot, previous: Health) -> Health:
    """What was seen of an older generation or of a container before this one says nothing about this one."""
    if previous.observed_generation != bot.generation:
        return Health()
    if bot.up_since is not None and (previous.observed_at is None or previous.observed_at < bot.up_since):
        return Health()
    return previous


def _health(bot: Bot, known: Health, outcome: Outcome, interval: timedelta, *, good: bool) -> Health:
    reading = outcome.reading
    health = msgspec.structs.replace(
        known,
        reason=outcome.reason,
        detail=outcome.detail,
        observed_at=outcome.observed_at,
        observed_generation=bot.generation,
        # Facts of the moment are this reading's or unknown; facts about the program stay until read otherwise.
        latency_ms=reading.latency_ms,
        credential_ok=reading.credential_ok,
        trading_state=reading.trading_state,
        loop_age_s=reading.loop_age_s,
        simulated=known.simulated if reading.simulated is None else reading.simulated,
        version=known.version if reading.version is None else reading.version,
        identity=known.identity if reading.identity is None else reading.identity,
    )
    if good:
        return _answered(bot, known, health, outcome, interval)
    if outcome.reason == Reason.RATE_LIMITED:
        return msgspec.structs.replace(health, state="stale")
    return _failed(bot, known, health, outcome, interval)


def _answered(bot: Bot, known: Health, health: Health, outcome: Outcome, interval: timedelta) -> Health:
    """It answers and accepts its credentials."""
    reading = outcome.reading
    # What is asked first here spares nearly every look a question: whether it may be another answer at all.
    if bot.ready_state is not None and not _ready(bot, known, reading):
        detail = "It answers, but it has not come up to what it was told yet."
        return msgspec.structs.replace(health, state=known.state, reason=NOT_TRADING, detail=detail, failures=0)
    told = bot.reason if bot.reason is not None and bot.status == "connected" and not bot.untold else None
    finding = find(bot.engine, known, told, reading, outcome.observed_at, interval)
    if reading.loop_age_s is None and known.loop_age_s is not None:
        health = msgspec.structs.replace(health, loop_age_s=carried_age(known, outcome.observed_at))
    if finding.reason in TROUBLES:
        return _troubled(known, health, finding)
    if known.state != "healthy" and _unproven(bot, known):
        detail = "This look found it well again. One more that does, and it counts as well."
        return msgspec.structs.replace(health, state="unhealthy", reason=RECOVERING, detail=detail, failures=0)
    # A full reading says what it could not find out; a short look after it does not take that back.
    untold = known.detail if known.reason is None and not reading.full else None
    words = finding.detail or outcome.detail or untold
    return msgspec.structs.replace(
        health,
        state="healthy",
        reason=finding.reason,
        detail=words,
        failures=finding.doubts,
        healthy_at=known.healthy_at if finding.doubts else outcome.observed_at,
    )


def _troubled(known: Health, health: Health, finding: Finding) -> Health:
    """What is only doubted yet leaves the state as it is."""
    doubted = known.state if known.state in {"healthy", "unhealthy"} else "healthy"
    return msgspec.structs.replace(
        health,
        state="unhealthy" if finding.believed else doubted,
        reason=finding.reason,
        detail=finding.detail,
        failures=finding.doubts,
    )


def _failed(bot: Bot, known: Health, health: Health, outcome: Outcome, interval: timedelta) -> Health:
    """It does not answer, or not as it should."""
    stands = _trouble_that_stands(bot, known)
    # Looks that only doubted its trading were answered: they are no failures in a row.
    failures = 1 if stands is None and known.reason in TROUBLES else known.failures + 1
    if stands is None:
        state = "unhealthy" if _believed(bot, known, outcome, interval, failures) else known.state
        return msgspec.structs.replace(health, state=state, failures=failures)
    if outcome.reason in CONCLUSIVE or failures >= FAILURES_TO_BELIEVE or (not bot.hosted and bot.untold):
        return msgspec.structs.replace(health, state="unhealthy", failures=failures)
    # What was wrong while it answered still stands: a missed answer takes nothing back and proves nothing new.
    detail = known.detail if known.reason == stands else None
    return msgspec.structs.replace(health, state="unhealthy", reason=stands, detail=detail, failures=failures)


def _trouble_that_stands(bot: Bot, known: Health) -> str | None:
    """What was wrong with a bot's trading when it answered last, unless that was over."""
    if known.state != "unhealthy":
        return None
    if known.reason == RECOVERING and not bot.hosted and bot.status == "connected":
        return bot.reason if bot.reason in TROUBLES else None
    return known.reason if known.reason in TROUBLES else None


def _unproven(bot: Bot, known: Health) -> bool:
    """Whether one good look is not enough: it failed, and nothing has shown since that this is over."""
    if known.reason == RECOVERING or (not bot.hosted and bot.untold):
        return False
    return known.state == "unhealthy" or (not bot.hosted and bot.status == "error" and known.state != "healthy")


def _ready(bot: Bot, known: Health, reading: Reading) -> bool:
    """Whether a copy that answers has come up: it is in the state that it was told, and its loop has turned once.

    A program may answer while it still loads, in a state that is not meant. Once it has come up, its state is for its
    owner to change. A stopped one has no loop that turns.
    """
    if bot.ready_state is None or known.healthy_at is not None:
        return True
    if reading.trading_state != bot.ready_state:
        return False
    return bot.ready_state == "stopped" or reading.loop_age_s is not None


def _believed(bot: Bot, known: Health, outcome: Outcome, interval: timedelta, failures: int) -> bool:
    """Whether this failure, after those before it, is enough to call the bot unhealthy."""
    if outcome.reason in CONCLUSIVE or known.state == "unhealthy":
        return True
    if not bot.hosted and (bot.untold or bot.status == "error"):
        return True
    since = known.healthy_at or bot.up_since
    lasted = since is None or outcome.observed_at - since >= INTERVALS_TO_BELIEVE * interval
    return failures >= FAILURES_TO_BELIEVE and lasted


def _failing(bot: Bot, health: Health, outcome: Outcome, known: Health, repeats: int) -> StatusChange | None:
    """The status of a bot that does not answer, or not as it should."""
    failure = _told(bot, "error", outcome.reason, outcome.detail)
    # What stands there as the reason of an error is not it any more.
    another = repeats >= FAILURES_TO_BELIEVE and outcome.reason != bot.reason
    if outcome.reason == Reason.RATE_LIMITED:
        return failure if bot.status == "error" and not bot.untold and another else None
    if bot.untold:
        return failure
    if bot.status == "connected":
        return failure if health.state == "unhealthy" and health.reason == outcome.reason else None
    if health.reason == bot.reason:
        return None
    # In error already. A certain reason replaces any other at once; an uncertain one a certain one when seen twice, and
    # an uncertain one when seen three times: unreachable and timeout may take turns without filling the history.
    gone = bot.reason in CONCLUSIVE and known.reason == health.reason
    return failure if health.reason in CONCLUSIVE or gone or another else None


def _connected(bot: Bot, health: Health) -> StatusChange | None:
    """The status of a bot that answers: `connected`, once that is sure, with what is wrong with its trading."""
    trouble = health.state == "unhealthy" and health.reason in TROUBLES
    if not (trouble or health.state == "healthy" or bot.untold):
        return None
    reason = health.reason if trouble else None
    if bot.status == "connected" and bot.reason == reason and not bot.untold:
        return None
    return _told(bot, "connected", reason, health.detail if trouble else None)


def _told(bot: Bot, status: str, reason: str | None, detail: str | None) -> StatusChange:
    return StatusChange(status, reason, detail, eventful=(status, reason) != (bot.status, bot.reason))


def _pause_s(bot: Bot, known: Health, outcome: Outcome, interval_s: float) -> float:
    if outcome.reason == Reason.RATE_LIMITED:
        return _backoff_s(known, outcome, interval_s)
    if bot.hosted and bot.status == "starting":
        interval_s = min(interval_s, STARTING_INTERVAL_S)
    return interval_s * (1 + _SPREAD * spread(bot.id, outcome.observed_at))


def _backoff_s(known: Health, outcome: Outcome, interval_s: float) -> float:
    """As long as the bot says; else twice the time since the last refusal, so that the pauses double while a bot goes
    on asking for fewer calls."""
    told = outcome.reading.retry_after_s
    if told is not None and told > 0:
        return max(interval_s, min(told, LONGEST_REST_S))
    paused = interval_s
    if known.reason == Reason.RATE_LIMITED and known.observed_at is not None:
        paused = max(interval_s, (outcome.observed_at - known.observed_at).total_seconds())
    return max(interval_s, min(2 * paused, _LONGEST_BACKOFF_S))


def spread(bot_id: UUID, moment: datetime) -> float:
    """From -1 to 1, the same for the same bot and moment: keeps bots from falling due at the same instant for ever."""
    microseconds = int(moment.timestamp() * 1e6)
    return 2 * zlib.crc32(bot_id.int.to_bytes(16), microseconds & 0xFFFFFFFF) / 0xFFFFFFFF - 1
