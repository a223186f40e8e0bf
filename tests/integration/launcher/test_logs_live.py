"""A bot's output as it comes: to whoever follows, copy after copy, without secrets; what is missing is told."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from tests.api import Api, Person
from tests.integration.launcher.rig import TOKEN, Rig
from tests.integration.launcher.wire import Wire
from tests.servers.sse import events_of
from tests.waiting import until

pytestmark = pytest.mark.engine

SECRET = "planted-config-secret"


def numbers(lines: list[dict[str, object]]) -> list[int]:
    """Which of the chatty bot's lines these are."""
    return [int(str(line["text"]).split()[1]) for line in lines if str(line["text"]).startswith("line ")]


async def test_a_follower_sees_each_line_once_and_goes_on_where_it_left(
    ada: Person, rig: Rig, url: str, rogue_image: str
) -> None:
    bot = await rig.rogue("chatty", rogue_image)
    async with rig.launcher():
        await rig.until_launched(bot)
        async with events_of(url, f"/bots/{bot}/logs?follow=1", ada.token) as first:
            await first.lines(30)
            assert first.seen[0].name == "copy"
        async with events_of(url, f"/bots/{bot}/logs?follow=1", ada.token, first.position) as second:
            await second.lines(30)
    seen = numbers(first.told) + numbers(second.told)
    assert seen == list(range(1, len(seen) + 1))
    assert {event.name for event in first.seen + second.seen} == {"copy", "lines"}
    positions = [line["position"] for line in first.told + second.told]
    assert positions == sorted(set(positions))


async def test_followers_share_one_stream_and_leave_nothing_behind(
    watched_api: Api, ada: Person, rig: Rig, url: str, rogue_image: str
) -> None:
    bot = await rig.rogue("chatty", rogue_image)
    feeds = watched_api.client._transport.app.state.feeds  # type: ignore[attr-defined]
    async with rig.launcher() as launcher:
        await rig.until_launched(bot)
        path = f"/bots/{bot}/logs?follow=1&tail=5"
        async with events_of(url, path, ada.token) as first, events_of(url, path, ada.token) as second:
            assert len(await first.lines(40)) >= 40
            assert len(await second.lines(40)) >= 40
            assert feeds.count == 1
            assert len(launcher._live._watching._streams) == 1
        await until(lambda: feeds.count == 0, what="nobody follows")
        await until(lambda: not launcher._live._watching._streams, what="nothing is read", deadline_s=40.0)
    ours = {line["position"]: line["text"] for line in first.told}
    theirs = {line["position"]: line["text"] for line in second.told}
    assert all(ours[position] == theirs[position] for position in ours.keys() & theirs.keys())


async def test_a_launcher_that_is_replaced_meanwhile_costs_no_line_and_doubles_none(
    ada: Person, rig: Rig, url: str, rogue_image: str
) -> None:
    bot = await rig.rogue("chatty", rogue_image)
    async with rig.launcher():
        await rig.until_launched(bot)
        stream = events_of(url, f"/bots/{bot}/logs?follow=1", ada.token)
        events = await stream.__aenter__()
        before = len(await events.lines(20))
    try:
        async with rig.launcher():
            await events.lines(before + 40)
    finally:
        await stream.__aexit__(None, None, None)
    seen = numbers(events.told)
    assert seen == list(range(1, len(seen) + 1))
    assert "dropped" not in {event.name for event in events.seen}


async def test_a_database_that_cuts_everybody_off_costs_no_line(
    ada: Person, rig: Rig, url: str, rogue_image: str
) -> None:
    bot = await rig.rogue("chatty", rogue_image)
    async with rig.launcher():
        await rig.until_launched(bot)
        async with events_of(url, f"/bots/{bot}/logs?follow=1", ada.token) as events:
            before = len(await events.lines(20))
            cut = await rig.admin.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where datname = current_database() and usename in ('tradewise_api', 'tradewise_agent_launcher')"
            )
            assert cut > 3
            await events.lines(before + 60)
    seen = numbers(events.told)
    assert seen == list(range(1, len(seen) + 1))


async def test_an_engine_that_is_out_of_reach_is_told_and_read_on_from_there(
    ada: Person, rig: Rig, url: str, rogue_image: str, tmp_path: Path
) -> None:
    bot = await rig.rogue("chatty", rogue_image)
    wire = Wire(tmp_path / "wire.sock", str(rig.settings.docker_host))
    await wire.join()
    async with rig.launcher(docker_host=wire.url):
        await rig.until_launched(bot)
        async with events_of(url, f"/bots/{bot}/logs?follow=1", ada.token) as events:
            before = len(await events.lines(20))
            await wire.cut()
            waits = await events.until(lambda event: event.name == "waiting")
            assert waits.data == {"reason": "engine_unreachable"}
            await wire.join()
            await events.lines(before + 40)
    await wire.cut()
    seen = numbers(events.told)
    assert seen == list(range(1, len(seen) + 1))


async def test_a_crash_ends_a_copy_and_the_next_one_goes_on(ada: Person, rig: Rig, url: str, rogue_image: str) -> None:
    bot = await rig.rogue("exit 3", rogue_image)
    async with events_of(url, f"/bots/{bot}/logs?follow=1", ada.token) as events, rig.launcher():
        await rig.until_status(bot, "error", "crash_loop")
        await events.until(lambda _: len([one for one in events.seen if one.name == "ended"]) >= 6)
    copies = [event.data["instance_id"] for event in events.seen if event.name == "copy"]
    assert len(copies) == len(set(copies)) == 6
    said = [line["text"] for line in events.told]
    assert said == ["token (redacted) config (redacted)", "last words"] * 6
    kept = await ada.call("GET", f"/bots/{bot}/logs", status=200)
    assert (kept["source"], kept["complete"]) == ("kept", True)
    assert [line["text"] for line in kept["items"]] == said[:2]


async def test_what_a_copy_kept_is_read_without_any_launcher(ada: Person, rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("exit 78", rogue_image)
    async with rig.launcher():
        await rig.until_status(bot, "error", "config_rejected")
    kept = await ada.call("GET", f"/bots/{bot}/logs?tail=1", status=200)
    assert [(line["text"], line["position"]) for line in kept["items"]] == [("last words", None)]


async def test_the_last_lines_of_a_running_bot_are_had_at_once(ada: Person, rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("chatty", rogue_image)
    async with rig.launcher():
        await rig.until_launched(bot)
        await until(lambda: _more_than(ada, bot, 20), what="twenty lines")
        seen = await ada.call("GET", f"/bots/{bot}/logs?tail=10", status=200)
        assert (seen["source"], seen["complete"], seen["reason"]) == ("live", True, None)
        assert len(seen["items"]) == 10
        found = numbers(seen["items"])
        assert found == list(range(found[0], found[0] + 10))
        assert seen["position"] == seen["items"][-1]["position"]
        since = seen["items"][-3]["at"].replace("+00:00", "Z")
        later = await ada.call("GET", f"/bots/{bot}/logs?since={since}", status=200)
        assert numbers(later["items"])[0] == found[-3]
    await rig.admin.execute("delete from agent_beats")
    away = await ada.call("GET", f"/bots/{bot}/logs?tail=10", status=200)
    assert (away["source"], away["complete"], away["reason"]) == ("live", False, "launcher_absent")
    assert away["items"]


async def _more_than(ada: Person, bot: UUID, count: int) -> bool:
    return len((await ada.call("GET", f"/bots/{bot}/logs", status=200))["items"]) > count


async def test_secrets_stay_out_however_they_are_written(ada: Person, rig: Rig, url: str, rogue_image: str) -> None:
    bot = await rig.rogue("leaky", rogue_image)
    async with rig.launcher():
        await rig.until_launched(bot)
        async with events_of(url, f"/bots/{bot}/logs?follow=1", ada.token) as events:
            await events.until(lambda _: any(line["text"].startswith("seen") for line in events.told))
    assert len(events.told) == 6
    everything = "".join(line["text"] for line in events.told)
    stored = str(await rig.admin.fetch("select lines from bot_log_lines"))
    for text in (everything, stored):
        assert TOKEN not in text
        assert TOKEN[12:] not in text
        assert SECRET not in text
        assert TOKEN[:12] not in text
    assert [line["text"] for line in events.told if "seen" in line["text"]] == ["seen (redacted)"]


async def test_a_bot_that_floods_its_log_is_read_in_part_and_it_is_told(
    ada: Person, rig: Rig, url: str, rogue_image: str
) -> None:
    bot, other = await rig.rogue("flood", rogue_image), await rig.rogue("chatty", rogue_image)
    async with rig.launcher():
        await rig.until_launched(bot)
        await rig.until_launched(other)
        async with (
            events_of(url, f"/bots/{bot}/logs?follow=1", ada.token) as events,
            events_of(url, f"/bots/{other}/logs?follow=1", ada.token) as calm,
        ):
            told = await events.until(lambda event: event.name == "dropped")
            assert told.data["lines"] >= 0
            await events.lines(1500)
            await calm.lines(50)
        rows = await rig.admin.fetchrow(
            "select sum(jsonb_array_length(lines)) as lines, count(*) as rows from bot_log_lines where bot_id = $1", bot
        )
        assert rows["lines"] < 8000
    seen = numbers(calm.told)
    assert seen == list(range(1, len(seen) + 1))


async def test_nobody_elses_bot_is_followed(watched_api: Api, ada: Person, rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("chatty", rogue_image)
    bob = await watched_api.person("bob")
    other = await rig.rogue("chatty", rogue_image, desired="stopped")
    body = {"name": "narrow", "scopes": ["bots:read"], "bot_ids": [str(other)]}
    narrow = await ada.call("POST", "/api-keys", json=body, status=201)
    async with rig.launcher():
        await rig.until_launched(bot)
        for token in (bob.token, narrow["key"]):
            for path in ("logs", "logs?follow=1", "stats", "stats?follow=1"):
                answer = await watched_api.client.get(
                    f"/api/v1/bots/{bot}/{path}", headers={"Authorization": f"Bearer {token}"}
                )
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert await rig.admin.fetchval("select count(*) from bot_follows") == 0


async def test_a_stream_ends_when_its_bot_is_taken_away(
    ada: Person, rig: Rig, url: str, rogue_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.live.logs.CHECK_EVERY_S", 0.05)
    monkeypatch.setattr("control_plane.live.waiting.QUIET_S", 0.2)
    bot = await rig.rogue("chatty", rogue_image)
    async with rig.launcher():
        await rig.until_launched(bot)
        async with events_of(url, f"/bots/{bot}/logs?follow=1", ada.token) as events:
            await events.lines(5)
            await ada.call("DELETE", f"/bots/{bot}", status=204)
            with pytest.raises(StopAsyncIteration):
                await events.until(lambda _: False)


async def test_a_slow_reader_is_told_what_it_missed_and_holds_nothing_here(
    watched_api: Api, ada: Person, rig: Rig, url: str
) -> None:
    """Rows as the launcher writes them, more than are kept, while a follower does not read."""
    bot, copy = await rig.bot(desired="stopped"), UUID(int=7)
    feeds = watched_api.client._transport.app.state.feeds  # type: ignore[attr-defined]
    write = (
        "insert into bot_log_lines (tenant_id, bot_id, position, first, chain, instance_id, lines, total_lines,"
        " total_bytes) select $1, $2, n * 100, n * 100 - 99, 1, $3, (select jsonb_agg(jsonb_build_array(m, 'o',"
        " repeat('x', 500))) from generate_series(1, 100) m), n * 100, n * 50000"
        " from generate_series($4::int, $5::int) n"
    )
    async with events_of(url, f"/bots/{bot}/logs?follow=1", ada.token) as events:
        await rig.admin.execute(write, rig.owner.tenant_id, bot, copy, 1, 1)
        await events.lines(100)
        # Nobody reads any more: what the sockets take is taken, then the stream waits where it is.
        await rig.admin.execute(write, rig.owner.tenant_id, bot, copy, 2, 1200)
        [feed] = feeds._feeds.values()
        await until(lambda: feed._newest == 120_000, what="the feed has read everything")
        assert len(feed._rows) == 64
        await rig.admin.execute("delete from bot_log_lines where position <= 115000")
        await events.until(lambda _: events.told and events.told[-1]["position"] == 120_000)
    positions = [line["position"] for line in events.told]
    assert positions == sorted(set(positions))
    dropped = [event.data for event in events.seen if event.name == "dropped"]
    assert sum(item["lines"] for item in dropped) == 120_000 - len(positions)
    assert len(dropped) == 1
    assert not dropped[0]["at_least"]


async def test_a_tenant_follows_only_so_much(
    watched_api: Api, ada: Person, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await rig.bot(desired="stopped")
    monkeypatch.setattr("control_plane.live.feeds.MOST_A_TENANT", 2)
    feeds = watched_api.client._transport.app.state.feeds  # type: ignore[attr-defined]
    async with feeds.follow(ada.tenant_id, bot, "logs"), feeds.follow(ada.tenant_id, bot, "stats"):
        refused = await ada.call("GET", f"/bots/{bot}/stats?follow=1", status=429)
        assert refused["code"] == "too_many_followers"
    assert feeds.count == 0
    assert not feeds._counts
