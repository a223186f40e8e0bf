"""The clock on the wall jumps under the agents: the database's time and monotonic clocks are what they go by."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import docker
import pytest

from tests.conftest import fresh_database
from tests.faults.clock import Clock
from tests.faults.recovery import Recovery
from tests.faults.stage import Stage, stage_on
from tests.waiting import until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    """The agents' clock."""
    return Clock(tmp_path_factory.mktemp("clock") / "offset")


@pytest.fixture(scope="module")
async def whole_stage(
    admin_url: str,
    template_database: str,
    engine: docker.DockerClient,
    engine_url: str,
    clock: Clock,
    paper_bot_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stage]:
    """The stage of `conftest`, with agents that go by that clock."""
    folder = tmp_path_factory.mktemp("stage")
    async with (
        fresh_database(admin_url, template_database) as urls,
        stage_on(urls, engine, engine_url, paper_bot_image, folder) as stage,
    ):
        await stage.run(folder, environ=clock.environ)
        yield stage


def _says(log: Path) -> timedelta:
    """How far from the real time the last line of an agent's log was written."""
    told = datetime.fromisoformat(json.loads(log.read_text("utf-8").splitlines()[-1])["timestamp"])
    return told - datetime.now(UTC)


@pytest.mark.parametrize("offset", ["+3h", "-3h"])
async def test_the_clock_jumps(stage: Stage, clock: Clock, recovery: Recovery, offset: str) -> None:
    """While one bot waits for its restart and another one for nothing."""
    [bot] = await stage.running(1)
    others = await stage.others([bot])
    with recovery("the clock jumps three hours, forth or back", "nothing is restarted early, late or at all") as row:
        stage.kill_copy(bot)
        await stage.until_status(bot, "starting", "restarting")
        clock.jump(offset)
        row.again()
        await stage.well(others)
        looked = await stage.admin.fetchval("select now()")
        query = "select bool_and(observed_at > $1 and state = 'healthy') from bot_health h join bots b on b.id = h.id"
        query += " where b.deleted_at is null"
        await until(partial(stage.admin.fetchval, query, looked), what="further checks, all well")
        await stage.well(others)
    far = timedelta(hours=int(offset.removesuffix("h")))
    assert abs(_says(stage.launcher_process.log) - far) < timedelta(minutes=10), "its clock did not jump at all"
    times = "select bool_and(abs(extract(epoch from now() - at)) < 600) from (select created_at as at from bot_events"
    times += " union all select observed_at from bot_health where observed_at is not null) told"
    assert await stage.admin.fetchval(times)
