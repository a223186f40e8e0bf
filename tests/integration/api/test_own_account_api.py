"""A person's own account: the password, where they are signed in, and what the log is told."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest

from control_plane.security.passwords import Passwords
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api
from tests.mailbox import Mailbox
from tests.waiting import until

NEW = "another long password"


@pytest.fixture
def mailbox(admin: asyncpg.Connection, vault: Vault) -> Mailbox:
    return Mailbox(admin, vault)


async def post(api: Api, path: str, **body: Any) -> httpx.Response:
    return await api.client.post(f"/api/v1{path}", json=body)


async def test_changing_the_password(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    other = await api.sign_in(ada.email)
    body = {"current_password": PASSWORD, "new_password": NEW}
    wrong = await ada.call("POST", "/me/password", json={**body, "current_password": "x"}, status=422)
    assert (wrong["code"], wrong["errors"][0]["field"]) == ("wrong_password", "current_password")
    await ada.call("POST", "/me/password", json={**body, "new_password": "short"}, status=400)
    await ada.call("POST", "/me/password", json=body, status=204)
    await ada.call("GET", "/me", status=200)
    await other.call("GET", "/me", status=401)
    assert (await post(api, "/auth/sign-in", email=ada.email, password=PASSWORD)).status_code == 401
    assert (await post(api, "/auth/sign-in", email=ada.email, password=NEW)).status_code == 200
    assert [letter.kind for letter in await mailbox.of(ada.email)][-1] == "password_changed"


async def test_guessing_the_password_in_a_stolen_session_is_limited(api: Api) -> None:
    ada = await api.person()
    body = {"current_password": "x", "new_password": NEW}
    for _ in range(5):
        await ada.call("POST", "/me/password", json=body, status=422)
    locked = await ada.call("POST", "/me/password", json={**body, "current_password": PASSWORD}, status=429)
    assert locked["code"] == "too_many_attempts"


async def test_sessions_are_listed_and_ended(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await api.client.post(
        "/api/v1/auth/sign-in", json={"email": ada.email, "password": PASSWORD}, headers={"User-Agent": "a phone"}
    )
    third = await api.sign_in(ada.email)
    listed = (await ada.call("GET", "/me/sessions", status=200))["items"]
    assert [item["current"] for item in listed] == [False, False, True]
    assert [item["user_agent"] for item in listed][1] == "a phone"
    assert {item["address"] for item in listed} == {"127.0.0.1"}
    assert set(listed[0]) == {"id", "created_at", "last_seen_at", "expires_at", "address", "user_agent", "current"}
    page = await ada.call("GET", "/me/sessions?limit=2", status=200)
    rest = await ada.call("GET", f"/me/sessions?limit=2&cursor={page['next_cursor']}", status=200)
    assert [*page["items"], *rest["items"]] == listed
    await ada.call("DELETE", f"/me/sessions/{listed[0]['id']}", status=204)
    await third.call("GET", "/me", status=401)
    [bobs] = (await bob.call("GET", "/me/sessions"))["items"]
    for absent in (listed[0]["id"], bobs["id"], str(uuid4())):
        assert (await ada.call("DELETE", f"/me/sessions/{absent}", status=404))["code"] == "not_found"
    await bob.call("GET", "/me", status=200)
    await ada.call("DELETE", "/me/sessions", status=204)
    assert [item["current"] for item in (await ada.call("GET", "/me/sessions"))["items"]] == [True]
    await bob.call("GET", "/me", status=200)
    await admin.execute("update sessions set last_seen_at = now() - interval '8 days' where user_id = $1", bob.user_id)
    again = await api.sign_in(bob.email)
    assert len((await again.call("GET", "/me/sessions"))["items"]) == 1  # what has idled out is none
    await again.call("DELETE", f"/me/sessions/{bobs['id']}", status=404)
    key = await ada.call("POST", "/api-keys", json={"name": "ci", "scopes": ["bots:read"]}, status=201)
    program = msgspec.structs.replace(ada, token=key["key"])
    for method, path in (
        ("GET", "/me/sessions"),
        ("DELETE", "/me/sessions"),
        ("DELETE", f"/me/sessions/{listed[2]['id']}"),
        ("POST", "/me/password"),
    ):
        body = {"current_password": PASSWORD, "new_password": NEW} if method == "POST" else None
        assert (await program.call(method, path, json=body, status=403))["code"] == "person_required"
    await ada.call("DELETE", f"/me/sessions/{listed[2]['id']}", status=204)
    await ada.call("GET", "/me", status=401)


async def test_a_password_is_hashed_anew_when_the_parameters_have_changed(
    api: Api, settings: Settings, admin: asyncpg.Connection
) -> None:
    ada = await api.person()
    other = Passwords(msgspec.structs.replace(settings, password_time_cost=2))
    await admin.execute("update users set password_hash = $1", await other.hash(PASSWORD))
    assert (await post(api, "/auth/sign-in", email=ada.email, password="x")).status_code == 401
    assert "t=2" in await admin.fetchval("select password_hash from users")
    await api.sign_in(ada.email)
    renewed = await admin.fetchval("select password_hash from users")
    assert "t=1" in renewed
    await api.sign_in(ada.email)
    assert await admin.fetchval("select password_hash from users") == renewed


async def test_the_log_is_told_what_people_do(api: Api, mailbox: Mailbox, admin: asyncpg.Connection) -> None:
    await admin.execute(
        "create table noted (person uuid, action text, detail jsonb);"
        " grant insert on noted to public;"
        " create or replace function audit_person_note(of_user uuid, of_action text, of_detail jsonb) returns void"
        " language sql security definer set search_path = public, pg_temp"
        " as $$ insert into noted values (of_user, of_action, of_detail) $$"
    )
    ada = await api.person()
    for _ in range(5):
        await post(api, "/auth/sign-in", email=ada.email, password="x")

    async def told() -> bool:
        return bool(await admin.fetchval("select count(*) = 6 from noted where action like 'sign_in.%'"))

    await until(told, what="the failures are told, after their answers")
    await post(api, "/auth/verify-email", email=ada.email, code=await mailbox.code(ada.email, "verify_email"))
    await admin.execute("delete from sign_in_failures")
    await api.sign_in(ada.email)
    await ada.call("POST", "/me/password", json={"current_password": PASSWORD, "new_password": NEW}, status=204)
    await post(api, "/auth/password/forgot", email=ada.email)
    code = await mailbox.code(ada.email, "reset_password")
    await post(api, "/auth/password/reset", email=ada.email, code=code, new_password=PASSWORD)
    out = await api.sign_in(ada.email)
    await out.call("POST", "/auth/sign-out", status=204)
    rows = await admin.fetch("select action from noted where person = $1", ada.user_id)
    assert [row["action"] for row in rows] == [
        "session.opened",
        *["sign_in.failed"] * 5,
        "sign_in.locked",
        "email.verified",
        "session.opened",
        "session.revoked",
        "password.changed",
        "password.reset",
        "session.opened",
        "session.revoked",
    ]
    everything = str(await admin.fetch("select * from noted"))
    assert "python-httpx" in everything
    for secret in (PASSWORD, NEW, code):
        assert secret not in everything
