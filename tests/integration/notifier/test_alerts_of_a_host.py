"""An incident of several bots: who is counted in it, what is news beside it, and how it ends."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from tests.api import Person
from tests.integration.notifier.alerts import Health, Jobs, external, hook, incidents
from tests.servers.webhook_receiver import WebhookReceiver


async def neighbours(person: Person, count: int) -> list[UUID]:
    """So many bots of one host."""
    made = []
    for number in range(count):
        at = {"api_url": f"http://127.0.0.9:{9100 + number}"}
        made.append(await external(person, number, **at))
    return made


def titles(receiver: WebhookReceiver) -> list[str]:
    """What was told, in order."""
    return [message["data"]["incident"]["title"] for message in receiver.taken]


async def judged(jobs: Jobs) -> None:
    """Several passes, each with what it told sent: whatever is said twice is said twice here."""
    for _ in range(3):
        await jobs.judge()
        await jobs.tell()


async def test_those_who_came_back_and_fail_again_are_news_while_one_never_did(
    person: Person, health: Health, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    tenant = person.tenant_id
    async with WebhookReceiver() as receiver:
        await hook(person, receiver)
        bots = await neighbours(person, 3)
        for bot in bots:
            await health.down(tenant, bot)
        await judged(jobs)
        for bot in bots[:2]:
            await health.up(tenant, bot)
        await judged(jobs)
        assert titles(receiver) == ["3 bots on 127.0.0.9 are down"]
        await admin.execute("update alert_incidents set told_at = told_at - interval '6 minutes'")
        for bot in bots[:2]:
            await health.down(tenant, bot, since_s=80)
        await judged(jobs)
        assert titles(receiver)[1:] == ["2 bots on 127.0.0.9 are down"]
        assert sorted(one["bots_met"] for one in await incidents(person)) == [2, 3]
        for bot in bots[:2]:
            await health.up(tenant, bot, since_s=75)
        await judged(jobs)
        await person.call("DELETE", f"/bots/{bots[2]}", status=204)
        await judged(jobs)
        assert titles(receiver)[2:] == ["Back again: 2 bots", "Back again: 2 of 3 bots"]
        over = receiver.taken[-1]["data"]["incident"]
        assert (over["resolution"], over["bots_met"], over["bots_over"]) == ("back", 3, 2)
        assert sorted(over["bot_names"]) == ["bot 0", "bot 1"]


async def test_who_joins_is_counted_once_and_named(
    person: Person, health: Health, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    tenant = person.tenant_id
    bots = await neighbours(person, 5)
    for bot in bots[:3]:
        await health.down(tenant, bot)
    await jobs.judge()
    for _ in range(2):
        await health.up(tenant, bots[0])
        await jobs.judge()
        await health.down(tenant, bots[0], since_s=80)
        await jobs.judge()
    await health.down(tenant, bots[3])
    await jobs.judge()
    [found] = await incidents(person)
    assert (found["bots_met"], found["title"]) == (4, "4 bots on 127.0.0.9 are down")
    assert sorted(found["bot_names"]) == ["bot 0", "bot 1", "bot 2", "bot 3"]
    await admin.execute("update alert_incidents set closed_at = now(), resolution = 'back', bot_ids = '{}'")
    await health.up(tenant, bots[0])
    await jobs.judge()
    [again] = await incidents(person)
    assert (again["flaps"], again["title"]) == (1, "3 bots on 127.0.0.9 are down")


async def test_an_end_names_nobody_but_those_whom_it_is_about(
    person: Person, health: Health, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    tenant = person.tenant_id
    bots = await neighbours(person, 3)
    for bot in bots:
        await health.down(tenant, bot)
    await jobs.judge()
    # Two were seen well, and not since; of the third nothing is left to read a name from.
    for bot in bots[:2]:
        await health.up(tenant, bot)
    await jobs.judge()
    for bot in bots[:2]:
        await health.seen(tenant, bot, "stale", reason="rate_limited")
    await person.call("DELETE", f"/bots/{bots[2]}", status=204)
    await admin.execute("delete from bot_health where id = $1", bots[2])
    await jobs.judge()
    [found] = await incidents(person)
    assert (found["title"], found["bot_names"]) == ("No longer watched: 1 of 3 bots", [])
