"""Faults of one bot, or of what it needs: told, mended within its budget, and nobody else's business."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from tests.faults.recovery import Recovery
from tests.faults.stage import Stage
from tests.integration.launcher.rig import CONFIG
from tests.waiting import until

pytestmark = pytest.mark.engine


async def told(stage: Stage, bot: UUID, reason: str) -> None:
    """Wait until the bot's status tells it, now or in its history."""

    async def there() -> Any:
        return await stage.admin.fetchval("select true from bot_events where bot_id = $1 and reason = $2", bot, reason)

    await until(there, what=f"{reason} is told", deadline_s=90.0)


async def test_docker_kill(stage: Stage, recovery: Recovery) -> None:
    [bot] = await stage.running(1)
    others = await stage.others([bot])
    with recovery("`docker kill`", "`restarting`; a new copy after its delay") as row:
        stage.kill_copy(bot)
        await told(stage, bot, "restarting")
        row.noticed()
        await stage.well(others)
    ended = await stage.last(bot)
    assert (ended["exit_code"], ended["oom_killed"]) == (137, False)


async def test_docker_rm(stage: Stage, recovery: Recovery) -> None:
    [bot] = await stage.running(1)
    others = await stage.others([bot])
    with recovery("`docker rm -f`", "`restarting`; a new copy after its delay, with the same storage") as row:
        stage.engine.api.remove_container((await stage.live(bot))["container_id"], force=True)  # type: ignore[index]
        await told(stage, bot, "restarting")
        row.noticed()
        await stage.well(others)


async def test_exit_0(stage: Stage, rogue_image: str, recovery: Recovery) -> None:
    bots = {
        policy: await stage.rogue("exit 0", rogue_image, desired="stopped", crash_policy=policy)
        for policy in ("never", "on_failure", "always")
    }
    others = await stage.others()
    then = "as its crash policy says: error (`exited`), or a restart with `always`"
    with recovery("exit 0", then) as row:
        for bot in bots.values():
            await stage.want(bot, "running")
        await told(stage, bots["on_failure"], "exited")
        row.noticed()
        errors = {bots["never"]: "exited", bots["on_failure"]: "exited", bots["always"]: "crash_loop"}
        await stage.well(others, errors=errors)


async def test_exit_1_in_a_loop(stage: Stage, rogue_image: str, recovery: Recovery) -> None:
    bot = await stage.rogue("exit 1", rogue_image, desired="stopped")
    others = await stage.others()
    with recovery("exit 1 in a loop", "five restarts, then error (`crash_loop`) with exit code and last lines") as row:
        await stage.want(bot, "running")
        await told(stage, bot, "restarting")
        row.noticed()
        await stage.well(others, errors={bot: "crash_loop"})
    ends = await stage.admin.fetch("select * from bot_instances where bot_id = $1 and started_at is not null", bot)
    assert [end["exit_code"] for end in ends] == [1] * 6
    assert all("last words" in end["last_lines"] for end in ends)


async def test_oom(stage: Stage, rogue_image: str, recovery: Recovery) -> None:
    bot = await stage.rogue("hungry", rogue_image, desired="stopped")
    others = await stage.others()
    with recovery("out of memory", "one restart; the second time error (`oom`)") as row:
        await stage.want(bot, "running")
        await told(stage, bot, "restarting")
        row.noticed()
        await stage.well(others, errors={bot: "oom"})
    ends = await stage.admin.fetch(
        "select oom_killed from bot_instances where bot_id = $1 and started_at is not null", bot
    )
    assert [end["oom_killed"] for end in ends] == [True, True]


async def test_frozen_and_hung(stage: Stage, recovery: Recovery) -> None:
    """One is frozen whole; the other's server takes connections, because the kernel does, and never answers."""
    frozen, hung = await stage.running(2)
    others = await stage.others([frozen, hung])
    then = "unhealthy after three checks that got no answer; after `TRADEWISE_LIVENESS_DEADLINE` a restart (`liveness`)"
    with recovery("a hang: frozen, or a server that never answers", then) as row:
        stage.engine.api.pause((await stage.live(frozen))["container_id"])  # type: ignore[index]
        _stop_processes(stage, hung)
        await told(stage, frozen, "liveness")
        await told(stage, hung, "liveness")
        row.noticed()
        await stage.well(others, deadline_s=90.0)


def _stop_processes(stage: Stage, bot: UUID) -> None:
    for container in stage.containers(bot):
        for process in stage.engine.api.top(container["Id"])["Processes"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process[1]), signal.SIGSTOP)


async def test_image_missing(stage: Stage, recovery: Recovery) -> None:
    bot = await stage.bot(image="tradewise/nowhere:1", desired="stopped")
    others = await stage.others()
    with recovery("image missing", "error (`image_missing`) at once, with the remedy") as row:
        await stage.want(bot, "running")
        await told(stage, bot, "image_missing")
        row.noticed()
        await stage.well(others, errors={bot: "image_missing"})
    assert "tradewise/nowhere:1" in (await stage.row(bot))["reason_detail"]


async def test_port_taken_by_a_stranger(stage: Stage, recovery: Recovery) -> None:
    """Of all ports that were this bot's for a moment; the start that meets the stranger takes another one."""
    [bot] = await stage.running(1)
    others = await stage.others([bot])
    port = (await stage.live(bot))["host_port"]  # type: ignore[index]
    await stage.want(bot, "stopped")
    await stage.well(others)
    with contextlib.ExitStack() as strangers:
        # So that a launcher that goes by its own range meets strangers whatever it chooses first.
        for taken in (port, *range(21000, 30000, 3)):
            with contextlib.suppress(OSError):
                strangers.enter_context(socket.create_server(("127.0.0.1", taken)))
        with recovery("port taken by a stranger", "another port; with none left error (`port_conflict`)"):
            await stage.want(bot, "running")
            await stage.well(others)
    assert (await stage.live(bot))["host_port"] != port  # type: ignore[index]


async def test_a_refused_configuration(stage: Stage, recovery: Recovery) -> None:
    bot = await stage.bot(config={**CONFIG, "strategy": {"type": "martingale"}}, desired="stopped")
    others = await stage.others()
    with recovery("a configuration that the bot refuses", "error (`config_rejected`) at once, in its own words") as row:
        await stage.want(bot, "running")
        await told(stage, bot, "config_rejected")
        row.noticed()
        await stage.well(others, errors={bot: "config_rejected"})


async def test_the_poller_is_killed(stage: Stage, recovery: Recovery) -> None:
    others = await stage.others()
    with recovery("kill -9 of the poller", "bots trade on; the next one looks again, and nothing is restarted"):
        stage.poller_process.kill()
        began = await stage.admin.fetchval("select now()")
        stage.poller_process.start()
        query = "select count(*) > 0 from bot_health where id = $1 and healthy_at > $2"
        await until(partial(stage.admin.fetchval, query, stage.witness, began), what="a check", deadline_s=60.0)
        await stage.well(others)
