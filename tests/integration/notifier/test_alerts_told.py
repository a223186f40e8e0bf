"""What a message says of its trouble, and who is told how it ended."""

from __future__ import annotations

import asyncpg
import pytest

from tests.api import Person
from tests.integration.notifier.alerts import Health, Jobs, external, hook, incidents
from tests.servers.webhook_receiver import WebhookReceiver


async def test_who_was_never_told_of_the_beginning_is_not_told_of_the_end(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs
) -> None:
    first, second = await external(person), await external(person, 1)
    await external(person, 2)
    await health.down(person.tenant_id, first)
    await jobs.judge()
    await hook(person, receiver)
    await health.down(person.tenant_id, second)
    await jobs.judge()
    await health.up(person.tenant_id, first)
    await health.up(person.tenant_id, second)
    await jobs.judge()
    for _ in range(3):
        await jobs.tell()
    told = [(message["type"], message["data"]["incident"]["bot_names"]) for message in receiver.taken]
    assert told == [("incident.opened", ["bot 1"]), ("incident.resolved", ["bot 1"])]


async def test_what_was_told_long_ago_still_has_an_end(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    bot = await external(person)
    await hook(person, receiver)
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    await admin.execute("update alert_messages set settled_at = now() - interval '31 days'")
    await jobs.incidents.clear()
    await health.up(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    assert receiver.types == ["incident.opened", "incident.resolved"]
    await admin.execute("update alert_messages set settled_at = now() - interval '31 days'")
    await jobs.incidents.clear()
    assert await admin.fetchval("select count(*) from alert_messages") == 0


@pytest.mark.parametrize(
    ("reason", "title", "over"),
    [
        ("exchange_unreachable", "bot 0 is cut off from its exchange", "Well again: bot 0"),
        ("loop_stalled", "bot 0's trading loop stands still", "Well again: bot 0"),
        ("bad_payload", "bot 0 is down", "Back again: bot 0"),
    ],
)
async def test_a_bot_that_answers_is_not_told_to_be_down(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs, reason: str, title: str, over: str
) -> None:
    bot = await external(person)
    await hook(person, receiver)
    await health.down(person.tenant_id, bot, reason=reason)
    await jobs.judge()
    [shown] = await incidents(person)
    await health.up(person.tenant_id, bot)
    await jobs.judge()
    for _ in range(2):
        await jobs.tell()
    told, end = (message["data"]["incident"] for message in receiver.taken)
    assert (told["kind"], told["reason"], told["title"], shown["title"]) == ("bot_down", reason, title, title)
    assert told["text"]
    assert told["text"] == shown["text"]
    assert end["title"] == over
