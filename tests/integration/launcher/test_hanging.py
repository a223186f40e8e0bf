"""Bots that run and do not answer: found by their checks, restarted within the budget, and never on mere suspicion."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from agents.launcher.lifecycle import Policy
from tests.integration.launcher.rig import Rig
from tests.waiting import until

pytestmark = pytest.mark.engine

QUICK = Policy(start_deadline=60.0, stop_grace=1.0, first_delay=0.1, longest_delay=0.2, liveness_deadline=2.0)


async def fail(rig: Rig, bot: UUID, *, reason: str = "timeout", failures: int = 3, age: float = 0.0) -> None:
    """Say what the poller says of a bot whose checks have failed for an hour, in the poller's role."""
    connection = await asyncpg.connect(rig.urls["agent_poller"])
    try:
        await connection.execute(
            "update bot_health h set state = 'unhealthy', reason = $2, failures = $3,"
            " observed_at = clock_timestamp() - $4::float8 * interval '1 second', observed_generation = b.generation"
            " from bots b where b.id = h.id and h.id = $1",
            bot,
            reason,
            failures,
            age,
        )
    finally:
        await connection.close()


async def long_ago(rig: Rig, copy: UUID, bot: UUID) -> None:
    """Make as if the copy had run, and been well, until an hour ago."""
    await rig.admin.execute("update bot_instances set started_at = started_at - interval '2 hours' where id = $1", copy)
    await rig.admin.execute("update bot_health set healthy_at = healthy_at - interval '1 hour' where id = $1", bot)


async def test_a_bot_that_answers_no_checks_is_restarted_within_its_budget(rig: Rig) -> None:
    rig.policy = QUICK
    bot = await rig.bot()
    async with rig.launcher(reconcile_interval=0.5):
        first = await rig.up(bot)
        await long_ago(rig, first["id"], bot)
        # A stopped process ends by no signal but the last one.
        rig.engine.api.kill(first["container_id"], "SIGSTOP")
        await fail(rig, bot)
        await rig.until_launched(bot, after=first["id"])
        row = await rig.row(bot)
        assert (row["status"], row["reason"], row["attempt"]) == ("starting", "liveness", 1)
        assert "answered no check" in row["reason_detail"]
        await rig.healthy(bot)
        await rig.until_status(bot, "running")
    ended = await rig.last(bot)
    assert (ended["end_reason"], ended["exit_code"]) == ("liveness", 137)
    assert (await rig.events(bot))[2:] == [
        ("running", "stopping", "liveness"),
        ("stopping", "starting", "liveness"),
        ("starting", "running", None),
    ]


async def test_a_paused_container_is_found_and_replaced(rig: Rig) -> None:
    rig.policy = QUICK
    bot = await rig.bot()
    async with rig.launcher(reconcile_interval=0.5):
        first = await rig.up(bot)
        await long_ago(rig, first["id"], bot)
        rig.engine.api.pause(first["container_id"])
        await fail(rig, bot)
        await rig.until_launched(bot, after=first["id"])
        assert len(rig.containers(bot)) == 1
        assert (await rig.row(bot))["reason"] == "liveness"


async def test_nothing_is_restarted_on_suspicion(rig: Rig) -> None:
    rig.policy = QUICK
    refused, young, silent, few = [await rig.bot() for _ in range(4)]
    async with rig.launcher(reconcile_interval=0.2) as launcher:
        first = {bot: (await rig.up(bot))["id"] for bot in (refused, young, silent, few)}
        for bot in (refused, silent, few):
            await long_ago(rig, first[bot], bot)
        await fail(rig, refused, reason="auth", failures=99)
        await fail(rig, few, failures=2)
        # The poller died an hour ago; what it said last says nothing about now.
        await fail(rig, silent, failures=99, age=100.0)
        before = launcher._all_at
        await until(lambda: launcher._all_at > before + 1.0, what="some looks at everything")
        for bot, copy in first.items():
            assert (await rig.row(bot))["status"] == "running"
            assert (await rig.live(bot) or {})["id"] == copy


async def test_where_most_bots_fail_at_once_none_is_restarted(rig: Rig) -> None:
    rig.policy = QUICK
    bots = [await rig.bot() for _ in range(5)]
    async with rig.launcher(reconcile_interval=0.5) as launcher:
        first = {bot: (await rig.up(bot))["id"] for bot in bots}
        async with rig.admin.transaction():
            for bot in bots:
                await long_ago(rig, first[bot], bot)
                await rig.admin.execute(
                    "update bot_health set state = 'unhealthy', reason = 'unreachable', failures = 9,"
                    " observed_at = now() where id = $1",
                    bot,
                )
        await until(lambda: launcher.detail.get("checks_believed") is False, what="blindness is noticed")
        assert {(await rig.row(bot))["status"] for bot in bots} == {"running"}
        # The way to three of them is back: the other two do hang, as further checks show. Older ones prove nothing.
        for bot in bots[:3]:
            await rig.healthy(bot)

        async def restarted() -> bool:
            for bot in bots[3:]:
                await fail(rig, bot)
            return all([(await rig.live(bot) or {}).get("id") not in {None, first[bot]} for bot in bots[3:]])

        await until(restarted, every_s=0.2, what="new copies of the two that hang")
        assert [(await rig.live(bot) or {})["id"] for bot in bots[:3]] == [first[bot] for bot in bots[:3]]


async def test_health_of_an_earlier_generation_restarts_nothing(rig: Rig) -> None:
    rig.policy = QUICK
    bot = await rig.bot()
    async with rig.launcher(reconcile_interval=0.2) as launcher:
        first = await rig.up(bot)
        await long_ago(rig, first["id"], bot)
        await rig.want(bot, "running")
        second: Any = await rig.until_launched(bot, after=first["id"])
        await rig.healthy(bot)
        await rig.until_status(bot, "running")
        await rig.admin.execute(
            "update bot_health set state = 'unhealthy', reason = 'timeout', failures = 99, observed_at = now(),"
            " observed_generation = observed_generation - 1 where id = $1",
            bot,
        )
        before = launcher._all_at
        await until(lambda: launcher._all_at > before + 1.0, what="some looks at everything")
        assert (await rig.live(bot) or {})["id"] == second["id"]
