"""A bot's crash policy over HTTP, and what is kept of how its copies ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.api import Api, Person
from tests.factories import Urls
from tests.world import external_body

HOSTED = {"bot_type": "platform", "engine": "tradewise", "name": "ours", "config": {"currency": "USDT"}}


async def made(person: Person, **more: Any) -> dict[str, Any]:
    bot: dict[str, Any] = await person.call("POST", "/bots", json={**HOSTED, **more}, status=201)
    return bot


async def copies(admin: asyncpg.Connection, person: Person, bot: str, count: int) -> list[str]:
    """So many copies of a bot that crashed, oldest first."""
    ids = [str(uuid7()) for _ in range(count)]
    for number, copy in enumerate(ids):
        await admin.execute(
            "insert into bot_instances (id, tenant_id, bot_id, generation, runtime, image, state, exit_code,"
            " oom_killed, attempt, end_reason, end_detail, last_lines, started_at, finished_at, released_at)"
            " values ($1, $2, $3, 1, 'docker', 'x:1', 'removed', 137, true, $4, 'oom', 'words', '[\"bye\"]'::jsonb,"
            " now(), now(), now())",
            UUID(copy),
            person.tenant_id,
            UUID(bot),
            number,
        )
    return ids


async def test_a_crash_policy_is_chosen_changed_and_shown(api: Api) -> None:
    ada = await api.person()
    bot = await made(ada)
    assert (bot["crash_policy"], bot["attempt"], bot["next_retry_at"]) == ("on_failure", 0, None)
    assert (await made(ada, crash_policy="never"))["crash_policy"] == "never"
    changed = await ada.call("PATCH", f"/bots/{bot['id']}", json={"crash_policy": "always"}, status=200)
    assert changed["crash_policy"] == "always"
    # It says what happens at the next end: a bot that runs well is not restarted for it.
    assert changed["status"] == bot["status"]
    history = (await ada.call("GET", f"/bots/{bot['id']}/events", status=200))["items"]
    assert (history[0]["kind"], history[0]["reason"]) == ("changed", "crash_policy")
    audit = (await ada.call("GET", "/audit", params={"resource": f"bot:{bot['id']}"}))["items"]
    assert any("always" in str(item["changes"].get("crash_policy")) for item in audit)


async def test_a_crash_policy_that_does_not_fit_is_refused(api: Api) -> None:
    ada = await api.person()
    refused = await ada.call("POST", "/bots", json={**HOSTED, "crash_policy": "sometimes"}, status=400)
    assert "crash_policy" in str(refused["errors"])
    external = external_body(crash_policy="always")
    assert (await ada.call("POST", "/bots", json=external, status=422))["errors"][0]["field"] == "crash_policy"
    bot = await ada.call("POST", "/bots", json=external_body(), status=201)
    assert bot["crash_policy"] is None
    refused = await ada.call("PATCH", f"/bots/{bot['id']}", json={"crash_policy": "never"}, status=422)
    assert refused["errors"][0]["field"] == "crash_policy"


async def test_what_is_kept_of_each_copy_is_read_newest_first(api: Api, admin: asyncpg.Connection) -> None:
    ada, eve = await api.person("ada"), await api.person("eve")
    bot = (await made(ada))["id"]
    ids = await copies(admin, ada, bot, 3)
    page = await ada.call("GET", f"/bots/{bot}/instances", params={"limit": 2}, status=200)
    assert [item["id"] for item in page["items"]] == ids[:0:-1]
    newest = page["items"][0]
    assert (newest["exit_code"], newest["signal"], newest["oom_killed"]) == (137, "SIGKILL", True)
    assert (newest["reason"], newest["detail"], newest["last_lines"]) == ("oom", "words", ["bye"])
    assert (newest["attempt"], newest["generation"], newest["state"]) == (2, 1, "removed")
    last = await ada.call("GET", f"/bots/{bot}/instances", params={"cursor": page["next_cursor"]}, status=200)
    assert ([item["id"] for item in last["items"]], last["next_cursor"]) == (ids[:1], None)
    await eve.call("GET", f"/bots/{bot}/instances", status=404)


async def test_a_wish_is_noted_with_whoever_has_it(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = UUID((await made(ada))["id"])
    await ada.call("POST", f"/bots/{bot}/start", status=202)
    assert await admin.fetchval("select wished_by from bots where id = $1", bot) == f"user:{ada.user_id}"
    scopes = ["bots:read", "bots:write"]
    key = await ada.call("POST", "/api-keys", json={"name": "k", "scopes": scopes}, status=201)
    answer = await api.client.post(f"/api/v1/bots/{bot}/stop", headers={"Authorization": f"Bearer {key['key']}"})
    assert answer.status_code == 202
    assert await admin.fetchval("select wished_by from bots where id = $1", bot) == f"key:{key['id']}"
    await admin.execute("update bots set generation = generation + 1, wished_by = 'user:me' where id = $1", bot)
    assert await admin.fetchval("select wished_by from bots where id = $1", bot) is None


@pytest.mark.parametrize(
    ("bot_type", "status", "fits"),
    [
        ("external", "connected", True),
        ("external", "error", True),
        ("external", "running", False),
        ("external", "starting", False),
        ("external", "stopping", False),
        ("platform", "running", True),
        ("platform", "connected", False),
    ],
)
async def test_a_status_of_the_other_kind_is_refused_by_the_database(
    api: Api, admin: asyncpg.Connection, urls: Urls, bot_type: str, status: str, fits: bool
) -> None:
    ada = await api.person()
    body = external_body() if bot_type == "external" else HOSTED
    bot = UUID((await ada.call("POST", "/bots", json=body, status=201))["id"])
    change = "update bots set status = $2 where id = $1"
    if fits:
        assert await admin.execute(change, bot, status) == "UPDATE 1"
    else:
        with pytest.raises(asyncpg.CheckViolationError, match="ck_bots_status_of_its_kind"):
            await admin.execute(change, bot, status)
