"""What bots use: a history of bounded length, the present figures, and a curve that outlives a crash."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from agents.launcher.runtimes.lanes import WIDTHS
from tests.api import Api, Person
from tests.integration.launcher.rig import Rig
from tests.servers.sse import events_of
from tests.waiting import until

pytestmark = pytest.mark.engine


async def samples(rig: Rig, bot: UUID) -> int:
    """How many samples of a bot there are."""
    found: int = await rig.admin.fetchval("select count(*) from bot_stats where bot_id = $1", bot)
    return found


async def test_a_busy_bot_shows_a_core_in_its_history_and_live(
    ada: Person, rig: Rig, url: str, rogue_image: str
) -> None:
    bot = await rig.rogue("busy", rogue_image)
    async with rig.launcher(stats_interval=1.0):
        await rig.until_launched(bot)
        async with events_of(url, f"/bots/{bot}/stats?follow=1", ada.token) as events:
            now = await events.until(lambda event: event.name == "stats" and event.data["cpu_cores"] is not None)
        assert 0.05 < now.data["cpu_cores"] < 1.3
        assert 1_000_000 < now.data["memory_bytes"] < now.data["memory_limit_bytes"] == 256 * 1024 * 1024
        assert now.data["processes"] >= 1
        assert now.data["receive_rate"] is not None
        await until(lambda: _many(rig, bot, 3), what="three samples")
        seen = await ada.call("GET", f"/bots/{bot}/stats", status=200)
        assert seen["interval"] == "raw"
        assert seen["restarts"] == 0
        assert [point["cpu_cores"] is None for point in seen["points"][:2]] == [True, False]
        assert 0.05 < seen["points"][-1]["cpu_cores"] < 1.3
        # It dies, and how it lived is kept with how it ended.
        rig.engine.api.kill(rig.containers(bot)[0]["Id"])
        await until(lambda: _ended(rig, bot), what="its end is known")
        curve = json.loads((await rig.last(bot))["resource_curve"])
        assert len(curve) >= 3
        assert all(0 < point["cpu_cores"] < 1.5 for point in curve)
        assert curve == sorted(curve, key=lambda point: point["at"])
        assert await _restarted(ada, bot)


async def _many(rig: Rig, bot: UUID, count: int) -> bool:
    return await samples(rig, bot) >= count


async def _ended(rig: Rig, bot: UUID) -> bool:
    found = "select count(*) from bot_instances where bot_id = $1 and released_at is not null"
    return bool(await rig.admin.fetchval(found, bot))


async def _restarted(ada: Person, bot: UUID) -> bool:
    async def once() -> bool:
        return bool((await ada.call("GET", f"/bots/{bot}/stats", status=200))["restarts"] == 1)

    return await until(once, what="a restart is counted")


async def test_a_copy_that_ends_early_was_seen_once(rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("brief", rogue_image)
    async with rig.launcher():
        await until(lambda: _ended(rig, bot), what="its end is known")
    curve = json.loads(
        await rig.admin.fetchval(
            "select resource_curve from bot_instances where bot_id = $1 and finished_at is not null"
            " order by id limit 1",
            bot,
        )
    )
    assert len(curve) == 1
    assert curve[0]["memory_bytes"] > 0
    assert curve[0]["cpu_cores"] > 0


async def test_without_a_copy_the_reason_is_told(ada: Person, rig: Rig, url: str, rogue_image: str) -> None:
    bot = await rig.rogue("deaf", rogue_image, desired="stopped")
    async with events_of(url, f"/bots/{bot}/stats?follow=1", ada.token) as events:
        assert (await events.next()).data == {"reason": "launcher_absent"}
        async with rig.launcher():
            assert (await events.until(lambda event: event.data != {"reason": "launcher_absent"})).data == {
                "reason": "no_copy"
            }


async def test_sampling_never_waits_in_a_pass_and_costs_the_engine_one_question(rig: Rig, rogue_image: str) -> None:
    bots = [await rig.rogue("deaf", rogue_image) for _ in range(3)]
    async with rig.launcher(stats_interval=2.0):
        for bot in bots:
            await rig.until_launched(bot)
        for bot in bots:
            await until(lambda bot=bot: _many(rig, bot, 2), what="two samples")  # type: ignore[misc]
        samplers = [thread for thread in threading.enumerate() if thread.name.startswith("engine-sample")]
        assert 1 <= len(samplers) <= WIDTHS["sample"]


async def history(rig: Rig, bot: UUID, begin: datetime, count: int, step: timedelta, copy: UUID) -> None:
    """Samples of a copy that uses half a core and reads a thousand bytes a second."""
    await rig.admin.execute(
        "insert into bot_stats (tenant_id, bot_id, observed_at, instance_id, cpu_seconds, memory_bytes, received_bytes,"
        " sent_bytes) select $1, $2, $3::timestamptz + n * $5::interval, $6,"
        " extract(epoch from n * $5::interval) / 2, 1000 + n,"
        " (extract(epoch from n * $5::interval) * 1000)::bigint, null from generate_series(0, $4 - 1) n",
        rig.owner.tenant_id,
        bot,
        begin,
        count,
        step,
        copy,
    )


async def test_a_long_history_is_told_in_five_hundred_points(ada: Person, rig: Rig) -> None:
    bot = await rig.bot(desired="stopped")
    # As many intervals of five minutes at every time of day: each copy fills a hundred.
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=20)
    first, second = UUID(str(uuid7())), UUID(str(uuid7()))
    await history(rig, bot, begin, 1000, timedelta(seconds=30), first)
    await history(rig, bot, begin + timedelta(hours=10), 1000, timedelta(seconds=30), second)
    seen = await ada.call("GET", f"/bots/{bot}/stats", status=200)
    points = seen["points"]
    assert seen["interval"] == "5m"
    assert len(points) == 200
    unknown = [point for point in points if point["cpu_cores"] is None]
    # Between two copies nothing is made up: each begins without a rate.
    assert [point["instance_id"] for point in unknown] == [str(first), str(second)]
    assert {point["cpu_cores"] for point in points} == {None, 0.5}
    assert {point["receive_rate"] for point in points} == {None, 1000.0}
    assert {point["send_rate"] for point in points} == {None}
    # The most there was, not whatever came last or a mean that hides a peak.
    assert points[-1]["memory_bytes"] == 1999
    hour = {"from": (begin + timedelta(hours=2)).isoformat(), "to": (begin + timedelta(hours=3)).isoformat()}
    narrow = await ada.call("GET", f"/bots/{bot}/stats", params=hour, status=200)
    assert narrow["interval"] == "raw"
    assert len(narrow["points"]) in {120, 121}
    assert {point["cpu_cores"] for point in narrow["points"]} == {0.5}
    for wrong in ({"from": "2026-01-01T00:00:00"}, {"from": hour["to"], "to": hour["from"]}):
        assert (await ada.call("GET", f"/bots/{bot}/stats", params=wrong, status=422))["errors"]


async def test_figures_are_kept_for_some_days(watched_api: Api, rig: Rig) -> None:
    parts = "select count(*) from pg_inherits where inhparent = 'bot_stats'::regclass"
    before = await rig.admin.fetchval(parts)
    assert before >= 9
    old = datetime.now(UTC) - timedelta(days=8)
    name = f"bot_stats_{old:%Y_%m_%d}"
    await rig.admin.execute("set role tradewise_owner")
    await rig.admin.execute(
        f"create table {name} partition of bot_stats for values from ('{old:%Y-%m-%d}') to"
        f" ('{old + timedelta(days=1):%Y-%m-%d}')"
    )
    await rig.admin.execute("reset role")
    assert await watched_api.scheduler.retire_stats() == 1
    assert await rig.admin.fetchval(parts) == before
    assert await watched_api.scheduler.retire_stats() == 0
