"""The engine goes and comes back: with what ran, without it, or knowing nothing of it. On a machine apart."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from agents.launcher.engine import open_client
from tests.conftest import fresh_database
from tests.e2e.processes import alive
from tests.faults.machine_apart import MachineApart, machine_apart
from tests.faults.recovery import Recovery
from tests.faults.stage import Stage, stage_on
from tests.waiting import until

pytestmark = pytest.mark.engine

OUTAGE_S, BRIEF_OUTAGE_S = 30.0, 4.0


@pytest.fixture(scope="module")
def machine(engine: docker.DockerClient, paper_bot_image: str) -> Iterator[MachineApart]:
    """A machine apart whose engine has the bot's image."""
    # A short path: that of a socket may not exceed 107 bytes.
    folder = tempfile.TemporaryDirectory(prefix="tw-", ignore_cleanup_errors=True)
    with folder as name, machine_apart(Path(name)) as made:
        made.load(engine, paper_bot_image)
        yield made


@pytest.fixture(scope="module")
async def whole_stage(
    admin_url: str,
    template_database: str,
    machine: MachineApart,
    paper_bot_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stage]:
    """The stage of `conftest`, on that machine."""
    folder = tmp_path_factory.mktemp("stage")
    with contextlib.closing(open_client(machine.url)) as client:
        async with (
            fresh_database(admin_url, template_database) as urls,
            stage_on(urls, client, machine.url, paper_bot_image, folder) as stage,
        ):
            await stage.run(folder, within=machine.within)
            await stage.running(2)
            yield stage


@pytest.fixture
async def stage(whole_stage: Stage) -> Stage:
    """The stage with its three bots: they come through every fault of this file."""
    return whole_stage


async def _lost(stage: Stage) -> None:
    """Wait until every bot is told as stale, with its status as it was."""
    query = (
        "select count(*) filter (where h.engine_lost_at is not null and b.status = 'running') = count(*)"
        " from bots b join bot_health h on h.id = b.id"
    )

    async def there() -> Any:
        return await stage.admin.fetchval(query)

    await until(there, what="the engine's loss is told")


async def _away(stage: Stage, seconds: float) -> None:
    """Wait so long, by the database's clock."""
    back = await stage.admin.fetchval("select now() + make_interval(secs => $1)", seconds)

    async def over() -> Any:
        return await stage.admin.fetchval("select now() > $1", back)

    await until(over, deadline_s=seconds + 10, every_s=0.1)


def _processes(stage: Stage) -> list[int]:
    return [stage.engine.api.inspect_container(item["Id"])["State"]["Pid"] for item in stage.containers()]


async def test_stopped_with_live_restore(
    stage: Stage, machine: MachineApart, recovery: Recovery, in_full: bool
) -> None:
    """As our own engine is set up."""
    bots, processes = await stage.others(), _processes(stage)
    assert len(processes) == 3
    length = OUTAGE_S if in_full else BRIEF_OUTAGE_S
    then = "bots trade on; shown as `stale` meanwhile, then adopted as they are"
    with recovery(f"engine stopped {length:.0f} s, with live-restore", then) as row:
        machine.end_daemon(signal.SIGTERM)
        await _lost(stage)
        row.noticed()
        await _away(stage, length)
        assert all(map(alive, processes))
        machine.engine("ensure")
        row.again()
        await stage.well(bots)


async def test_killed_with_live_restore(stage: Stage, machine: MachineApart, recovery: Recovery) -> None:
    bots = await stage.others()
    with recovery("engine killed and started again, with live-restore", "bots trade on, and are adopted as they are"):
        machine.end_daemon(signal.SIGKILL)
        machine.engine("ensure")
        await stage.well(bots)


async def test_stopped_without_live_restore(
    stage: Stage, machine: MachineApart, recovery: Recovery, in_full: bool
) -> None:
    length = OUTAGE_S if in_full else BRIEF_OUTAGE_S
    then = "bots end with it and are shown as `stale`; started again at once, and it counts as no crash"
    machine.live_restore(on=False)
    with recovery(f"engine stopped {length:.0f} s, without live-restore", then) as row:
        machine.end_daemon(signal.SIGTERM)
        await _lost(stage)
        row.noticed()
        await _away(stage, length)
        machine.engine("ensure")
        row.again()
        await stage.well({})
    assert await stage.admin.fetchval("select max(attempt) from bots") == 0


async def test_back_with_containers_gone(stage: Stage, machine: MachineApart, recovery: Recovery) -> None:
    machine.live_restore(on=False)
    with recovery(
        "engine restarted with its containers gone", "each bot gets a new copy, with the same storage"
    ) as row:
        machine.end_daemon(signal.SIGTERM)
        machine.forget_containers()
        machine.engine("ensure")
        row.again()
        assert stage.containers() == []
        await stage.well({})


async def test_our_engine_ends_its_bots_when_it_is_asked_to_stop(stage: Stage, machine: MachineApart) -> None:
    """The last test of this file: nothing comes back after it."""
    processes = _processes(stage)
    stage.launcher_process.end()
    machine.engine("stop")
    assert not any(map(alive, processes))
    machine.engine("ensure")
    assert {item["State"] for item in stage.containers()} == {"exited"}
