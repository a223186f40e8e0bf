"""What goes wrong with one bot: told in a stable reason and in words, within a budget, and to that bot alone."""

from __future__ import annotations

import socket

import msgspec
import pytest

from agents.launcher.lifecycle import Policy
from control_plane.settings import PortRange
from tests.integration.launcher.rig import CONFIG, TOKEN, Rig

pytestmark = pytest.mark.engine


async def test_a_missing_image_is_an_error_with_its_remedy(rig: Rig) -> None:
    bot = await rig.bot(image="tradewise/nowhere:1")
    async with rig.launcher():
        row = await rig.until_status(bot, "error", "image_missing")
    assert "tradewise/nowhere:1" in row["reason_detail"]
    assert "Ask your operator" in row["reason_detail"]
    assert await rig.events(bot) == [("inactive", "starting", None), ("starting", "error", "image_missing")]
    assert await rig.live(bot) is None
    assert rig.containers(bot) == []


async def test_a_missing_image_is_asked_of_its_registry_once(rig: Rig) -> None:
    # Nothing listens there, so the one question is answered at once.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        image = f"127.0.0.1:{taken.getsockname()[1]}/bot:1"
    bot = await rig.bot(image=image)
    async with rig.launcher(image_pull="missing", allowed_images=("127.0.0.1:*",)):
        row = await rig.until_status(bot, "error", "image_missing")
    assert "connection refused" in row["reason_detail"]


async def test_an_image_that_the_operator_did_not_list_does_not_run(rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("sleep", rogue_image)
    async with rig.launcher(allowed_images=("others/*",)):
        await rig.until_status(bot, "error", "image_not_allowed")
    assert rig.containers(bot) == []


async def test_secrets_that_do_not_open_stop_that_bot_alone(rig: Rig) -> None:
    missing = await rig.bot(credentials=None)
    altered = await rig.bot()
    malformed = await rig.bot(credentials={"user": "ada"})
    fine = await rig.bot()
    await rig.admin.execute(
        "update bot_secrets set sealed = set_byte(sealed, 60, get_byte(sealed, 60) # 1) where bot_id = $1", altered
    )
    async with rig.launcher():
        for bot in (missing, altered, malformed):
            row = await rig.until_status(bot, "error", "secret_unreadable")
            assert "Enter" in row["reason_detail"]
            assert "ada" not in row["reason_detail"]
        await rig.up(fine)


async def test_a_crash_is_told_within_two_seconds_and_followed_by_a_new_copy(rig: Rig) -> None:
    rig.policy = Policy(first_delay=1.0)
    bot = await rig.bot()
    async with rig.launcher(reconcile_interval=60.0):
        first = await rig.up(bot)
        rig.engine.api.kill(first["container_id"], "SIGKILL")
        row = await rig.until_status(bot, "starting", "restarting", deadline_s=2.0)
        assert row["attempt"] == 1
        assert row["exposed_host_port"] is None
        assert "signal 9" in row["reason_detail"]
        await rig.until_launched(bot, after=first["id"])
        await rig.healthy(bot)
        await rig.until_status(bot, "running")
    ended = await rig.last(bot)
    assert (ended["id"], ended["exit_code"], ended["oom_killed"]) == (first["id"], 137, False)
    assert (await rig.events(bot))[2] == ("running", "starting", "restarting")


async def test_a_container_that_somebody_removed_comes_back(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        first = await rig.up(bot)
        rig.engine.api.remove_container(first["container_id"], force=True)
        second = await rig.until_launched(bot, after=first["id"])
    [container] = rig.containers(bot)
    assert container["Id"] == second["container_id"]


async def test_a_bot_that_keeps_crashing_ends_in_error_with_its_last_words_and_no_secret(
    rig: Rig, rogue_image: str
) -> None:
    rig.policy = Policy(first_delay=0.1, longest_delay=0.2)
    bot = await rig.rogue("exit 3", rogue_image)
    async with rig.launcher():
        row = await rig.until_status(bot, "error", "crash_loop", deadline_s=60.0)
        assert (row["attempt"], row["next_retry_at"]) == (5, None)
        assert "exit code 3" in row["reason_detail"]
        await rig.want(bot, "running")
        again = await rig.until_status(bot, "starting", "restarting")
        assert again["attempt"] == 1
    copies = await rig.admin.fetch("select * from bot_instances where bot_id = $1 order by id", bot)
    assert len(copies) >= 6
    assert copies[0]["last_lines"] == '["token (redacted) config (redacted)", "last words"]'
    assert TOKEN not in str(copies)


async def test_a_refused_configuration_is_an_error_at_once_in_the_bots_own_words(rig: Rig) -> None:
    bot = await rig.bot(config={**CONFIG, "strategy": {"type": "martingale"}})
    async with rig.launcher():
        row = await rig.until_status(bot, "error", "config_rejected")
        await rig.until_gone(bot)
    assert "strategy.type" in row["reason_detail"]
    assert (await rig.last(bot))["exit_code"] == 78


async def test_a_bot_that_hoards_memory_is_ended_and_that_is_told(rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("hungry", rogue_image)
    async with rig.launcher():
        row = await rig.until_row(bot, lambda row: row["reason"] == "restarting", "the end of the hoarder")
        assert "memory" in row["reason_detail"]
        row = await rig.until_status(bot, "error", "oom")
        assert row["attempt"] == 1
    first = await rig.admin.fetchrow("select * from bot_instances where bot_id = $1 order by id limit 1", bot)
    assert (first["oom_killed"], first["end_reason"], first["attempt"]) == (True, "oom", 0)


async def test_a_bot_that_is_never_healthy_is_started_again_and_then_stopped(rig: Rig) -> None:
    rig.policy = Policy(start_deadline=1.5, first_delay=0.1, restarts=1)
    bot = await rig.bot()
    async with rig.launcher():
        await rig.until_status(bot, "error", "start_timeout")
        await rig.until_row(bot, lambda row: row["exposed_host_port"] is None, "its port is given back")
        await rig.until_gone(bot)
    again = [("starting", "stopping", "start_timeout"), ("stopping", "starting", "start_timeout")]
    assert (await rig.events(bot))[1:] == [*again, again[0], ("stopping", "error", "start_timeout")]


async def test_a_bot_that_ignores_its_stop_is_ended_by_force_and_holds_up_no_other(rig: Rig, rogue_image: str) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, stop_grace=6.0)
    deaf = [await rig.rogue("deaf", rogue_image) for _ in range(10)]
    async with rig.launcher():
        for bot in deaf:
            await rig.up(bot)
        for bot in deaf:
            await rig.want(bot, "stopped")
        for bot in deaf:
            await rig.until_status(bot, "stopping")
        other = await rig.bot()
        await rig.up(other)
        assert {(await rig.row(bot))["status"] for bot in deaf} == {"stopping"}
        for bot in deaf:
            row = await rig.until_status(bot, "inactive", "killed")
            assert "by force" in row["reason_detail"]
            assert "exchange account" in row["reason_detail"]
            assert row["orders_unconfirmed"] is True
            ended = await rig.last(bot)
            assert (ended["exit_code"], ended["end_reason"]) == (137, "killed")


async def test_a_port_of_somebody_else_is_left_for_another_one(rig: Rig) -> None:
    bot = await rig.bot()
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = foreign.getsockname()[1]
        ports = PortRange(taken, taken + 1)
        async with rig.launcher(port_range=ports):
            instance = await rig.until_launched(bot)
            assert instance["host_port"] == taken + 1
    assert len(rig.containers(bot)) == 1


async def test_no_port_at_all_is_an_error_that_names_the_setting(rig: Rig) -> None:
    bot = await rig.bot()
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = foreign.getsockname()[1]
        async with rig.launcher(port_range=PortRange(taken, taken)):
            row = await rig.until_status(bot, "error", "port_conflict")
    assert "TRADEWISE_PORT_RANGE" in row["reason_detail"]
    assert rig.containers(bot) == []
    assert await rig.live(bot) is None


async def test_bots_that_start_together_get_different_ports(rig: Rig) -> None:
    bots = [await rig.bot() for _ in range(6)]
    async with rig.launcher(port_range=PortRange(23000, 23005)):
        ports = {(await rig.until_launched(bot))["host_port"] for bot in bots}
    assert ports == set(range(23000, 23006))
