"""Whatever was there before, there is one right copy of each bot afterwards, and nothing of anybody else is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid4

from agents.agent import make_pool
from agents.launcher import queries
from agents.launcher.launch import Starter
from agents.launcher.runtimes.base import Spec
from agents.launcher.runtimes.docker import DockerRuntime
from agents.launcher.runtimes.docker_profile import LABEL_INSTALLATION
from control_plane.security.vault import Vault
from tests.integration.launcher.rig import Rig
from tests.integration.launcher.wire import Wire
from tests.waiting import until

pytestmark = pytest.mark.engine


@pytest.fixture
def runtime(rig: Rig) -> Iterator[DockerRuntime]:
    """The test's own hands on the engine, as this installation."""
    made = DockerRuntime(rig.settings.docker_host, rig.installation)
    yield made
    made.close()


def spec(rig: Rig, bot: UUID, instance: UUID | None = None) -> Spec:
    return Spec(
        tenant_id=rig.owner.tenant_id,
        bot_id=bot,
        instance_id=instance or UUID(str(uuid4())),
        generation=1,
        image=rig.settings.paper_bot_image,
        publish_address="127.0.0.1",
        host_port=None,
    )


async def test_a_launcher_that_comes_later_adopts_what_runs(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        first = await rig.up(bot)
    other = await rig.bot()
    async with rig.launcher():
        await rig.up(other)
        assert (await rig.live(bot) or {})["id"] == first["id"]
    assert (await rig.row(bot))["attempt"] == 0
    assert len(await rig.events(bot)) == 2


async def test_containers_that_no_bot_accounts_for_are_taken_away(rig: Rig, runtime: DockerRuntime) -> None:
    bot, at_rest, stranger = await rig.bot(), await rig.bot(desired="stopped"), UUID(str(uuid4()))
    for owner in (bot, at_rest, stranger):
        await runtime.start(await runtime.ensure(spec(rig, owner)), b"")
        await runtime.ensure(spec(rig, owner))
    async with rig.launcher(orphan_grace=0.0):
        instance = await rig.up(bot)
        await until(lambda: len(rig.containers()) == 1, what="one container left")
    assert [container["Id"] for container in rig.containers()] == [instance["container_id"]]


async def test_a_launch_that_was_cut_off_anywhere_is_begun_again(rig: Rig, runtime: DockerRuntime) -> None:
    claimed, made, attached, started = [await rig.bot() for _ in range(4)]
    for bot in (claimed, made, attached, started):
        instance = UUID(str(uuid4()))
        await rig.admin.execute(
            "update bots set status = 'starting', observed_generation = generation where id = $1", bot
        )
        await rig.admin.execute(
            "insert into bot_instances (id, tenant_id, bot_id, generation, runtime, image)"
            " values ($1, $2, $3, 1, 'docker', 'x')",
            instance,
            rig.owner.tenant_id,
            bot,
        )
        if bot == claimed:
            continue
        ref = await runtime.ensure(spec(rig, bot, instance))
        if bot == made:
            continue
        await rig.admin.execute("update bot_instances set container_id = $2 where id = $1", instance, ref)
        if bot == started:
            await runtime.start(ref, b"")
    async with rig.launcher():
        for bot in (claimed, made, attached, started):
            await rig.up(bot)
            assert (await rig.row(bot))["attempt"] == 0
            assert len(rig.containers(bot)) == 1


async def test_two_installations_on_one_engine_leave_each_other_alone(rig: Rig, runtime: DockerRuntime) -> None:
    neighbour = DockerRuntime(rig.settings.docker_host, UUID(str(uuid4())))
    theirs = await neighbour.ensure(spec(rig, UUID(str(uuid4()))))
    try:
        bot = await rig.bot()
        async with rig.launcher():
            await rig.up(bot)
        assert [seen.ref for seen in await neighbour.observe()] == [theirs]
        assert theirs not in [seen.ref for seen in await runtime.observe()]
    finally:
        for seen in await neighbour.observe():
            await neighbour.remove(seen.ref)
            if seen.bot_id is not None:
                await neighbour.drop_storage(seen.bot_id)
        await neighbour.drop_network()
        neighbour.close()


async def test_of_two_launchers_one_acts_and_the_other_takes_over(rig: Rig) -> None:
    bots = [await rig.bot() for _ in range(3)]
    async with rig.launcher() as second:
        async with rig.launcher() as first:
            await until(lambda: {first.detail.get("role"), second.detail.get("role")} == {"acting", "standby"})
            for bot in bots:
                await rig.up(bot)
                assert len(rig.containers(bot)) == 1
        later = await rig.bot()
        await rig.up(later)
        assert second.detail["role"] == "acting"
    copies = await rig.admin.fetch("select bot_id, count(*) from bot_instances group by bot_id")
    assert {row["count"] for row in copies} == {1}


async def test_a_launcher_that_lost_its_lock_connection_stands_down(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher() as launcher:
        first = await rig.up(bot)
        killed = await rig.admin.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname = current_database())"
        )
        assert killed == 1
        other = await rig.bot()
        await rig.up(other)
        assert launcher.detail["role"] == "acting"
    assert (await rig.live(bot) or {})["id"] == first["id"]


async def test_an_engine_that_is_away_changes_no_status(rig: Rig, engine_url: str, tmp_path: Path) -> None:
    wire = Wire(tmp_path / "engine.sock", engine_url)
    await wire.join()
    bot, idle, stopping = await rig.bot(), await rig.bot(desired="stopped"), await rig.bot()
    try:
        async with rig.launcher(docker_host=wire.url) as launcher:
            first = await rig.up(bot)
            await rig.up(stopping)
            version = launcher.detail["engine"]["version"]
            before = await rig.events(bot)
            await wire.cut()
            await rig.admin.execute("update bots set ping_requested_at = now()")
            lost = await until(lambda: _lost_since(rig, bot), what="the loss is noted")
            assert launcher.detail["engine"] == {"name": "docker", "version": version, "reachable": False}
            assert await _lost_since(rig, idle) is None
            await rig.want(stopping, "stopped")
            await until(lambda: launcher._loss_s > 2, what="a second look in vain")
            assert await _lost_since(rig, bot) == lost
            assert (await rig.row(bot))["status"] == "running"
            assert (await rig.row(stopping))["status"] == "running"
            assert await rig.events(bot) == before

            await wire.join()
            await rig.until_status(stopping, "inactive")
            assert await _lost_since(rig, bot) is None
            assert (await rig.live(bot) or {})["id"] == first["id"]
    finally:
        await wire.cut()


async def test_an_engine_that_comes_late_is_waited_for(rig: Rig, engine_url: str, tmp_path: Path) -> None:
    wire = Wire(tmp_path / "engine.sock", engine_url)
    bot = await rig.bot()
    try:
        async with rig.launcher(docker_host=wire.url):
            await until(lambda: _lost_since(rig, bot), what="the loss is noted")
            assert (await rig.row(bot))["status"] == "inactive"
            await wire.join()
            await rig.up(bot)
    finally:
        await wire.cut()


async def test_of_two_that_think_they_act_only_one_launches(rig: Rig, vault: Vault) -> None:
    bot = await rig.bot(status="starting", observed_generation=1)
    pool = await make_pool(rig.urls["agent_launcher"], "launcher")
    hands = [DockerRuntime(rig.settings.docker_host, rig.installation) for _ in range(2)]
    try:
        [work] = await queries.work(pool)
        starters = [Starter(rig.settings, pool, vault, runtime) for runtime in hands]
        await asyncio.gather(*(starter.launch(work) for starter in starters))
        assert [container["State"] for container in rig.containers(bot)] == ["running"]
        # A place that was given back in the meantime is nobody's: what was made for it is not started.
        instance = await rig.live(bot)
        assert instance is not None
        assert not await queries.attach(pool, instance["id"], "another", "image")
    finally:
        for runtime in hands:
            runtime.close()
        await pool.close()


async def test_a_network_that_somebody_removed_is_made_again(rig: Rig) -> None:
    first, second = await rig.bot(), await rig.bot(desired="stopped")
    async with rig.launcher():
        await rig.up(first)
        await rig.want(first, "stopped")
        await rig.until_status(first, "inactive")
        for network in rig.engine.networks.list(filters={"label": f"{LABEL_INSTALLATION}={rig.installation}"}):
            network.remove()
        await rig.want(second, "running")
        await rig.up(second)
    assert (await rig.row(second))["status"] == "running"


async def _lost_since(rig: Rig, bot: UUID) -> Any:
    return await rig.admin.fetchval("select engine_lost_at from bot_health where id = $1", bot)
