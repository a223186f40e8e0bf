"""Bots over HTTP: every verb, and what bad input gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, Person, running_api
from tests.factories import Urls
from tests.waiting import until
from tests.world import external_body

FREQTRADE = {
    "bot_type": "external",
    "engine": "freqtrade",
    "name": "elsewhere",
    "api_url": "http://127.0.0.1:8080",
    "credentials": {"username": "u", "password": "planted-password-1"},
}
HOSTED = {"bot_type": "platform", "engine": "tradewise", "name": "ours", "config": {"currency": "USDT"}}
PLANTED = "planted-in-a-refused-request"


async def bot_of(person: Person, body: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = await person.call("POST", "/bots", json=body, status=201)
    return made


async def events(person: Person, bot_id: str) -> list[tuple[str, str, str | None]]:
    items = (await person.call("GET", f"/bots/{bot_id}/events", status=200))["items"]
    return [(item["kind"], item["cause"], item["reason"]) for item in reversed(items)]


async def test_register_read_change_delete(api: Api) -> None:
    ada = await api.person()
    made = await bot_of(ada, FREQTRADE)
    assert (made["status"], made["desired"], made["health"]["state"]) == ("inactive", "running", "unknown")
    assert made["credentials"]["set"] is True
    assert made["credentials"]["last4"] is None  # of a password, never
    read = await ada.call("GET", f"/bots/{made['id']}", status=200)
    assert read["api_url"] == "http://127.0.0.1:8080"
    assert [item["id"] for item in (await ada.call("GET", "/bots", status=200))["items"]] == [made["id"]]
    changes = {"name": " renamed ", "description": "by me"}
    changed = await ada.call("PATCH", f"/bots/{made['id']}", json=changes, status=200)
    assert (changed["name"], changed["description"]) == ("renamed", "by me")
    cleared = await ada.call("PATCH", f"/bots/{made['id']}", json={"description": None}, status=200)
    assert (cleared["name"], cleared["description"]) == ("renamed", None)
    assert await events(ada, made["id"]) == [
        ("registered", "person", None),
        ("changed", "person", "name, description"),
        ("changed", "person", "description"),
    ]
    await ada.call("DELETE", f"/bots/{made['id']}", status=204)
    for path in ("", "/events", "/performance"):
        await ada.call("GET", f"/bots/{made['id']}{path}", status=404)
    await bot_of(ada, FREQTRADE)  # its address is free again


async def test_what_is_new_to_the_bot_is_a_new_generation(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = (await bot_of(ada, FREQTRADE))["id"]

    async def generation(change: dict[str, Any]) -> int:
        await ada.call("PATCH", f"/bots/{bot}", json=change, status=200)
        found: int = await admin.fetchval("select generation from bots where id = $1", UUID(bot))
        return found

    assert await generation({}) == 1
    assert await generation({"name": "x"}) == 1
    assert await generation({"api_url": "HTTP://127.0.0.1:8080/api/v1/"}) == 1  # the same in other letters
    assert await generation({"api_url": "http://127.0.0.1:8081"}) == 2
    assert await generation({"credentials": {"username": "u", "password": "new"}}) == 3
    assert len(await events(ada, bot)) == 5  # an empty change is none
    secrets = await admin.fetch("select kind from bot_secrets where bot_id = $1", UUID(bot))
    assert [row["kind"] for row in secrets] == ["credentials"]


async def test_start_stop_restart(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = (await bot_of(ada, HOSTED))["id"]

    async def ask(verb: str, status: int = 202) -> dict[str, Any]:
        answer: dict[str, Any] = await ada.call("POST", f"/bots/{bot}/{verb}", status=status)
        return answer

    assert (await ask("restart", 409))["code"] == "not_running"
    assert (await ask("ping", 409))["code"] == "not_running"
    assert (await ask("start"))["status"] == "starting"
    assert (await ask("start"))["status"] == "starting"  # asking twice changes nothing
    await admin.execute("update bots set status = 'running', observed_generation = 1")
    assert (await ask("start"))["status"] == "running"
    assert (await ask("restart"))["status"] == "starting"
    await admin.execute("update bots set status = 'error', reason = 'image_missing', observed_generation = 2")
    shown = await ada.call("GET", f"/bots/{bot}", status=200)
    assert (shown["status"], shown["reason"]) == ("error", "image_missing")
    assert (await ask("start"))["status"] == "starting"  # an error is tried once more
    await admin.execute("update bots set status = 'running', reason = null, observed_generation = 3")
    assert (await ask("stop"))["status"] == "stopping"
    assert (await ask("stop"))["desired"] == "stopped"
    told = [kind for kind, _, _ in await events(ada, bot)]
    assert told == ["registered", "start", "restart", "start", "stop"]


async def test_wait_holds_the_answer_until_there_is_an_outcome(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = (await bot_of(ada, HOSTED))["id"]
    assert (await ada.call("GET", f"/bots/{bot}", params={"wait": "30"}))["status"] == "inactive"
    await ada.call("POST", f"/bots/{bot}/start", status=202)
    held = asyncio.create_task(ada.call("GET", f"/bots/{bot}", params={"wait": "30"}, status=200))
    assert (await ada.call("GET", f"/bots/{bot}"))["status"] == "starting"
    assert not held.done()
    await admin.execute("update bots set status = 'running', observed_generation = generation")
    async with asyncio.timeout(5):
        assert (await held)["status"] == "running"
    for wait in ("-1", "31", "x"):
        await ada.call("GET", f"/bots/{bot}", params={"wait": wait}, status=400)


async def test_ping_answers_when_the_poller_has_looked(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = (await bot_of(ada, FREQTRADE))["id"]
    asked = asyncio.create_task(ada.call("POST", f"/bots/{bot}/ping", status=200))
    await until(lambda: admin.fetchval("select ping_requested_at from bots"), what="the poller is asked")
    assert not asked.done()
    await admin.execute("update bots set observed_generation = 1, status = 'connected'")
    await admin.execute("update bot_health set observed_at = now(), state = 'healthy', latency_ms = 3")
    async with asyncio.timeout(5):
        seen = await asked
    assert (seen["status"], seen["health"]["state"], seen["health"]["latency_ms"]) == ("connected", "healthy", 3)


async def test_one_address_once_a_tenant(api: Api) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    first = await bot_of(ada, FREQTRADE)
    for same in ("http://127.0.0.1:8080", "HTTP://127.0.0.1:8080/", "http://127.0.0.1:8080/api/v1"):
        problem = await ada.call("POST", "/bots", json={**FREQTRADE, "api_url": same}, status=409)
        assert (problem["code"], problem["errors"][0]["field"]) == ("api_url_taken", "api_url")
        assert "change that one" in problem["detail"]
    other = await bot_of(ada, {**FREQTRADE, "api_url": "http://127.0.0.1:8081"})
    change = {"api_url": first["api_url"], "name": "lost"}
    problem = await ada.call("PATCH", f"/bots/{other['id']}", json=change, status=409)
    assert problem["code"] == "api_url_taken"
    assert (await ada.call("GET", f"/bots/{other['id']}"))["name"] == "elsewhere"  # nothing half-done
    await bot_of(bob, FREQTRADE)
    ports = [{**FREQTRADE, "api_url": "http://127.0.0.1:9000"}] * 5
    answers = await asyncio.gather(*(ada.call("POST", "/bots", json=body) for body in ports))
    assert sorted(answer.get("code", "made") for answer in answers) == ["api_url_taken"] * 4 + ["made"]


BAD_EXTERNAL: list[tuple[dict[str, Any], int, str, str]] = [
    ({"surplus": 1}, 400, "surplus", "invalid_fields"),
    ({"name": None}, 400, "name", "invalid_fields"),
    ({"name": 5}, 400, "name", "invalid_fields"),
    ({"name": ""}, 400, "name", "invalid_fields"),
    ({"name": "x" * 121}, 400, "name", "invalid_fields"),
    ({"name": "a\nb"}, 400, "name", "invalid_fields"),
    ({"name": "end\n"}, 400, "name", "invalid_fields"),
    # What turns the rest of a list or of a message around: it would name others than those that it is about.
    ({"name": "a\u202eb"}, 400, "name", "invalid_fields"),
    ({"name": "a\u2067b"}, 400, "name", "invalid_fields"),
    ({"name": "a\u2028b"}, 400, "name", "invalid_fields"),
    ({"description": "a\u0000b"}, 400, "description", "invalid_fields"),
    ({"bot_type": "internal"}, 400, "bot_type", "invalid_fields"),
    ({"template_id": "x"}, 400, "template_id", "invalid_fields"),
    ({"engine": "metatrader"}, 422, "engine", "engine_unknown"),
    ({"api_url": None}, 422, "api_url", "unacceptable"),
    ({"api_url": "ftp://example.com"}, 422, "api_url", "url_scheme"),
    ({"api_url": "javascript:alert(1)"}, 422, "api_url", "url_invalid"),
    ({"api_url": "http://10.0.0.1:8080"}, 422, "api_url", "address_refused"),
    ({"api_url": "http://169.254.169.254/"}, 422, "api_url", "address_refused"),
    ({"api_url": "http://[::ffff:10.0.0.1]:8080"}, 422, "api_url", "address_refused"),
    ({"api_url": "http://metadata.google.internal"}, 422, "api_url", "address_refused"),
    ({"api_url": "http://2130706433/"}, 422, "api_url", "url_host"),
    ({"api_url": "http://example.com:22"}, 422, "api_url", "url_port"),
    ({"api_url": "http://example.com/?x=1"}, 422, "api_url", "url_query"),
    ({"api_url": f"http://u:{PLANTED}@example.com"}, 422, "api_url", "url_userinfo"),
    ({"credentials": None}, 422, "credentials", "unacceptable"),
    ({"credentials": {}}, 422, "credentials.username", "credentials_invalid"),
    ({"credentials": {"username": "u", "password": ""}}, 422, "credentials.password", "credentials_invalid"),
    ({"credentials": {"username": "a:b", "password": PLANTED}}, 422, "credentials.username", "credentials_invalid"),
    ({"credentials": {"username": "u", "password": 7}}, 422, "credentials.password", "credentials_invalid"),
    ({"credentials": {"token": PLANTED}}, 422, "credentials.token", "credentials_invalid"),
    ({"credentials": {PLANTED: PLANTED}}, 422, "credentials", "credentials_invalid"),
    ({"credentials": PLANTED}, 400, "credentials", "invalid_fields"),
    ({"config": {}}, 422, "config", "unacceptable"),
    ({"template_id": str(uuid4())}, 422, "template_id", "unacceptable"),
]


async def test_bad_registrations_are_told_what_is_wrong(
    api: Api, admin: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    ada = await api.person()
    for change, status, field, code in BAD_EXTERNAL:
        with subtests.test(str(change)):
            problem = await ada.call("POST", "/bots", json={**FREQTRADE, **change}, status=status)
            assert (problem["code"], [item["field"] for item in problem["errors"]]) == (code, [field])
            assert problem["errors"][0]["message"] in problem["detail"]
            assert PLANTED not in json.dumps(problem)
            assert await admin.fetchval("select count(*) from bots") == 0


BAD_HOSTED: list[tuple[dict[str, Any], int, str]] = [
    ({"engine": "unheard-of"}, 422, "engine"),
    ({"engine": "freqtrade"}, 422, "config.exchange.name"),
    ({"api_url": "http://example.com"}, 422, "api_url"),
    ({"bot_type": "shared"}, 422, "template_id"),
    ({"config": []}, 400, "config"),
    ({"config": {"a": "x" * 70_000}}, 422, "config"),
    ({"credentials": {"username": "u", "password": "p"}}, 422, "credentials.username"),
    ({"credentials": {"token": "short"}}, 422, "credentials.token"),
]


async def test_bad_hosted_bots(api: Api, subtests: pytest.Subtests) -> None:
    ada = await api.person()
    for change, status, field in BAD_HOSTED:
        with subtests.test(str(change)):
            problem = await ada.call("POST", "/bots", json={**HOSTED, **change}, status=status)
            assert [item["field"] for item in problem["errors"]] == [field]


async def test_missing_fields_are_named(api: Api) -> None:
    ada = await api.person()
    problem = await ada.call("POST", "/bots", json={}, status=400)
    assert problem["errors"] == [{"field": "bot_type", "message": "is required"}]


async def test_changes_that_do_not_fit_change_nothing(api: Api) -> None:
    ada = await api.person()
    external, hosted = await bot_of(ada, FREQTRADE), await bot_of(ada, HOSTED)
    for bot, change, status in (
        (external, {"name": "new", "api_url": "http://10.0.0.1"}, 422),
        (external, {"name": "new", "credentials": {"token": PLANTED}}, 422),
        (external, {"name": "new", "config": {}}, 422),
        (external, {"bot_type": "platform"}, 400),
        (external, {"status": "connected"}, 400),
        (external, {"api_url": None}, 400),
        (hosted, {"name": "new", "api_url": "http://example.com"}, 422),
    ):
        before = await ada.call("GET", f"/bots/{bot['id']}")
        problem = await ada.call("PATCH", f"/bots/{bot['id']}", json=change, status=status)
        assert PLANTED not in json.dumps(problem)
        assert await ada.call("GET", f"/bots/{bot['id']}") == before


async def test_without_the_operators_leave_no_private_address(settings: Settings, urls: Urls, vault: Vault) -> None:
    strict = msgspec.structs.replace(settings, egress_allow=())
    async with running_api(strict, urls, vault) as api:
        ada = await api.person()
        for url in ("http://127.0.0.1:8080", "http://localhost:8080", "http://bot.localhost", "http://[::1]:8080"):
            problem = await ada.call("POST", "/bots", json=external_body(api_url=url), status=422)
            assert problem["code"] == "address_refused"
        await bot_of(ada, external_body(api_url="https://bot.example.com"))


async def test_lists_filter_by_what_is_shown(api: Api) -> None:
    ada = await api.person()
    hosted = (await bot_of(ada, HOSTED))["id"]
    other = (await bot_of(ada, {**HOSTED, "name": "100% other"}))["id"]
    external = (await bot_of(ada, FREQTRADE))["id"]
    await ada.call("POST", f"/bots/{hosted}/start", status=202)

    async def listed(**query: str) -> list[str]:
        return [item["id"] for item in (await ada.call("GET", "/bots", params=query, status=200))["items"]]

    assert await listed() == [external, other, hosted]
    assert await listed(bot_type="platform") == [other, hosted]
    assert await listed(status="starting") == [hosted]
    assert await listed(status="inactive", limit="1") == [external]
    assert await listed(q="OTHER") == [other]
    assert await listed(q="%") == [other]
    for query in ({"bot_type": "x"}, {"status": "deleted"}, {"limit": "0"}, {"limit": "x"}):
        await ada.call("GET", "/bots", params=query, status=400)


async def test_figures_say_whether_they_are_older_than_their_plan_has_them_read(
    api: Api, admin: asyncpg.Connection, settings: Settings
) -> None:
    ada = await api.person()
    bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    bound = 3 * settings.reading_interval + 10

    async def stale(age_s: float) -> bool:
        await admin.execute("delete from performance_snapshots")
        await admin.execute(
            "insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, simulated, equity)"
            " values ($1, $2, now() - make_interval(secs => $3), 'USDT', true, 1000)",
            ada.tenant_id, UUID(bot), age_s,
        )  # fmt: skip
        (listed,) = (await ada.call("GET", "/bots", status=200))["items"]
        assert listed["latest"] == (await ada.call("GET", f"/bots/{bot}", status=200))["latest"]
        return bool(listed["latest"]["stale"])

    assert [await stale(bound - 30), await stale(bound + 30)] == [False, True]
