"""From what a person wants to what runs, on the real engine and the real database."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.launcher.rig import TOKEN, Rig
from tests.waiting import until

pytestmark = pytest.mark.engine


async def test_a_bot_is_launched_answers_on_its_port_and_runs_once_it_is_healthy(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.until_launched(bot)
        row = await rig.row(bot)
        assert (row["status"], row["observed_generation"]) == ("starting", 1)
        assert row["exposed_host_port"] == instance["host_port"]
        assert 21000 <= instance["host_port"] <= 29999

        state = await rig.ask(instance["host_port"], "state")
        assert (state["bot_id"], state["trading_state"]) == (str(bot), "running")

        await rig.healthy(bot)
        await rig.until_status(bot, "running")
    assert await rig.events(bot) == [("inactive", "starting", None), ("starting", "running", None)]
    [container] = rig.containers(bot)
    assert container["Ports"] == [
        {"IP": "127.0.0.1", "PrivatePort": 8080, "PublicPort": instance["host_port"], "Type": "tcp"}
    ]
    assert container["Id"] == instance["container_id"]
    assert container["ImageID"] == instance["image_id"]


async def test_stopping_ends_the_container_and_keeps_the_ledger(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        first = await rig.up(bot)
        started = (await rig.ask(first["host_port"], "performance"))["capital_base"]
        await rig.want(bot, "stopped")
        row = await rig.until_status(bot, "inactive")
        assert row["exposed_host_port"] is None
        assert rig.containers(bot) == []
        ended = await rig.last(bot)
        assert (ended["state"], ended["exit_code"]) == ("removed", 0)
        assert len(rig.volumes(bot)) == 1

        await rig.want(bot, "running")
        second = await rig.until_launched(bot)
        performance = await rig.ask(second["host_port"], "performance")
        assert performance["capital_base"] == started
        ledger = await rig.ask(second["host_port"], "ledger")
        assert [entry["kind"] for entry in ledger["items"]].count("deposit") == 1
    edges = [(was, now) for was, now, _ in await rig.events(bot)]
    assert edges == [
        ("inactive", "starting"),
        ("starting", "running"),
        ("running", "stopping"),
        ("stopping", "inactive"),
        ("inactive", "starting"),
    ]


async def test_a_new_generation_replaces_the_running_copy_and_never_runs_beside_it(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        first = await rig.up(bot)
        most = 0

        async def replaced() -> Any:
            nonlocal most
            most = max(most, sum(container["State"] == "running" for container in rig.containers(bot)))
            live = await rig.live(bot)
            return live is not None and live["generation"] == 2 and live["state"] == "running"

        await rig.want(bot, "running")
        await until(replaced, what="a copy of the new generation")
        assert most == 1
        await rig.healthy(bot)
        await rig.until_status(bot, "running")
    assert [container["Id"] for container in rig.containers(bot)] != [first["container_id"]]
    assert len(rig.containers(bot)) == 1
    assert ("running", "stopping", None) in await rig.events(bot)


async def test_deleting_a_bot_takes_its_container_and_its_volume(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        await rig.up(bot)
        await rig.admin.execute("update bots set deleted_at = now(), desired = 'stopped' where id = $1", bot)
        await rig.until_row(bot, lambda row: row["reason"] == "deleted", "the bot is taken away")
    assert rig.containers(bot) == []
    assert rig.volumes(bot) == []
    assert await rig.live(bot) is None


async def test_a_bot_that_is_deleted_at_rest_leaves_nothing_either(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        await rig.up(bot)
        await rig.want(bot, "stopped")
        await rig.until_status(bot, "inactive")
        await rig.admin.execute("update bots set deleted_at = now(), generation = generation + 1 where id = $1", bot)
        await rig.until_row(bot, lambda row: row["reason"] == "deleted", "the bot is taken away")
    assert rig.volumes(bot) == []


async def test_health_of_an_earlier_run_does_not_count(rig: Rig) -> None:
    bot = await rig.bot()
    await rig.healthy(bot)
    async with rig.launcher():
        await rig.until_launched(bot)
        assert (await rig.row(bot))["status"] == "starting"
        await rig.healthy(bot)
        await rig.until_status(bot, "running")


async def test_an_external_bot_is_none_of_the_launchers_business(rig: Rig) -> None:
    bot = await rig.bot(bot_type="external", api_url="http://192.0.2.1:8080")
    hosted = await rig.bot()
    async with rig.launcher():
        await rig.up(hosted)
    assert (await rig.row(bot))["status"] == "inactive"
    assert rig.containers(bot) == []


async def test_a_bot_does_not_tell_its_token_from_outside(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.up(bot)
    told = str(rig.engine.api.inspect_container(instance["container_id"]))
    assert str(bot) in told
    assert TOKEN not in told
    assert TOKEN not in rig.engine.api.logs(instance["container_id"]).decode()
