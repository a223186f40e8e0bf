"""From a bot's health to a proved message: told once, in order, to its own tenant, and noted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from agents.agent import make_pool
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, Person
from tests.factories import Urls
from tests.integration.notifier.alerts import Health, Jobs, external, hook, incidents, jobs_of, soon
from tests.servers.webhook_receiver import WebhookReceiver
from tests.waiting import until

HOUR = timedelta(hours=1)


async def test_down_and_back_again(person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs) -> None:
    bot = await external(person)
    made = await hook(person, receiver)
    await health.down(person.tenant_id, bot)
    for _ in range(3):
        await jobs.judge()
        await jobs.tell()
    assert receiver.types == ["incident.opened"]
    told = receiver.taken[0]["data"]["incident"]
    assert (told["kind"], told["scope"], told["state"], told["severity"]) == ("bot_down", "bot", "open", "critical")
    assert (told["title"], told["reason"], told["bot_ids"]) == ("bot 0 is down", "unreachable", [str(bot)])
    await health.up(person.tenant_id, bot)
    for _ in range(3):
        await jobs.judge()
        await jobs.tell()
    assert receiver.types == ["incident.opened", "incident.resolved"]
    over = receiver.taken[1]["data"]["incident"]
    assert (over["id"], over["state"], over["resolution"]) == (told["id"], "closed", "back")
    assert over["text"].startswith("It lasted ")
    assert len({identity for identity, _, _ in receiver.offered}) == 2
    [shown] = await incidents(person)
    assert (shown["id"], shown["state"], shown["title"]) == (told["id"], "closed", "Back again: bot 0")
    assert shown["text"] == over["text"]
    assert await incidents(person, state="open") == []
    assert len(await incidents(person, bot_id=str(bot))) == 1
    log = (await person.call("GET", f"/webhooks/{made['id']}/deliveries", status=200))["items"]
    assert [(one["type"], one["attempt"], one["outcome"], one["status_code"]) for one in log] == [
        ("incident.resolved", 1, "delivered", 200),
        ("incident.opened", 1, "delivered", 200),
    ]
    assert all(one["latency_ms"] > 0 and one["error"] is None for one in log)
    assert [one["message_id"] for one in reversed(log)] == [identity for identity, _, _ in receiver.offered]
    assert receiver.refused == []


async def test_one_sight_is_no_alert(person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs) -> None:
    bot = await external(person)
    await hook(person, receiver)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=600)
    await health.seen(person.tenant_id, bot, "unhealthy", reason="timeout", failures=3)
    await jobs.judge()
    assert await incidents(person) == []


async def test_what_was_just_told_again_is_not_reminded_of(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    bot = await external(person)
    await hook(person, receiver)
    await person.call("PATCH", "/alerts/settings", json={"remind_after_seconds": 3600}, status=200)
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await health.up(person.tenant_id, bot)
    await jobs.judge()
    await admin.execute("update alert_incidents set opened_at = now() - interval '2 hours'")
    await health.down(person.tenant_id, bot, since_s=80)
    for _ in range(2):
        await jobs.judge()
    for _ in range(4):
        await jobs.tell()
    assert receiver.types == ["incident.opened", "incident.resolved", "incident.reopened"]


@pytest.mark.parametrize(
    ("state", "columns", "kind"),
    [
        ("unhealthy", {"reason": "auth", "failures": 1}, "credential_expired"),
        ("healthy", {"trading_state": "stopped"}, "trading_stopped"),
    ],
)
async def test_other_troubles(
    person: Person, health: Health, jobs: Jobs, state: str, columns: dict[str, Any], kind: str
) -> None:
    bot = await external(person)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=900, trading_state="running")
    await health.seen(person.tenant_id, bot, state, ago_s=300, **columns)
    await health.seen(person.tenant_id, bot, state, **columns)
    await jobs.judge()
    assert [one["kind"] for one in await incidents(person)] == [kind]


@pytest.mark.parametrize(("problem", "told"), [(None, []), ("auth", ["trading_stopped"])])
async def test_who_asked_a_bot_to_stop_is_not_told_that_it_has(
    person: Person, health: Health, jobs: Jobs, admin: asyncpg.Connection, problem: str | None, told: list[str]
) -> None:
    bot = await external(person)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=900, trading_state="running")
    await admin.execute(
        "insert into bot_trading (id, tenant_id, bot_id, wanted) values (gen_random_uuid(), $1, $2, 'paused')",
        person.tenant_id,
        bot,
    )
    await admin.execute("update bot_trading set problem = $2 where bot_id = $1", bot, problem)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=300, trading_state="stopped")
    await health.seen(person.tenant_id, bot, "healthy", trading_state="stopped")
    await jobs.judge()
    assert [one["kind"] for one in await incidents(person)] == told


async def test_a_bot_that_never_traded_has_not_stopped(person: Person, health: Health, jobs: Jobs) -> None:
    bot = await external(person)
    await health.seen(person.tenant_id, bot, "healthy", ago_s=900, trading_state="stopped")
    await health.seen(person.tenant_id, bot, "healthy", trading_state="stopped")
    await jobs.judge()
    assert await incidents(person) == []


async def test_a_drawdown_is_read_from_our_own_index(
    person: Person, health: Health, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    bot = await external(person)
    limit = {"kind": "drawdown", "bot_id": str(bot), "limit_percent": "10"}
    await person.call("POST", "/alerts/rules", json=limit, status=201)
    now = datetime.now(UTC)
    await health.figure(person.tenant_id, bot, "1.0", now - timedelta(minutes=9))
    await health.figure(person.tenant_id, bot, "1.5", now - timedelta(minutes=8))
    await health.figure(person.tenant_id, bot, "1.36", now - timedelta(minutes=7))
    await health.seen(person.tenant_id, bot, "healthy", trading_state="running")
    await jobs.judge()
    assert await incidents(person) == []
    await health.figure(person.tenant_id, bot, "1.34", now - timedelta(minutes=6))
    await jobs.judge()
    [found] = await incidents(person)
    assert (found["kind"], found["state"], found["title"]) == (
        "drawdown",
        "open",
        "bot 0 has fallen below its drawdown limit",
    )
    assert found["text"] == "It is 10.67 % below the highest value that it has had; the limit is 10 %."
    # A higher peak that was seen between two looks counts as well.
    await health.figure(person.tenant_id, bot, "2.0", now - timedelta(minutes=5))
    await health.figure(person.tenant_id, bot, "1.9", now - timedelta(minutes=4))
    await jobs.judge()
    assert await incidents(person, state="open") == []
    assert await admin.fetchval("select peak from alert_peaks where bot_id = $1", bot) == 2


async def test_a_whole_host_is_one_message(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs
) -> None:
    await hook(person, receiver)
    bots = []
    for number in range(12):
        body = {"api_url": f"http://127.0.0.9:{9100 + number}", "name": f"one {number}"}
        made = await person.call(
            "POST",
            "/bots",
            json={
                "bot_type": "external",
                "engine": "tradewise",
                "credentials": {"token": "a-token-of-sixteen-or-more"},
                **body,
            },
            status=201,
        )
        bots.append(made["id"])
        await health.down(person.tenant_id, made["id"])
    await external(person)
    await jobs.judge()
    await jobs.tell()
    [told] = receiver.taken
    assert told["data"]["incident"]["title"] == "12 bots on 127.0.0.9 are down"
    assert sorted(told["data"]["incident"]["bot_ids"]) == sorted(bots)


async def test_what_fails_is_sent_again_as_it_was_and_what_follows_waits(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    bot = await external(person)
    made = await hook(person, receiver)
    await health.down(person.tenant_id, bot)
    receiver.status = 503
    await jobs.judge()
    await jobs.tell()
    await health.up(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()  # the end is in line behind the beginning
    assert len(receiver.offered) == 1
    wait = await admin.fetchval(
        "select extract(epoch from next_attempt_at - now())::float8 from alert_messages where type = 'incident.opened'"
    )
    assert 1 < wait <= 6
    view = await person.call("GET", f"/webhooks/{made['id']}", status=200)
    assert view["failing_since"] is not None
    await soon(admin)
    await jobs.tell()
    receiver.status = 204
    for _ in range(2):
        await soon(admin)
        await jobs.tell()
    assert receiver.types == ["incident.opened", "incident.resolved"]
    ids = [identity for identity, _, _ in receiver.offered]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert receiver.offered[0][2] == receiver.offered[2][2]
    assert (await person.call("GET", f"/webhooks/{made['id']}", status=200))["failing_since"] is None
    log = (await person.call("GET", f"/webhooks/{made['id']}/deliveries", status=200))["items"]
    assert [(one["outcome"], one["attempt"], one["error"]) for one in reversed(log)] == [
        ("again", 1, "http_503"),
        ("again", 2, "http_503"),
        ("delivered", 3, None),
        ("delivered", 1, None),
    ]


@pytest.mark.parametrize(
    ("told", "least", "most"), [("90", 85, 91), ("999999", 3590, 3601), ("Wed, 21 Oct 2026 07:28:00 GMT", 1, 6)]
)
async def test_a_receiver_that_asks_for_a_rest_gets_an_hour_at_most(
    person: Person,
    health: Health,
    receiver: WebhookReceiver,
    jobs: Jobs,
    admin: asyncpg.Connection,
    told: str,
    least: float,
    most: float,
) -> None:
    bot = await external(person)
    await hook(person, receiver)
    await health.down(person.tenant_id, bot)
    receiver.status, receiver.headers = 429, {"Retry-After": told}
    await jobs.judge()
    await jobs.tell()
    wait = await admin.fetchval("select extract(epoch from next_attempt_at - now())::float8 from alert_messages")
    assert least < wait <= most


async def test_after_a_day_it_is_given_up_and_the_next_goes_on(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    bot = await external(person)
    await hook(person, receiver)
    await health.down(person.tenant_id, bot)
    receiver.status = 500
    await jobs.judge()
    await admin.execute("update alert_messages set attempts = 10")
    await jobs.tell()
    assert await admin.fetchval("select state from alert_messages") == "failed"
    receiver.status = 200
    await health.up(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    assert receiver.types == ["incident.resolved"]


async def test_an_endpoint_that_fails_for_days_is_given_up_and_told(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs, admin: asyncpg.Connection
) -> None:
    async with WebhookReceiver() as other:
        bot = await external(person)
        made = await hook(person, receiver, name="pager")
        await hook(person, other)
        await health.down(person.tenant_id, bot)
        receiver.status = 500
        await jobs.judge()
        await jobs.tell()
        await admin.execute(
            "update alert_channels set failing_since = now() - interval '4 days' where id = $1::text::uuid", made["id"]
        )
        await soon(admin)
        await jobs.tell()
        view = await person.call("GET", f"/webhooks/{made['id']}", status=200)
        assert (view["disabled_reason"], view["enabled"]) == ("failing", True)
        await jobs.tell()
        assert other.types == ["incident.opened", "channel.disabled"]
        assert other.taken[1]["data"]["channel"] == "pager"
        before = len(receiver.offered)
        await health.up(person.tenant_id, bot)
        await jobs.judge()
        await jobs.tell()
        assert len(receiver.offered) == before
        receiver.status = 200
        view = await person.call("PATCH", f"/webhooks/{made['id']}", json={"enabled": True}, status=200)
        assert (view["disabled_at"], view["failing_since"]) == (None, None)


async def test_gone_is_gone_at_once(person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs) -> None:
    bot = await external(person)
    made = await hook(person, receiver)
    await health.down(person.tenant_id, bot)
    receiver.status = 410
    await jobs.judge()
    await jobs.tell()
    assert (await person.call("GET", f"/webhooks/{made['id']}", status=200))["disabled_reason"] == "gone"


async def test_a_rotated_secret_signs_beside_its_successor(
    person: Person, receiver: WebhookReceiver, jobs: Jobs
) -> None:
    made = await hook(person, receiver)
    rotated = await person.call("POST", f"/webhooks/{made['id']}/rotate", json={"overlap_seconds": 3600}, status=201)
    assert rotated["signing_secret"] != made["signing_secret"]
    assert rotated["secret"]["previous_until"] is not None
    await person.call("POST", f"/webhooks/{made['id']}/test", status=202)
    await jobs.tell()
    assert receiver.types == ["channel.test"]  # by the old one
    receiver.secrets = [rotated["signing_secret"]]
    await person.call("POST", f"/webhooks/{made['id']}/test", status=202)
    await jobs.tell()
    assert len(receiver.taken) == 2
    assert len(receiver.offered[-1][1].split(" ")) == 2
    await person.call("POST", f"/webhooks/{made['id']}/rotate", json={"overlap_seconds": 0}, status=201)
    await person.call("POST", f"/webhooks/{made['id']}/test", status=202)
    await jobs.tell()
    assert len(receiver.refused) == 1
    assert len(receiver.taken) == 2


def redirecting(receiver: WebhookReceiver) -> None:
    receiver.status, receiver.headers = 302, {"Location": "http://127.0.0.1:1/"}


def hanging(receiver: WebhookReceiver) -> None:
    receiver.hang = True


def bloated(receiver: WebhookReceiver) -> None:
    receiver.headers = {"X-Big": "x" * 20_000}


def chatty(receiver: WebhookReceiver) -> None:
    receiver.answer = b"y" * 5_000_000


@pytest.mark.parametrize(
    ("arrange", "outcome", "error"),
    [
        (redirecting, "failed", "redirected"),
        (hanging, "failed", "timeout"),
        (bloated, "failed", "too_large"),
        (chatty, "delivered", None),
    ],
)
async def test_what_receivers_answer(
    person: Person, receiver: WebhookReceiver, jobs: Jobs, arrange: Any, outcome: str, error: str | None
) -> None:
    made = await hook(person, receiver)
    arrange(receiver)
    sent = await person.call("POST", f"/webhooks/{made['id']}/test", status=202)
    await jobs.tell()
    [log] = (await person.call("GET", f"/webhooks/{made['id']}/deliveries", status=200))["items"]
    assert (log["outcome"], log["error"], log["message_id"]) == (outcome, error, sent["message_id"])


async def test_a_private_address_is_not_called_whatever_stands_in_the_row(
    person: Person, receiver: WebhookReceiver, settings: Settings, pool: asyncpg.Pool, vault: Vault
) -> None:
    """The rules hold where the call is made: a network that the operator closes is closed from then on."""
    made = await hook(person, receiver)
    await person.call("POST", f"/webhooks/{made['id']}/test", status=202)
    shut = msgspec.structs.replace(settings, egress_allow=())
    async with jobs_of(shut, pool, vault) as strict:
        await strict.tell()
    assert receiver.connections == 0
    [log] = (await person.call("GET", f"/webhooks/{made['id']}/deliveries", status=200))["items"]
    assert (log["outcome"], log["error"]) == ("failed", "egress_refused")


async def test_one_endpoint_that_hangs_keeps_no_other_waiting(
    person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs
) -> None:
    receiver.hang = True
    await hook(person, receiver)
    async with WebhookReceiver() as other:
        await hook(person, other)
        for number in range(8):
            bot = await external(person, number)
            await health.down(person.tenant_id, bot)
            await health.seen(person.tenant_id, await external(person, number + 20), "healthy")
        await jobs.judge()
        wanted = len(await incidents(person))

        async def all_told() -> bool:
            await jobs.webhooks.work()
            return len(other.taken) == wanted

        await until(all_told, what="the other endpoint has everything")
        assert receiver.taken == []
        await jobs.webhooks.settle()


async def test_two_notifiers_judge_and_tell_once(
    person: Person, health: Health, receiver: WebhookReceiver, settings: Settings, urls: Urls, vault: Vault
) -> None:
    bot = await external(person)
    await hook(person, receiver)
    await health.down(person.tenant_id, bot)
    first, second = await make_pool(urls["agent_notifier"], "one"), await make_pool(urls["agent_notifier"], "two")
    async with jobs_of(settings, first, vault) as one, jobs_of(settings, second, vault) as other:
        for _ in range(3):
            await asyncio.gather(one.judge(), other.judge())
            await asyncio.gather(one.tell(), other.tell())
    await first.close()
    await second.close()
    assert receiver.types == ["incident.opened"]


async def test_nobody_hears_of_anothers_bots(
    api: Api, person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs
) -> None:
    other = await api.person("bob")
    async with WebhookReceiver() as theirs:
        await hook(person, receiver)
        await hook(other, theirs)
        bot = await external(person)
        await external(other)
        await health.down(person.tenant_id, bot)
        await jobs.judge()
        await jobs.tell()
        assert receiver.types == ["incident.opened"]
        assert theirs.offered == []
        assert await incidents(other) == []
        problem = await other.call("POST", "/alerts/rules", json={"kind": "bot_down", "bot_id": str(bot)}, status=422)
        assert problem["code"] == "unknown_bot"


async def test_a_rule_names_its_channels(person: Person, health: Health, receiver: WebhookReceiver, jobs: Jobs) -> None:
    async with WebhookReceiver() as chosen:
        await hook(person, receiver)
        only = await hook(person, chosen)
        rules = (await person.call("GET", "/alerts/rules", status=200))["items"]
        down = next(rule for rule in rules if rule["kind"] == "bot_down")
        change = {"channel_ids": [only["id"]], "tell_recovery": False}
        await person.call("PATCH", f"/alerts/rules/{down['id']}", json=change, status=200)
        bot = await external(person)
        await health.down(person.tenant_id, bot)
        await jobs.judge()
        await health.up(person.tenant_id, bot)
        await jobs.judge()
        await jobs.tell()
        assert (chosen.types, receiver.types) == (["incident.opened"], [])
