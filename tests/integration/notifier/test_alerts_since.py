"""Since when something is wrong, by the history that the poller wrote, and whether anybody looked."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import pytest

from tests.api import Person
from tests.integration.notifier.alerts import Health, Jobs, external, incidents

REFUSED: Final[dict[str, Any]] = {"reason": "auth", "failures": 1}
DEAD: Final[dict[str, Any]] = {"reason": "unreachable", "failures": 3}


@pytest.mark.parametrize(
    ("before", "now", "kinds"),
    [
        ([REFUSED], {"reason": "recovering", "credential_ok": True}, []),
        ([REFUSED], {"reason": "timeout", "failures": 2}, []),
        ([REFUSED, {"reason": "recovering"}], {"reason": "timeout", "failures": 1}, []),
        ([DEAD], REFUSED, []),
        ([DEAD, {"reason": "recovering"}], {"reason": "timeout", "failures": 1}, ["bot_down"]),
        ([REFUSED, {"reason": "recovering"}], REFUSED, ["credential_expired"]),
    ],
)
async def test_what_is_wrong_now_began_when_it_was_seen_first(
    person: Person, health: Health, jobs: Jobs, before: list[dict[str, Any]], now: dict[str, Any], kinds: list[str]
) -> None:
    rules = (await person.call("GET", "/alerts/rules", status=200))["items"]
    down = next(rule for rule in rules if rule["kind"] == "bot_down")
    await person.call("PATCH", f"/alerts/rules/{down['id']}", json={"delay_seconds": 0}, status=200)
    bot = await external(person)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=7200)
    for number, columns in enumerate(before):
        await health.seen(person.tenant_id, bot, "unhealthy", ago_s=3600 - number, **columns)
    await health.seen(person.tenant_id, bot, "unhealthy", **now)
    await jobs.judge()
    assert [one["kind"] for one in await incidents(person)] == kinds


async def test_a_bot_that_was_down_and_refuses_us_is_not_back_again_at_the_first_sight(
    person: Person, health: Health, jobs: Jobs
) -> None:
    bot = await external(person)
    await health.down(person.tenant_id, bot, since_s=3600)
    await jobs.judge()
    await health.seen(person.tenant_id, bot, "unhealthy", **REFUSED)
    await jobs.judge()
    assert [(one["kind"], one["state"]) for one in await incidents(person)] == [("bot_down", "open")]


async def test_nobody_looked_until_somebody_has_for_a_minute(
    person: Person, health: Health, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    bot = await external(person)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=900)
    await jobs.judge()
    assert [(one["kind"], one["state"]) for one in await incidents(person)] == [("not_watched", "open")]
    await health.seen(person.tenant_id, bot, "unknown", ago_s=870)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=30)
    await health.seen(person.tenant_id, bot, "healthy")
    await jobs.judge()
    assert len(await incidents(person, state="open")) == 1
    await admin.execute("update bot_health_changes set at = at - interval '1 minute' where bot_id = $1", bot)
    await jobs.judge()
    assert await incidents(person, state="open") == []


async def test_a_bot_that_asked_for_rest_is_being_watched(person: Person, health: Health, jobs: Jobs) -> None:
    bot = await external(person)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=3000)
    await health.seen(person.tenant_id, bot, "stale", ago_s=1800, reason="rate_limited")
    await jobs.judge()
    assert await incidents(person) == []


async def test_a_bot_that_has_just_been_switched_on_again_is_about_to_be_looked_at(
    person: Person, health: Health, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    bot = await external(person)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=7200)
    await person.call("POST", f"/bots/{bot}/stop", status=202)
    await person.call("POST", f"/bots/{bot}/start", status=202)
    await jobs.judge()
    assert await incidents(person) == []
    # Where nobody looks after all, that is told.
    await admin.execute("set session_replication_role = replica")
    await admin.execute("update bots set updated_at = now() - interval '1 hour' where id = $1", bot)
    await admin.execute("set session_replication_role = origin")
    await jobs.judge()
    assert [one["kind"] for one in await incidents(person)] == ["not_watched"]
