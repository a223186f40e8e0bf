"""Crash policies, budgets and causes on the real engine: what is started again, what is not, what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from agents.launcher.lifecycle import Policy
from tests.integration.launcher.rig import Rig
from tests.integration.launcher.wire import Wire
from tests.waiting import until

pytestmark = pytest.mark.engine


async def test_a_bot_that_has_finished_is_not_started_again(rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("exit 0", rogue_image)
    async with rig.launcher():
        row = await rig.until_status(bot, "error", "exited")
        await rig.until_gone(bot)
    assert "Its crash policy is on_failure" in row["reason_detail"]
    ended = await rig.last(bot)
    assert (ended["exit_code"], ended["end_reason"], ended["attempt"]) == (0, "exited", 0)
    assert json.loads(ended["last_lines"])[-1] == "last words"


async def test_a_bot_that_shall_always_run_is_started_again_whatever_its_exit_code(rig: Rig, rogue_image: str) -> None:
    rig.policy = Policy(first_delay=0.1, longest_delay=0.2, restarts=2)
    bot = await rig.rogue("exit 0", rogue_image, crash_policy="always")
    async with rig.launcher():
        row = await rig.until_status(bot, "error", "crash_loop")
    assert (row["attempt"], len(row["restarts"])) == (2, 2)
    copies = await rig.admin.fetch("select * from bot_instances where bot_id = $1 order by id", bot)
    assert [copy["attempt"] for copy in copies] == [0, 1, 2]


async def test_a_bot_that_shall_never_be_started_again_is_not(rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("exit 3", rogue_image, crash_policy="never")
    async with rig.launcher():
        row = await rig.until_status(bot, "error", "exited")
    assert "exit code 3" in row["reason_detail"]


async def test_the_budget_outlives_launchers_and_slides(rig: Rig) -> None:
    rig.policy = Policy(first_delay=0.1, longest_delay=0.2, restarts=2)
    bot = await rig.bot()
    for attempt in (1, 2):
        async with rig.launcher():
            copy = await rig.up(bot)
            rig.engine.api.kill(copy["container_id"], "SIGKILL")
            await rig.until_row(bot, _restarted(attempt), f"restart {attempt}")
    async with rig.launcher():
        copy = await rig.up(bot)
        # The first of the two was so long ago that it counts no more.
        await rig.admin.execute("update bots set restarts[1] = restarts[1] - interval '31 minutes' where id = $1", bot)
        rig.engine.api.kill(copy["container_id"], "SIGKILL")
        await rig.until_launched(bot, after=copy["id"])
        row = await rig.row(bot)
        assert (row["attempt"], row["status"]) == (2, "starting")
        copy = await rig.up(bot)
        rig.engine.api.kill(copy["container_id"], "SIGKILL")
        await rig.until_status(bot, "error", "crash_loop")


async def test_a_steady_run_makes_earlier_restarts_forgotten(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        copy = await rig.up(bot)
        rig.engine.api.kill(copy["container_id"], "SIGKILL")
        copy = await rig.until_launched(bot, after=copy["id"])
        await rig.up(bot)
        assert (await rig.row(bot))["attempt"] == 1
        await rig.admin.execute(
            "update bot_instances set started_at = started_at - interval '10 minutes' where id = $1", copy["id"]
        )
        row = await rig.until_row(bot, lambda row: not row["restarts"], "an empty budget")
        assert (row["attempt"], row["status"]) == (0, "running")


async def test_what_ended_while_nobody_listened_is_heard_of_and_counts(
    rig: Rig, engine_url: str, tmp_path: Path
) -> None:
    """Not so what ends with the engine itself: `tests/faults/test_matrix_engine.py`."""
    wire = Wire(tmp_path / "engine.sock", engine_url)
    await wire.join()
    bots = {policy: await rig.bot(crash_policy=policy) for policy in ("never", "on_failure", "always")}
    try:
        async with rig.launcher(docker_host=wire.url) as launcher:
            first = {policy: await rig.up(bot) for policy, bot in bots.items()}
            for copy in first.values():
                # So far that it ends by itself when it is asked to, with exit code 0.
                await rig.ask(copy["host_port"], "ping")
            await wire.cut()
            await rig.admin.execute("update bots set ping_requested_at = now()")
            await until(lambda: launcher.detail["engine"]["reachable"] is False, what="the loss is noticed")
            for copy in first.values():
                rig.engine.api.stop(copy["container_id"], timeout=20)
            await wire.join()
            await rig.until_status(bots["never"], "error", "exited")
            await rig.until_status(bots["on_failure"], "error", "exited")
            await rig.until_launched(bots["always"], after=first["always"]["id"])
            assert (await rig.row(bots["always"]))["attempt"] == 1
    finally:
        await wire.cut()


async def test_every_edge_names_its_cause(rig: Rig) -> None:
    bot = await rig.bot()
    wish = "update bots set desired = $2, generation = generation + 1 where id = $1"
    async with rig.launcher():
        copy = await rig.up(bot)
        rig.engine.api.kill(copy["container_id"], "SIGKILL")
        await rig.until_launched(bot, after=copy["id"])
        await rig.up(bot)
        async with rig.admin.transaction():
            await rig.admin.execute("select set_config('app.actor', $1, true)", f"user:{rig.owner.user_id}")
            await rig.admin.execute(wish, bot, "stopped")
        await rig.until_status(bot, "inactive")
        async with rig.admin.transaction():
            await rig.admin.execute("select set_config('app.actor', 'key:1', true)")
            await rig.admin.execute(wish, bot, "running")
        await rig.up(bot)
        await rig.admin.execute("update tenants set status = 'suspended' where id = $1", rig.owner.tenant_id)
        await rig.until_status(bot, "inactive", "tenant_suspended")
    rows = await rig.admin.fetch("select * from bot_events where bot_id = $1 and kind = 'status' order by id", bot)
    told = [(row["from_status"], row["to_status"], row["cause"], row["actor"]) for row in rows]
    person = f"user:{rig.owner.user_id}"
    assert told == [
        ("inactive", "starting", "system", "platform"),
        ("starting", "running", "agent", "launcher"),
        ("running", "starting", "agent", "launcher"),
        ("starting", "running", "agent", "launcher"),
        ("running", "stopping", "person", person),
        ("stopping", "inactive", "agent", "launcher"),
        ("inactive", "starting", "key", "key:1"),
        ("starting", "running", "agent", "launcher"),
        ("running", "stopping", "system", "platform"),
        ("stopping", "inactive", "system", "platform"),
    ]


def _restarted(times: int) -> Callable[[asyncpg.Record], bool]:
    return lambda row: bool(row["attempt"] == times)
