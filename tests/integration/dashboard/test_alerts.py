"""Alerts on pages: who is told, of what, when not, and what became of each message."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import asyncpg
from uuid_utils.compat import uuid7

from agents.agent import make_pool
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, Person
from tests.factories import Urls
from tests.integration.dashboard.browser import Browser, words_of
from tests.integration.notifier.alerts import Health, external, jobs_of
from tests.members import joined
from tests.servers.webhook_receiver import WebhookReceiver


async def only_channel(person: Person) -> Any:
    [found] = (await person.call("GET", "/alerts/channels", status=200))["items"]
    return found


async def test_a_webhook_is_made_tested_rotated_and_removed(
    browser: Browser, person: Person, settings: Settings, urls: Urls, vault: Vault
) -> None:
    assert "Nobody is told yet" in words_of(await browser.get("/alerts"))
    async with WebhookReceiver() as receiver:
        made = await browser.send("/alerts/webhooks", {"url": f"{receiver.url}/in", "name": "pager"}, 201)
        secret = made.text.split('id="new-secret">')[1].split("<")[0]
        assert secret.startswith("whsec_")
        assert secret not in (await browser.get("/alerts")).text
        receiver.secrets.append(secret)
        channel = await only_channel(person)
        path = f"/alerts/channels/{channel['id']}"
        sent = await browser.send(f"{path}/test")
        assert sent.headers["location"] == path
        pool = await make_pool(urls["agent_notifier"], "notifier")
        async with jobs_of(settings, pool, vault) as jobs:
            await jobs.tell()
            receiver.status = 500
            await browser.get(path)
            await browser.send(f"{path}/test")
            await jobs.tell()
        await pool.close()
        assert receiver.types == ["channel.test"]
    log = words_of(await browser.get(path))
    assert "Delivered 200 1" in log
    assert "Given up it answered 500 500 1" in log
    again = await browser.send(f"{path}/rotate", {"overlap_seconds": "3600"}, 201)
    assert again.text.split('id="new-secret">')[1].split("<")[0] not in {secret, ""}
    await browser.send(f"{path}/off")
    assert "pager Webhook" in words_of(await browser.get("/alerts"))
    assert (await only_channel(person))["enabled"] is False
    await browser.send(f"{path}/quiet")
    assert (await only_channel(person))["quiet"] is True
    await browser.send(f"{path}/remove")
    assert "Nobody is told yet" in words_of(await browser.get("/alerts"))


async def test_what_cannot_be_taken_is_shown_again(browser: Browser) -> None:
    await browser.get("/alerts")
    page = await browser.send("/alerts/webhooks", {"url": "https://hooks.example.com/?key=1", "name": "x"}, 422)
    assert "Leave the part from ? on out of the URL" in words_of(page)
    assert 'value="https://hooks.example.com/?key=1"' in page.text
    page = await browser.send("/alerts/channels", {"kind": "email"}, 422)
    assert "Has no verified e-mail address" in words_of(page)
    page = await browser.send("/alerts/channels", {"kind": "telegram", "chat_id": "not a chat"}, 422)
    assert "has a form that cannot be taken" in words_of(page).lower()
    page = await browser.send("/alerts/quiet", {"start": "22:00", "end": "22:00"}, 422)
    assert "must differ from the start" in words_of(page).lower()
    assert 'id="end-note"' in page.text
    page = await browser.send("/alerts/quiet", {"start": "22:00", "end": "7:00", "time_zone": "Europe/Atlantis"}, 422)
    assert "quiet_hours" not in words_of(page).lower()


async def test_a_chat_and_its_code(browser: Browser, person: Person) -> None:
    await browser.get("/alerts")
    answer = await browser.send("/alerts/channels", {"kind": "telegram", "chat_id": "-100123456"})
    path = answer.headers["location"]
    page = words_of(await browser.get(path))
    assert "Enter the code" in page
    assert "…3456" in page
    wrong = await browser.send(f"{path}/verify", {"code": "NOT-IT"}, 422)
    assert "NOT-IT" not in wrong.text
    assert (await browser.send(f"{path}/test", status=409)).status_code == 409
    assert (await only_channel(person))["verified"] is False


async def test_a_chat_that_no_code_reached(browser: Browser, admin: asyncpg.Connection) -> None:
    await browser.get("/alerts")
    answer = await browser.send("/alerts/channels", {"kind": "telegram", "chat_id": "-100123456"})
    await admin.execute("update alert_messages set state = 'failed', error = 'telegram_not_set_up'")
    for path in (answer.headers["location"], "/alerts"):
        shown = words_of(await browser.get(path))
        assert "Its code did not arrive: the operator has set up no Telegram bot" in shown
        assert "Waits for its code" not in shown
    await admin.execute(
        "insert into agent_beats (id, kind, version, state, detail)"
        " values (gen_random_uuid(), 'notifier', '1', 'working', '{\"telegram\": false}')"
    )
    page = await browser.send("/alerts/channels", {"kind": "telegram", "chat_id": "-100123456"}, 409)
    assert "This installation has no Telegram bot" in words_of(page)


async def test_a_member_by_mail(browser: Browser, person: Person, admin: asyncpg.Connection) -> None:
    await admin.execute("update users set email_verified_at = now()")
    await browser.get("/alerts")
    await browser.send("/alerts/channels", {"kind": "email", "user_id": str(person.user_id)})
    assert (await only_channel(person))["target"] == person.email


async def test_rules_and_quiet_hours(browser: Browser, person: Person) -> None:
    bot = await external(person)
    rules = {rule["kind"]: rule for rule in (await person.call("GET", "/alerts/rules", status=200))["items"]}
    await browser.get("/alerts")
    fields = {"enabled": "true", "limit_percent": "12.5", "severity": "warning"}
    await browser.send(f"/alerts/rules/{rules['drawdown']['id']}", fields)
    await browser.send(f"/alerts/rules/{rules['not_watched']['id']}", {"delay_seconds": "300", "severity": "warning"})
    await browser.send("/alerts/rules", {"bot_id": str(bot), "kind": "bot_down", "enabled": "false"})
    page = await browser.get("/alerts")
    assert "warning from 12.5 % its end is not told everybody" in words_of(page)
    held = {(rule["kind"], rule["bot_id"]): rule for rule in (await person.call("GET", "/alerts/rules"))["items"]}
    assert held["not_watched", None]["enabled"] is False
    assert held["bot_down", str(bot)]["enabled"] is False
    twice = await browser.send("/alerts/rules", {"bot_id": str(bot), "kind": "bot_down", "enabled": "true"}, 409)
    assert "There is such a rule already" in words_of(twice)
    await browser.send(f"/alerts/rules/{rules['drawdown']['id']}/reset")
    hours = {"start": "22:30", "end": "06:45", "time_zone": "Europe/Berlin", "remind_after_seconds": "4 h"}
    await browser.send("/alerts/quiet", hours | {"critical_breaks_quiet": "true"})
    settings = await person.call("GET", "/alerts/settings", status=200)
    assert settings["quiet_hours"] == {"start": "22:30", "end": "06:45", "time_zone": "Europe/Berlin"}
    assert (settings["critical_breaks_quiet"], settings["remind_after_seconds"]) == (True, 14400)
    page = await browser.get("/alerts")
    assert 'value="22:30"' in page.text
    await browser.send("/alerts/quiet", {"time_zone": "Europe/Berlin"})
    assert (await person.call("GET", "/alerts/settings", status=200))["quiet_hours"] is None


async def test_a_reminder_is_shown_as_it_was_set_and_saved_as_it_is_shown(browser: Browser, person: Person) -> None:
    await browser.get("/alerts")
    for seconds, shown in ((900, "15 min"), (5400, "90 min"), (14400, "4 h"), (1000, "1000 s")):
        await person.call("PATCH", "/alerts/settings", json={"remind_after_seconds": seconds}, status=200)
        page = await browser.get("/alerts")
        assert f'value="{shown}"' in page.text
        await browser.send("/alerts/quiet", {"time_zone": "UTC", "remind_after_seconds": shown})
        assert (await person.call("GET", "/alerts/settings", status=200))["remind_after_seconds"] == seconds
    await browser.send("/alerts/quiet", {"time_zone": "UTC", "remind_after_seconds": "1.5"})
    assert (await person.call("GET", "/alerts/settings", status=200))["remind_after_seconds"] == 5400
    for wrong in ("soon", "0", "14 min", "1 year", "-3 h", "0.0001 h", "1e3", "200 h", "٣ h"):
        page = await browser.send("/alerts/quiet", {"time_zone": "UTC", "remind_after_seconds": wrong}, 422)
        beside = page.text.split('id="remind_after_seconds-note"')[1].split("</div>")[0]
        assert "Must be a time such as 4 h, 1.5 h or 90 min, from 15 min to 168 h." in beside
        assert f'value="{wrong}"' in page.text
        assert (await person.call("GET", "/alerts/settings", status=200))["remind_after_seconds"] == 5400
    await browser.send("/alerts/quiet", {"time_zone": "UTC", "remind_after_seconds": " "})
    assert (await person.call("GET", "/alerts/settings", status=200))["remind_after_seconds"] is None


async def test_a_viewer_looks_and_changes_nothing(
    api: Api, person: Person, admin: asyncpg.Connection, settings: Settings, urls: Urls, vault: Vault
) -> None:
    bot = await external(person)
    await Health(admin).down(person.tenant_id, bot)
    pool = await make_pool(urls["agent_notifier"], "notifier")
    async with jobs_of(settings, pool, vault) as jobs:
        await jobs.judge()
    await pool.close()
    viewer = await joined(api, admin, vault, person, "viewer", "vera")
    async with Browser(api) as theirs:
        await theirs.sign_in(viewer)
        await theirs.get("/")
        await theirs.send("/switch-tenant", {"tenant": str(person.tenant_id)})
        page = await theirs.get("/alerts")
        assert "bot 0 is down Nothing answered at the bot's address. Check" in words_of(page)
        assert "<form" not in page.text.split("<main")[1]
        await theirs.send("/alerts/webhooks", {"url": "https://hooks.example.com/"}, 403)


async def test_what_is_open_is_shown_however_much_was_over_since(
    browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    """A storm of small troubles hides neither what goes on nor who is told of it."""
    insert = (
        "insert into alert_incidents (id, tenant_id, kind, scope, cause, bot_ids, bots_met, severity, bot_names,"
        " tell_recovery, since, opened_at, closed_at, resolution)"
        " values ($1, $2, 'bot_down', 'bot', $3, '{}', 1, 'critical', array[$3], true, now(), now(), $4, $5)"
    )
    await admin.execute(insert, uuid7(), person.tenant_id, "still-down", None, None)
    for number in range(60):
        await admin.execute(insert, uuid7(), person.tenant_id, f"over-{number}", datetime.now(UTC), "back")
    page = await browser.get("/alerts")
    [[part_of_answer, part_of_page]] = re.findall(
        r'hx-get="/alerts" hx-trigger="every \d+s" hx-select="#([\w-]+)" hx-target="#([\w-]+)"', page.text
    )
    part = page.text.partition(f'id="{part_of_page}"')[2].partition("</section>")[0]
    assert part_of_answer == part_of_page
    assert "still-down" in part  # what is asked for again is what changes
    words = words_of(page)
    assert "still-down is down" in words
    assert "Back again: over-59" in words
    assert words.count("Back again:") == 20
    assert "Older ones" in words
