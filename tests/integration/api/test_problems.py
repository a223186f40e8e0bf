"""Every error is a problem document, and none is a lie: not when the database is away, not when COMMIT fails."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, Person, running_api
from tests.factories import Urls
from tests.servers.database_proxy import DatabaseProxy
from tests.world import external_body, template_body


def is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The one form of every error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    assert set(body) - {"errors"} == {"type", "title", "status", "detail", "instance", "code"}
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/problems/{code}")
    assert body["instance"] == answer.request.url.path
    for word in ("Traceback", "select ", "insert ", "asyncpg", "sqlalchemy", "/control_plane/"):
        assert word not in answer.text
    return body


async def raw(person: Person, content: bytes, path: str = "/bots", **headers: str) -> httpx.Response:
    head = {"Authorization": f"Bearer {person.token}", "Content-Type": "application/json", **headers}
    return await person.client.post(f"/api/v1{path}", headers=head, content=content)


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/bots/not-an-id", "/api/v1/bots/1/2/3", "/api/v1"])
async def test_an_address_that_is_none(api: Api, path: str) -> None:
    ada = await api.person()
    is_problem(await api.client.get(path, headers={"Authorization": f"Bearer {ada.token}"}), 404, "not_found")


async def test_a_method_that_is_none(api: Api) -> None:
    ada = await api.person()
    answer = await api.client.put("/api/v1/bots", headers={"Authorization": f"Bearer {ada.token}"})
    is_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].replace(" ", "").split(",")) >= {"GET", "POST"}


@pytest.mark.parametrize(
    ("written", "remedy"),
    [("2026-01-31T12:00:00+01:00", "a + is written %2B in a query"), ("yesterday", "such as 2026-01-31T12:00:00Z")],
)
async def test_a_time_that_is_none(api: Api, written: str, remedy: str) -> None:
    ada = await api.person()
    url = f"/api/v1/bots/{ada.tenant_id}/health?from={written}"
    answer = await api.client.get(url, headers={"Authorization": f"Bearer {ada.token}"})
    body = is_problem(answer, 400, "invalid_fields")
    [error] = body["errors"]
    assert error["field"] == "from"
    assert error["message"].startswith("must be a time with its zone")
    assert error["message"].endswith(remedy)


NO_JSON: list[bytes] = [
    b"",
    b"{",
    b"nonsense",
    b'{"name": "x"',
    b"\xff\xfe\x00",
    b'{"name": "\xff"}',
    b'{"name": "\\ud800"}',
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b'{"config":' * 20_000,
    b"null",
    b'"text"',
    b'{"minimum_allocation": ' + b"9" * 10_000 + b"}",
    b'{"minimum_allocation": 1e999999}',
    b'{"config": {"a": ' + b"9" * 5_000 + b"}}",
    b"--x\r\n\r\n--x--",
]


async def test_bodies_that_are_no_json(api: Api, subtests: pytest.Subtests) -> None:
    ada = await api.person()
    for content in NO_JSON:
        with subtests.test(repr(content[:20])):
            for path in ("/bots", "/templates", "/subscriptions", "/api-keys"):
                answer = await raw(ada, content, path)
                body = answer.json()
                is_problem(answer, 400, body["code"])
                assert body["code"] in {"malformed", "invalid_fields"}


async def test_numbers_without_end_in_a_document(api: Api) -> None:
    ada = await api.person()
    good = msgspec.json.encode(template_body()).decode()
    for number in ("9" * 5_000, "1e308", "0." + "1" * 5_000, "-" + "9" * 400):
        answer = await raw(ada, good.replace('"parameters":{', f'"parameters":{{"n":{number},').encode(), "/templates")
        assert answer.status_code in {201, 400}, answer.text
        if answer.status_code == 400:
            is_problem(answer, 400, answer.json()["code"])


async def test_a_body_that_is_too_large(api: Api) -> None:
    ada = await api.person()
    body = is_problem(await raw(ada, b'{"name": "' + b"x" * (1024 * 1024) + b'"}'), 413, "too_large")
    assert body["detail"]

    async def endless() -> Any:
        for _ in range(40):
            yield b" " * 65536

    head = {"Authorization": f"Bearer {ada.token}", "Content-Type": "application/json"}
    answer = await ada.client.post("/api/v1/bots", headers=head, content=endless())
    is_problem(answer, 413, "too_large")


async def test_json_whatever_the_type_says(api: Api) -> None:
    ada = await api.person()
    content = msgspec.json.encode(external_body())
    assert (await raw(ada, content, **{"Content-Type": "application/json; charset=utf-8"})).status_code == 201
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = await raw(ada, content, **{"Content-Type": kind})
        assert 400 <= answer.status_code < 500
        is_problem(answer, answer.status_code, answer.json()["code"])


async def test_a_commit_that_fails_is_no_success(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    await admin.execute("""
        create function late() returns trigger language plpgsql as
            $$ begin raise exception 'planted words' using errcode = 'check_violation'; end $$;
        create constraint trigger late after insert or update on bots deferrable initially deferred
            for each row execute function late();
        create constraint trigger late after insert on bot_templates deferrable initially deferred
            for each row execute function late();
    """)
    hosted = {"bot_type": "platform", "engine": "tradewise", "name": "ours"}
    for path, body, head in (
        ("/bots", external_body(), {}),
        ("/bots", hosted, {"Idempotency-Key": "k"}),
        ("/templates", template_body(), {}),
    ):
        answer = await raw(ada, msgspec.json.encode(body), path, **head)
        is_problem(answer, 409, "conflict")
        assert "planted" not in answer.text
    for table in ("bots", "bot_secrets", "bot_events", "bot_templates", "idempotency_records"):
        assert await admin.fetchval(f"select count(*) from {table}") == 0
    await admin.execute("drop function late() cascade")
    assert (await raw(ada, msgspec.json.encode(hosted), **{"Idempotency-Key": "k"})).status_code == 201


async def test_a_fault_of_ours_says_so_and_no_more(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    await admin.execute("""
        create function fault() returns trigger language plpgsql as $$ begin raise exception 'planted words'; end $$;
        create trigger fault before insert on bots for each row execute function fault();
    """)
    answer = await raw(ada, msgspec.json.encode(external_body()))
    is_problem(answer, 500, "internal")
    assert "planted" not in answer.text


async def test_the_database_goes_away_and_comes_back(settings: Settings, urls: Urls, vault: Vault) -> None:
    async with DatabaseProxy(urls["api"]) as proxy:
        through = msgspec.structs.replace(settings, database_url=proxy.url)
        async with running_api(through, urls, vault) as api:
            ada = await api.person()
            await ada.call("GET", "/bots", status=200)
            await proxy.cut()
            for _ in range(3):
                await is_away(ada)
            assert (await api.client.get("/health/live")).status_code == 200
            await proxy.mend()
            async with asyncio.timeout(10):
                await ada.call("POST", "/bots", json=external_body(), status=201)
            assert (await api.client.get("/health/ready")).status_code == 200


async def is_away(person: Person) -> None:
    for method, path in (("GET", "/bots"), ("POST", "/bots"), ("GET", "/me")):
        answer = await person.client.request(
            method, f"/api/v1{path}", headers={"Authorization": f"Bearer {person.token}"}, json=external_body()
        )
        is_problem(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "2"
    is_problem(await person.client.get("/health/ready"), 503, "database_unavailable")
    body = {"email": person.email, "password": "a long enough password"}
    is_problem(await person.client.post("/api/v1/auth/sign-in", json=body), 503, "database_unavailable")


async def test_a_server_that_refuses_connections(api: Api, admin: asyncpg.Connection) -> None:
    """As while it starts, stops or is full: it answers, but with no."""
    ada = await api.person()
    name = await admin.fetchval("select current_database()")
    await admin.execute(f'alter database "{name}" connection limit 0')
    await admin.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'tradewise_api'"
        " and datname = current_database()"
    )
    await is_away(ada)
    await admin.execute(f'alter database "{name}" connection limit -1')
    await ada.call("GET", "/bots", status=200)


async def test_a_row_that_somebody_holds(
    api: Api, admin: asyncpg.Connection, urls: Urls, settings: Settings, vault: Vault
) -> None:
    ada = await api.person()
    bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    name = await admin.fetchval("select current_database()")
    await admin.execute(f"alter role tradewise_api in database \"{name}\" set lock_timeout = '100ms'")
    async with running_api(settings, urls, vault) as impatient, admin.transaction():
        await admin.execute("select 1 from bots for update")
        head = {"Authorization": f"Bearer {ada.token}"}
        answer = await impatient.client.patch(f"/api/v1/bots/{bot}", headers=head, json={"name": "x"})
        is_problem(answer, 503, "database_unavailable")
    await ada.call("PATCH", f"/bots/{bot}", json={"name": "x"}, status=200)
