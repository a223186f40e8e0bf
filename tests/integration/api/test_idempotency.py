"""``Idempotency-Key``: the same answer, once made."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from control_plane.http import idempotency
from tests.api import Api, Person
from tests.world import external_body, published, template_body


async def send(person: Person, path: str, key: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {person.token}", "Idempotency-Key": key, **options.pop("headers", {})}
    return await person.client.post(f"/api/v1{path}", headers=headers, **options)


async def test_every_operation_that_makes_or_starts_something_answers_again(
    api: Api, admin: asyncpg.Connection
) -> None:
    ada = await api.person()
    template = str(await published(ada))
    hosted = {"bot_type": "platform", "engine": "tradewise", "name": "ours"}
    bot = (await ada.call("POST", "/bots", json=hosted, status=201))["id"]
    for number, (path, body) in enumerate(
        (
            ("/bots", external_body()),
            ("/templates", template_body()),
            (f"/templates/{template}/versions", {"parameters": {}, "config": {}}),
            ("/subscriptions", {"template_id": template, "allocation_amount": "100"}),
            (f"/bots/{bot}/start", None),
            (f"/bots/{bot}/restart", None),
            (f"/bots/{bot}/stop", None),
        )
    ):
        options = {"json": body} if body is not None else {}
        first, again = [await send(ada, path, f"key-{number}", **options) for _ in range(2)]
        assert first.status_code in {201, 202}, first.text
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
    assert await admin.fetchval("select generation from bots where name = 'ours'") == 3


async def test_another_request_with_the_same_key_is_refused(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    assert (await send(ada, "/bots", "k", json=external_body())).status_code == 201
    for path, body in (("/bots", external_body(name="other")), ("/templates", template_body())):
        answer = await send(ada, path, "k", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await admin.fetchval("select count(*) from bots") == 1


async def test_many_at_once_make_one(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    answers = await asyncio.gather(*(send(ada, "/templates", "k", json=template_body()) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert await admin.fetchval("select count(*) from bot_templates") == 1


async def test_a_refusal_is_not_kept(api: Api) -> None:
    ada = await api.person()
    assert (await send(ada, "/bots", "k", json=external_body(api_url="http://10.0.0.1"))).status_code == 422
    assert (await send(ada, "/bots", "k", json=external_body())).status_code == 201


async def test_the_key_of_an_answer_is_not_replayed(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    body = {"name": "ci", "scopes": ["bots:read"]}
    first, again = [(await send(ada, "/api-keys", "k", json=body)).json() for _ in range(2)]
    assert first["key"] is not None
    assert again == {**first, "key": None}
    kept = await admin.fetchval("select answer::text from idempotency_records")
    assert first["key"] not in kept
    assert await admin.fetchval("select count(*) from api_keys") == 1


async def test_keys_belong_to_their_caller(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    scopes = ["bots:read", "bots:write"]
    made = await ada.call("POST", "/api-keys", json={"name": "ci", "scopes": scopes}, status=201)
    ids = set()
    for token, port in ((ada.token, 9000), (bob.token, 9000), (made["key"], 9001)):
        body = external_body(api_url=f"http://127.0.0.1:{port}")
        answer = await send(ada, "/bots", "k", json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 201
        ids.add(answer.json()["id"])
    assert len(ids) == 3


async def test_each_tenant_of_a_person_has_its_own(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await admin.execute(
        "insert into memberships (id, tenant_id, user_id, role) values ($1, $2, $3, 'owner')",
        uuid7(),
        bob.tenant_id,
        ada.user_id,
    )
    there = {"X-Tenant-ID": str(bob.tenant_id)}
    here, elsewhere = [
        await send(ada, "/templates", "k", json=template_body(), headers=headers) for headers in ({}, there)
    ]
    assert (here.status_code, elsewhere.status_code) == (201, 201)
    assert here.json()["id"] != elsewhere.json()["id"]
    again = await send(ada, "/templates", "k", json=template_body(), headers=there)
    assert (again.json(), again.headers["idempotent-replayed"]) == (elsewhere.json(), "true")
    tenants = await admin.fetch("select tenant_id from idempotency_records order by tenant_id")
    assert [row["tenant_id"] for row in tenants] == sorted([ada.tenant_id, bob.tenant_id])


async def test_another_query_is_another_request(api: Api) -> None:
    ada = await api.person()
    assert (await send(ada, "/templates", "k", json=template_body())).status_code == 201
    answer = await send(ada, "/templates?x=1", "k", json=template_body())
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_record_that_is_cleared_away_meanwhile_is_no_fault(
    api: Api, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler deletes what is older than a day between the claim and the look."""
    ada = await api.person()
    assert (await send(ada, "/templates", "k", json=template_body())).status_code == 201
    nothing = text("select request_hash, status_code, answer from idempotency_records where :key = :principal")
    monkeypatch.setattr(idempotency, "_STORED", nothing)
    answer = await send(ada, "/templates", "k", json=template_body())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_a_key_is_forgotten_after_a_day(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    first = (await send(ada, "/templates", "k", json=template_body())).json()["id"]
    await admin.execute("update idempotency_records set created_at = now() - interval '23 hours 59 minutes'")
    assert (await send(ada, "/templates", "k", json=template_body())).json()["id"] == first
    await admin.execute("update idempotency_records set created_at = now() - interval '24 hours 1 minute'")
    assert (await send(ada, "/templates", "k", json=template_body(name="new"))).json()["id"] != first


BAD_KEYS: list[str] = ["", " ", "a b", "x" * 201, "\xff", "a\tb"]


async def test_bad_keys(api: Api, subtests: pytest.Subtests) -> None:
    ada = await api.person()
    for key in BAD_KEYS:
        with subtests.test(str(key)):
            headers = {b"Authorization": f"Bearer {ada.token}".encode(), b"Idempotency-Key": key.encode("latin-1")}
            answer = await ada.client.post("/api/v1/bots", headers=headers, json=external_body())
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


async def test_a_replay_needs_the_scope_still(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    body = {"bot_type": "platform", "engine": "tradewise", "name": "ours"}
    bot = (await ada.call("POST", "/bots", json=body, status=201))["id"]
    assert (await send(ada, f"/bots/{bot}/start", "k")).status_code == 202
    await admin.execute("update memberships set role = 'viewer'")
    assert (await send(ada, f"/bots/{bot}/start", "k")).status_code == 403
