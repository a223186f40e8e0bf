"""The clock on the wall jumps under the agents: the database's time and monotonic clocks are what they go by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.faults.clock import Clock
from tests.faults.recovery import Recovery
from tests.faults.stage import Stage
from tests.waiting import until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    """The agents' clock."""
    return Clock(tmp_path_factory.mktemp("clock") / "offset")


@pytest.fixture(scope="module")
def agents_environ(clock: Clock) -> Mapping[str, str]:
    """They go by that clock."""
    return clock.environ


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
