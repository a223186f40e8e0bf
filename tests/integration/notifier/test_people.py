"""How people are told: by mail, in a chat that has proved itself, and not while they sleep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from agents.notifier.carriers import SmtpCarrier
from agents.notifier.outbox import Outbox
from control_plane.mail.relay import parse_relay
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, Person
from tests.integration.notifier.alerts import Health, Jobs, external, hook, jobs_of, soon
from tests.integration.notifier.conftest import NotifierMaker
from tests.servers.mail_relay import MailRelay
from tests.servers.telegram_server import TelegramServer
from tests.servers.webhook_receiver import WebhookReceiver

TOKEN = "4711:planted-bot-token"


@pytest.fixture
async def chats() -> AsyncIterator[TelegramServer]:
    async with TelegramServer(TOKEN) as running:
        yield running


@pytest.fixture
def telling(settings: Settings, chats: TelegramServer) -> Settings:
    return msgspec.structs.replace(settings, telegram_api=chats.url, telegram_bot_token=TOKEN)


@pytest.fixture
async def jobs(telling: Settings, pool: asyncpg.Pool, vault: Vault) -> AsyncIterator[Jobs]:
    async with jobs_of(telling, pool, vault) as made:
        yield made


@pytest.fixture
async def person(api: Api, admin: asyncpg.Connection) -> Person:
    """Somebody whose address is verified."""
    made = await api.person()
    await admin.execute("update users set email_verified_at = now() where id = $1", made.user_id)
    return made


@pytest.fixture
async def bot(person: Person) -> Any:
    return await external(person)


async def mail(person: Person) -> dict[str, Any]:
    made: dict[str, Any] = await person.call("POST", "/alerts/channels", json={"kind": "email"}, status=201)
    return made


async def chat(person: Person, chats: TelegramServer, jobs: Jobs) -> dict[str, Any]:
    """A chat that has proved itself."""
    made: dict[str, Any] = await person.call(
        "POST", "/alerts/channels", json={"kind": "telegram", "chat_id": "-100777"}, status=201
    )
    await jobs.tell()
    code = chats.sent.pop()["text"].split("<code>")[1].split("</code>")[0]
    await person.call("POST", f"/alerts/channels/{made['id']}/verify", json={"code": code}, status=200)
    return made


async def carried(pool: asyncpg.Pool, vault: Vault) -> list[Any]:
    """What a relay gets of the outbox."""
    async with MailRelay() as relay:
        carrier = SmtpCarrier(parse_relay(f"smtp://127.0.0.1:{relay.port}"))
        await Outbox(pool, vault, carrier, "TradeWise <noreply@example.com>").work()
        return [message for message in relay.taken if "[TradeWise]" in (message["Subject"] or "")]


async def test_a_mail_to_a_verified_member(
    person: Person, bot: Any, health: Health, jobs: Jobs, pool: asyncpg.Pool, vault: Vault, admin: asyncpg.Connection
) -> None:
    view = await mail(person)
    assert (view["verified"], view["target"], view["user_id"]) == (True, person.email, str(person.user_id))
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    # A second try after a cut between the letter and the note puts no second mail there.
    await admin.execute("update alert_messages set state = 'pending', settled_at = null, next_attempt_at = now()")
    await jobs.tell()
    [sent] = await carried(pool, vault)
    assert (sent["To"], sent["Subject"]) == (person.email, "[TradeWise] bot 0 is down")
    assert "Nothing answered at the bot's address." in sent.get_content()
    [told] = (await person.call("GET", f"/alerts/channels/{view['id']}/messages", status=200))["items"]
    assert (told["type"], told["state"], told["error"]) == ("incident.opened", "sent", None)


async def test_no_mail_to_an_address_that_is_not_verified(api: Api) -> None:
    stranger = await api.person("bob")
    problem = await stranger.call("POST", "/alerts/channels", json={"kind": "email"}, status=422)
    assert problem["code"] == "email_not_verified"


async def test_no_mail_to_somebody_elsewhere_or_who_has_left(
    api: Api, person: Person, bot: Any, health: Health, jobs: Jobs, pool: asyncpg.Pool, vault: Vault,
    admin: asyncpg.Connection,
) -> None:  # fmt: skip
    other = await api.person("bob")
    body = {"kind": "email", "user_id": str(other.user_id)}
    assert (await person.call("POST", "/alerts/channels", json=body, status=422))["code"] == "not_a_member"
    view = await mail(person)
    await admin.execute("update users set email_verified_at = null where id = $1", person.user_id)
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    assert await carried(pool, vault) == []
    view = await person.call("GET", f"/alerts/channels/{view['id']}", status=200)
    assert view["disabled_reason"] == "no_verified_address"


async def test_a_chat_proves_itself_before_anything_is_told_there(
    person: Person, bot: Any, health: Health, jobs: Jobs, chats: TelegramServer, admin: asyncpg.Connection
) -> None:
    body = {"kind": "telegram", "chat_id": "-100200300"}
    made = await person.call("POST", "/alerts/channels", json=body, status=201)
    assert (made["verified"], made["target"]) == (False, "…0300")
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    [sent] = chats.sent
    assert (sent["chat_id"], sent["parse_mode"]) == ("-100200300", "HTML")
    code = sent["text"].split("<code>")[1].split("</code>")[0]
    path = f"/alerts/channels/{made['id']}"
    assert (await person.call("POST", f"{path}/test", status=409))["code"] == "not_verified"
    assert (await person.call("POST", f"{path}/verify", json={"code": "WRONG"}, status=422))["code"] == "invalid_code"
    assert await admin.fetchval("select code_tries from alert_channels") == 1
    assert (await person.call("POST", f"{path}/verify", json={"code": code}, status=200))["verified"]
    assert (await person.call("POST", f"{path}/verify", json={"code": code}, status=422))["code"] == "invalid_code"
    await person.call("POST", f"{path}/test", status=202)
    await jobs.tell()
    assert chats.sent[-1]["text"].startswith("<b>This is a test</b>")
    assert await admin.fetchval("select count(*) from channel_secrets where kind = 'code'") == 0


async def test_a_code_dies_of_five_wrong_tries(person: Person, jobs: Jobs, chats: TelegramServer) -> None:
    body = {"kind": "telegram", "chat_id": "42"}
    made = await person.call("POST", "/alerts/channels", json=body, status=201)
    await jobs.tell()
    code = chats.sent[0]["text"].split("<code>")[1].split("</code>")[0]
    path = f"/alerts/channels/{made['id']}/verify"
    for _ in range(5):
        await person.call("POST", path, json={"code": "NO"}, status=422)
    await person.call("POST", path, json={"code": code}, status=422)


async def test_what_is_typed_is_text_in_a_chat(
    person: Person, health: Health, jobs: Jobs, chats: TelegramServer
) -> None:
    await chat(person, chats, jobs)
    bot = await external(person, 3)
    await person.call("PATCH", f"/bots/{bot}", json={"name": "<b>&grid</b>"}, status=200)
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    assert chats.sent[-1]["text"].splitlines()[0] == "<b>&lt;b&gt;&amp;grid&lt;/b&gt; is down</b>"


async def test_a_chat_that_is_closed_is_given_up(
    person: Person, bot: Any, health: Health, jobs: Jobs, chats: TelegramServer
) -> None:
    made = await chat(person, chats, jobs)
    chats.failure = (403, "Forbidden: bot was kicked from the group chat", None)
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    view = await person.call("GET", f"/alerts/channels/{made['id']}", status=200)
    assert view["disabled_reason"] == "chat_closed"


async def test_telegram_says_when_to_come_again(
    person: Person, bot: Any, health: Health, jobs: Jobs, chats: TelegramServer, admin: asyncpg.Connection
) -> None:
    await chat(person, chats, jobs)
    chats.failure = (429, "Too Many Requests: retry after 77", {"retry_after": 77})
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    wait = await admin.fetchval(
        "select extract(epoch from next_attempt_at - now())::float8 from alert_messages where state = 'pending'"
    )
    assert 70 < wait <= 77
    chats.failure = None
    await soon(admin)
    await jobs.tell()
    assert chats.sent[-1]["text"].startswith("<b>bot 0 is down</b>")


async def test_the_token_and_the_chat_are_in_no_row_and_no_log(
    person: Person, jobs: Jobs, chats: TelegramServer, admin: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    chats.failure = (500, f"echo {TOKEN}", None)
    await person.call("POST", "/alerts/channels", json={"kind": "telegram", "chat_id": "987654321012"}, status=201)
    await jobs.tell()
    await chats.close_port()
    await admin.execute("update alert_messages set state = 'pending', next_attempt_at = now()")
    await jobs.tell()
    said = "".join(capsys.readouterr())
    for table in ("alert_channels", "alert_messages", "channel_secrets", "audit_events"):
        said += await admin.fetchval(f"select coalesce(string_agg(t::text, ' '), '') from {table} t")
    assert await admin.fetchval("select error from alert_messages") == "telegram_unreachable"
    for secret in (TOKEN, "planted-bot-token", "987654321012"):
        assert secret not in said


async def test_without_a_bot_no_chat_is_taken(
    person: Person, settings: Settings, notifier_with: NotifierMaker, admin: asyncpg.Connection
) -> None:
    bare = await notifier_with()
    await bare.beat()
    body = {"kind": "telegram", "chat_id": "1"}
    problem = await person.call("POST", "/alerts/channels", json=body, status=409)
    assert problem["code"] == "telegram_not_set_up"
    assert await admin.fetchval("select count(*) from alert_channels") == 0
    # One of several notifiers has the bot; one that is gone says nothing.
    other = await notifier_with(TELEGRAM_BOT_TOKEN=TOKEN, TELEGRAM_API="http://127.0.0.1:1")
    await other.beat()
    await person.call("POST", "/alerts/channels", json=body, status=201)
    await admin.execute("update agent_beats set beat_at = now() - interval '1 hour' where id = $1", other.process_id)
    await person.call("POST", "/alerts/channels", json=body, status=409)
    await admin.execute("update agent_beats set beat_at = now() - interval '1 hour'")
    await person.call("POST", "/alerts/channels", json=body, status=201)


async def test_a_code_that_did_not_arrive_is_said_so_at_the_channel(
    person: Person, settings: Settings, pool: asyncpg.Pool, vault: Vault, admin: asyncpg.Connection
) -> None:
    bare = msgspec.structs.replace(settings, telegram_bot_token=None)
    made = await person.call("POST", "/alerts/channels", json={"kind": "telegram", "chat_id": "1"}, status=201)
    assert made["code_error"] is None
    async with jobs_of(bare, pool, vault) as jobs:
        await jobs.tell()
    view = await person.call("GET", f"/alerts/channels/{made['id']}", status=200)
    assert (view["verified"], view["code_error"]) == (False, "telegram_not_set_up")
    [listed] = (await person.call("GET", "/alerts/channels", status=200))["items"]
    assert listed == view


def around_now(hours: float) -> dict[str, Any]:
    """Quiet hours in UTC from an hour ago until so many hours from now."""
    now = datetime.now(UTC)
    return {
        "start": f"{now - timedelta(hours=1):%H:%M}",
        "end": f"{now + timedelta(hours=hours):%H:%M}",
        "time_zone": "UTC",
    }


async def test_quiet_hours_hold_and_then_sum_up(
    person: Person, health: Health, jobs: Jobs, chats: TelegramServer, admin: asyncpg.Connection
) -> None:
    await chat(person, chats, jobs)
    settings = await person.call("PATCH", "/alerts/settings", json={"quiet_hours": around_now(2)}, status=200)
    assert settings["quiet_until"] is not None
    async with WebhookReceiver() as receiver:
        await hook(person, receiver)
        bots = [await external(person, number) for number in range(4)]
        for one in bots[:2]:
            await health.seen(person.tenant_id, one, "healthy", ago_s=900, trading_state="running")
            await health.seen(person.tenant_id, one, "healthy", ago_s=300, trading_state="stopped")
            await health.seen(person.tenant_id, one, "healthy", trading_state="stopped")
        for one in bots[2:]:
            await health.seen(person.tenant_id, one, "healthy", trading_state="running")
        await jobs.judge()
        await health.seen(person.tenant_id, bots[0], "healthy", ago_s=120, trading_state="running")
        await health.seen(person.tenant_id, bots[0], "healthy", trading_state="running")
        await jobs.judge()
        for _ in range(2):
            await jobs.tell()
        assert sorted(receiver.types) == ["incident.opened", "incident.opened", "incident.resolved"]
        assert chats.sent == []
        assert await admin.fetchval("select count(*) from alert_messages where state = 'held'") == 3
        await admin.execute("update alert_messages set release_at = now() where state = 'held'")
        await jobs.judge()
        await jobs.tell()
    [summary] = chats.sent
    head, *lines = summary["text"].splitlines()
    assert head == "<b>While it was quiet: 2 incidents</b>"
    assert sorted(line.partition(",")[0] for line in lines) == ["- Trading again: bot 0", "- bot 1 has stopped trading"]
    assert await admin.fetchval("select count(*) from alert_messages where state = 'summarised'") == 3
    await jobs.judge()
    await jobs.tell()
    assert len(chats.sent) == 1


@pytest.mark.parametrize("breaks", [True, False])
async def test_critical_ones_break_through_where_the_tenant_says_so(
    person: Person, bot: Any, health: Health, jobs: Jobs, chats: TelegramServer, *, breaks: bool
) -> None:
    await chat(person, chats, jobs)
    change = {"quiet_hours": around_now(2), "critical_breaks_quiet": breaks}
    await person.call("PATCH", "/alerts/settings", json=change, status=200)
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    assert len(chats.sent) == breaks


async def test_a_held_warning_keeps_no_critical_one_waiting(
    person: Person, health: Health, jobs: Jobs, chats: TelegramServer, admin: asyncpg.Connection
) -> None:
    await chat(person, chats, jobs)
    change = {"quiet_hours": around_now(2), "critical_breaks_quiet": True}
    await person.call("PATCH", "/alerts/settings", json=change, status=200)
    stopped, dead = [await external(person, number) for number in range(2)]
    await health.seen(person.tenant_id, stopped, "healthy", ago_s=900, trading_state="running")
    await health.seen(person.tenant_id, stopped, "healthy", ago_s=300, trading_state="stopped")
    await health.seen(person.tenant_id, stopped, "healthy", trading_state="stopped")
    await jobs.judge()
    await health.down(person.tenant_id, dead)
    await jobs.judge()
    await jobs.tell()
    assert [sent["text"].splitlines()[0] for sent in chats.sent] == ["<b>bot 1 is down</b>"]
    assert await admin.fetchval("select count(*) from alert_messages where state = 'held'") == 1


async def test_what_is_held_of_an_incident_stays_before_what_follows_of_it(
    person: Person, bot: Any, health: Health, jobs: Jobs, chats: TelegramServer
) -> None:
    await chat(person, chats, jobs)
    await person.call("PATCH", "/alerts/settings", json={"quiet_hours": around_now(2)}, status=200)
    await health.down(person.tenant_id, bot)
    await jobs.judge()
    await person.call("PATCH", "/alerts/settings", json={"critical_breaks_quiet": True}, status=200)
    await health.up(person.tenant_id, bot)
    await jobs.judge()
    await jobs.tell()
    assert chats.sent == []


async def test_a_channel_given_up_while_it_was_quiet_is_told_afterwards(
    person: Person, bot: Any, health: Health, jobs: Jobs, chats: TelegramServer, admin: asyncpg.Connection
) -> None:
    await chat(person, chats, jobs)
    await person.call("PATCH", "/alerts/settings", json={"quiet_hours": around_now(2)}, status=200)
    async with WebhookReceiver() as receiver:
        await hook(person, receiver, name="pager")
        receiver.status = 410
        await health.down(person.tenant_id, bot)
        await jobs.judge()
        await jobs.tell()
    assert chats.sent == []
    await admin.execute("update alert_messages set release_at = now() where state = 'held'")
    await jobs.judge()
    for _ in range(2):
        await jobs.tell()
    assert [sent["text"].splitlines()[0] for sent in chats.sent] == [
        "<b>The channel “pager” was switched off</b>",
        "<b>While it was quiet: 1 incident</b>",
    ]


async def test_settings_and_rules_that_do_not_fit(person: Person) -> None:
    hours = {"start": "22:00", "end": "22:00"}
    assert (await person.call("PATCH", "/alerts/settings", json={"quiet_hours": hours}, status=422))["errors"][0][
        "field"
    ] == "quiet_hours.end"
    nowhere = {"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Moon/Base"}}
    assert (await person.call("PATCH", "/alerts/settings", json=nowhere, status=422))["code"] == "unknown_time_zone"
    none = {"kind": "bot_down", "limit_percent": "5"}
    await person.call("POST", "/alerts/rules", json=none, status=422)
    for limit in ("0.5", "101", "NaN"):
        await person.call("POST", "/alerts/rules", json={"kind": "drawdown", "limit_percent": limit}, status=422)
    made = await person.call("POST", "/alerts/rules", json={"kind": "drawdown", "limit_percent": "5"}, status=201)
    again = await person.call("POST", "/alerts/rules", json={"kind": "drawdown"}, status=409)
    assert (made["is_default"], made["limit_percent"], again["code"]) == (False, "5", "rule_exists")
    await person.call("DELETE", f"/alerts/rules/{made['id']}", status=204)
    assert (await person.call("DELETE", f"/alerts/rules/{made['id']}", status=409))["code"] == "rule_is_default"
    rule = await person.call("GET", f"/alerts/rules/{made['id']}", status=200)
    assert (rule["is_default"], rule["limit_percent"]) == (True, "20")
