"""Signing up, in and out; keys that do no more than their makers; the tenant that is acted in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest
from uuid_utils.compat import uuid7

from tests.api import PASSWORD, Api, Person
from tests.world import external_body

ADDRESS = "Ada.Lovelace@Example.com"


async def post(api: Api, path: str, **body: Any) -> httpx.Response:
    return await api.client.post(f"/api/v1{path}", json=body)


async def with_token(api: Api, token: str, path: str = "/me", **headers: str) -> httpx.Response:
    return await api.client.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {token}", **headers})


def told(answer: httpx.Response) -> tuple[Any, ...]:
    """Everything of an answer that could tell one case from another."""
    changing = {"date", "x-request-id"}
    return answer.status_code, answer.json(), {k: v for k, v in answer.headers.items() if k not in changing}


async def key_of(person: Person, *scopes: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await person.call(
        "POST", "/api-keys", json={"name": "ci", "scopes": list(scopes), **more}, status=201
    )
    return made


async def test_signing_up_tells_nothing_of_who_is_here(api: Api, admin: asyncpg.Connection) -> None:
    first = await post(api, "/auth/sign-up", email=ADDRESS, password=PASSWORD, full_name="Ada")
    again = await post(api, "/auth/sign-up", email=ADDRESS.upper(), password=PASSWORD + "!", full_name="Mallory")
    assert first.status_code == 202
    assert told(first) == told(again)
    for table in ("users", "tenants", "memberships"):
        assert await admin.fetchval(f"select count(*) from {table}") == 1
    assert (await post(api, "/auth/sign-in", email=ADDRESS.lower(), password=PASSWORD)).status_code == 200
    assert (await post(api, "/auth/sign-in", email=ADDRESS, password=PASSWORD + "!")).status_code == 401


async def test_two_at_once_make_one_person(api: Api, admin: asyncpg.Connection) -> None:
    answers = await asyncio.gather(*(post(api, "/auth/sign-up", email=ADDRESS, password=PASSWORD) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert await admin.fetchval("select count(*) from tenants") == 1


async def test_failures_to_sign_in_are_all_alike(api: Api, admin: asyncpg.Connection) -> None:
    ada, gone, away = [await api.person(name) for name in ("ada", "gone", "away")]
    await admin.execute("update users set status = 'suspended' where id = $1", away.user_id)
    await admin.execute("update users set status = 'deleted', deleted_at = now() where id = $1", gone.user_id)
    answers = [
        await post(api, "/auth/sign-in", email=email, password=password)
        for email, password in (
            (ada.email, PASSWORD + "x"),
            ("nobody@example.com", PASSWORD),
            (away.email, PASSWORD),
            (gone.email, PASSWORD),
            ("not an address", PASSWORD),
        )
    ]
    assert answers[0].status_code == 401
    assert answers[0].json()["code"] == "sign_in_failed"
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert all(told(answer) == told(answers[0]) for answer in answers)
    assert (await with_token(api, away.token)).status_code == 401


BAD_SIGN_UPS: list[Any] = [
    {"email": ADDRESS, "password": "short"},
    {"email": ADDRESS, "password": "x" * 257},
    {"email": "nobody", "password": PASSWORD},
    {"email": "a b@example.com", "password": PASSWORD},
    {"email": "a@example.com\n", "password": PASSWORD},
    {"email": "a@" + "b" * 260 + ".com", "password": PASSWORD},
    {"email": ADDRESS, "password": PASSWORD, "full_name": " \t "},
    {"email": ADDRESS, "password": PASSWORD, "admin": True},
    {"email": ADDRESS, "password": PASSWORD, "tenant_id": str(uuid4())},
    {"email": ADDRESS},
    {"password": PASSWORD},
    [],
    "text",
    None,
]


async def test_bad_sign_ups(api: Api, admin: asyncpg.Connection, subtests: pytest.Subtests) -> None:

    for body in BAD_SIGN_UPS:
        with subtests.test(str(body)):
            answer = await api.client.post("/api/v1/auth/sign-up", json=body)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_fields")
            assert PASSWORD not in answer.text
            assert await admin.fetchval("select count(*) from users") == 0


async def test_signing_out_ends_this_session_alone(api: Api) -> None:
    ada = await api.person()
    other = await api.sign_in(ada.email)
    await ada.call("POST", "/auth/sign-out", status=204)
    gone = await with_token(api, ada.token)
    assert (gone.status_code, gone.headers["www-authenticate"]) == (401, "Bearer")
    assert (await with_token(api, other.token)).status_code == 200


async def test_sessions_end_by_age_and_by_idleness(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    await admin.execute("update sessions set last_seen_at = now() - interval '6 days'")
    assert (await with_token(api, ada.token)).status_code == 200
    assert await admin.fetchval("select now() - last_seen_at < interval '1 minute' from sessions")  # using it keeps it
    await admin.execute("update sessions set last_seen_at = now() - interval '8 days'")
    assert (await with_token(api, ada.token)).status_code == 401
    await admin.execute("update sessions set last_seen_at = now(), expires_at = now()")
    assert (await with_token(api, ada.token)).status_code == 401


async def test_a_session_in_use_does_not_idle_out_however_short(api: Api, admin: asyncpg.Connection) -> None:
    await api.person()
    await admin.execute("update sessions set last_seen_at = now() - interval '30 seconds'")
    found = "select count(*) from auth_session((select token_hash from sessions), interval '1 minute')"
    assert await admin.fetchval(found) == 1
    assert await admin.fetchval("select last_seen_at > now() - interval '5 seconds' from sessions")


BAD_CREDENTIALS: list[str | None] = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Basic dTpw",
    "Bearer nobody",
    "Bearer tw_live_",
    "Bearer tw_live_abc_def",
    "Bearer \xff",
]


async def test_without_a_good_credential(api: Api, subtests: pytest.Subtests) -> None:

    for header in BAD_CREDENTIALS:
        with subtests.test(str(header)):
            headers: dict[bytes, bytes] = {} if header is None else {b"Authorization": header.encode("latin-1")}
            for method, path in (("GET", "/bots"), ("POST", "/bots"), ("POST", "/auth/sign-out")):
                answer = await api.client.request(method, f"/api/v1{path}", headers=headers, content=b"{broken")
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_is_shown_once_and_works_until_revoked(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    made = await key_of(ada, "bots:read", "bots:write")
    assert made["key"].startswith(f"tw_live_{made['prefix']}_")
    assert (await ada.call("GET", "/api-keys"))["items"] == [{**made, "key": None}]
    for _ in range(2):
        assert (await with_token(api, made["key"], "/bots")).status_code == 200
    used = (await ada.call("GET", "/api-keys"))["items"][0]["last_used_at"]
    assert used is not None
    await admin.execute("update api_keys set last_used_at = null")
    wrong = await with_token(api, made["key"][:-1] + ("x" if made["key"][-1] != "x" else "y"), "/bots")
    assert wrong.status_code == 401
    assert await admin.fetchval("select last_used_at from api_keys") is None  # a prefix alone uses nothing
    for _ in range(2):
        await ada.call("DELETE", f"/api-keys/{made['id']}", status=204)
    assert (await with_token(api, made["key"], "/bots")).status_code == 401
    assert (await ada.call("GET", "/api-keys"))["items"][0]["revoked_at"] is not None


async def test_a_key_expires(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = await key_of(ada, "bots:read", expires_at=soon)
    assert (await with_token(api, made["key"], "/bots")).status_code == 200
    await admin.execute("update api_keys set expires_at = now()")
    assert (await with_token(api, made["key"], "/bots")).status_code == 401
    for bad in ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00"):
        body = {"name": "x", "scopes": ["bots:read"], "expires_at": bad}
        problem = await ada.call("POST", "/api-keys", json=body, status=422)
        assert problem["errors"][0]["field"] == "expires_at"


async def test_a_key_does_what_its_scopes_say(api: Api) -> None:
    ada = await api.person()
    reader = msgspec.structs.replace(ada, token=(await key_of(ada, "bots:read"))["key"])
    await reader.call("GET", "/bots", status=200)
    for method, path in (
        ("POST", "/bots"),
        ("GET", "/templates"),
        ("GET", "/api-keys"),
        ("POST", f"/bots/{uuid4()}/ping"),
        ("GET", "/marketplace"),
    ):
        assert (await reader.call(method, path, json={}, status=403))["code"] == "missing_scope"
    for method, path in (("POST", "/auth/sign-out"), ("PATCH", "/me")):
        assert (await reader.call(method, path, json={"full_name": "X"}, status=403))["code"] == "person_required"


async def test_a_key_never_exceeds_its_maker(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    for scopes, code in ((["everything"], "unknown_scope"), (["bots:read", "admin"], "unknown_scope")):
        problem = await ada.call("POST", "/api-keys", json={"name": "x", "scopes": scopes}, status=422)
        assert problem["code"] == code
    for wrong in ([], "bots:read", [1], None):
        await ada.call("POST", "/api-keys", json={"name": "x", "scopes": wrong}, status=400)
    maker = (await key_of(ada, "keys:write", "bots:read"))["key"]
    head = {"Authorization": f"Bearer {maker}"}
    more = await api.client.post("/api/v1/api-keys", headers=head, json={"name": "x", "scopes": ["bots:write"]})
    assert (more.status_code, more.json()["code"]) == (422, "scope_not_held")
    less = await api.client.post("/api/v1/api-keys", headers=head, json={"name": "x", "scopes": ["bots:read"]})
    assert less.status_code == 201
    writer = (await key_of(ada, "bots:write", "bots:read"))["key"]
    await admin.execute("update memberships set role = 'viewer'")
    answer = await api.client.post("/api/v1/bots", headers={"Authorization": f"Bearer {writer}"}, json=external_body())
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert (await with_token(api, writer, "/bots")).status_code == 200
    await admin.execute("delete from memberships")
    assert (await with_token(api, writer, "/bots")).status_code == 401


async def test_the_tenant_acted_in(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await admin.execute(
        "insert into memberships (id, tenant_id, user_id, role) values ($1, $2, $3, 'viewer')",
        uuid7(),
        bob.tenant_id,
        ada.user_id,
    )
    bot = await bob.call("POST", "/bots", json=external_body(), status=201)
    assert (await ada.call("GET", "/bots"))["items"] == []
    there = {"X-Tenant-ID": str(bob.tenant_id)}
    assert [item["id"] for item in (await ada.call("GET", "/bots", headers=there))["items"]] == [bot["id"]]
    assert (await ada.call("POST", "/bots", json=external_body(), headers=there, status=403))["code"] == "missing_scope"
    me = await ada.call("GET", "/me", headers=there, status=200)
    assert (me["tenant"]["id"], me["tenant"]["role"], len(me["tenants"])) == (str(bob.tenant_id), "viewer", 2)
    key = (await key_of(ada, "bots:read"))["key"]
    mine = (await with_token(api, key)).json()
    assert [item["id"] for item in mine["tenants"]] == [str(ada.tenant_id)]  # a key tells of no other tenant
    assert (await with_token(api, key, **there)).json()["code"] == "not_a_member"
    unknown = {"X-Tenant-ID": str(uuid4())}
    closed = await bob.call("GET", "/bots", headers={"X-Tenant-ID": str(ada.tenant_id)}, status=403)
    assert closed == await bob.call("GET", "/bots", headers=unknown, status=403)
    assert (await bob.call("GET", "/bots", headers={"X-Tenant-ID": "x"}, status=400))["code"] == "invalid_tenant_header"
    await admin.execute("update tenants set status = 'suspended' where id = $1", bob.tenant_id)
    await bob.call("GET", "/bots", status=200)
    assert (await bob.call("POST", "/bots", json=external_body(), status=403))["code"] == "tenant_suspended"
    await admin.execute("update tenants set status = 'deleted' where id = $1", bob.tenant_id)
    await bob.call("GET", "/bots", status=403)
    await ada.call("GET", "/bots", headers=there, status=403)


async def test_me(api: Api) -> None:
    ada = await api.person()
    me = await ada.call("GET", "/me", status=200)
    assert (me["user"]["email"], me["user"]["full_name"], me["tenant"]["role"]) == (ada.email, "Ada", "owner")
    assert UUID(me["tenant"]["id"]) == ada.tenant_id
    changed = await ada.call("PATCH", "/me", json={"full_name": "Ada L."}, status=200)
    assert changed["user"]["full_name"] == "Ada L."
    assert (await ada.call("PATCH", "/me", json={"full_name": None}, status=200))["user"]["full_name"] is None
    for body in ({}, {"email": "new@example.com"}, {"full_name": ""}):
        await ada.call("PATCH", "/me", json=body, status=400)
