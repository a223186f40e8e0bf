"""`DELETE /me`: the person is gone, the address is free, and no tenant is left without an owner."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from control_plane.security.vault import Vault
from tests.api import PASSWORD, Api, Person
from tests.members import joined, there
from tests.world import external_body, two_tenants


async def end_me(person: Person, *, status: int = 204, **more: Any) -> Any:
    return await person.call("DELETE", "/me", json={"confirm": person.email, **more}, status=status)


async def test_nothing_of_the_person_is_left_but_what_they_did(
    api: Api, admin: asyncpg.Connection, vault: Vault
) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    other = await api.sign_in(bob.email)
    made = await bob.call("POST", "/bots", json=external_body(), **there(ada), status=201)
    body = {"name": "ci", "scopes": ["bots:read"]}
    key = (await bob.call("POST", "/api-keys", json=body, **there(ada), status=201))["key"]
    for wrong in ("", ada.email, "x"):
        problem = await bob.call("DELETE", "/me", json={"confirm": wrong}, status=422)
        assert (problem["code"], problem["errors"][0]["field"]) == ("not_confirmed", "confirm")
    keyed = msgspec.structs.replace(bob, token=key)
    assert (await end_me(keyed, status=403))["code"] == "person_required"
    await end_me(bob)
    for token in (bob.token, other.token, key):
        await msgspec.structs.replace(bob, token=token).call("GET", "/me", status=401)
    row = await admin.fetchrow("select * from users where id = $1", bob.user_id)
    assert (row["status"], row["email"], row["full_name"], row["password_hash"]) == ("deleted", None, None, None)
    assert await admin.fetchval("select status from tenants where id = $1", bob.tenant_id) == "deleted"
    assert [item["email"] for item in (await ada.call("GET", f"/tenants/{ada.tenant_id}/members"))["items"]] == [
        ada.email
    ]
    await ada.call("GET", f"/bots/{made['id']}", status=200)
    # The address signs up anew, and is somebody else.
    again = {"email": bob.email, "password": PASSWORD}
    assert (await api.client.post("/api/v1/auth/sign-in", json=again)).status_code == 401
    assert (await api.client.post("/api/v1/auth/sign-up", json=again)).status_code == 202
    anew = await api.sign_in(bob.email)
    assert anew.user_id != bob.user_id
    assert (await anew.call("GET", "/bots"))["items"] == []


async def test_the_last_owner_of_others_tenant_stays(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    second = await ada.call("POST", "/tenants", json={"name": "Alone"}, status=201)
    problem = await end_me(ada, status=409)
    assert problem["code"] == "last_owner"
    assert "Ada's workspace" in problem["detail"]
    # Refused as a whole: what is theirs alone is still there.
    assert (await ada.call("GET", f"/tenants/{second['id']}", status=200))["status"] == "active"
    await ada.call("POST", f"/tenants/{ada.tenant_id}/owner", json={"user_id": str(bob.user_id)}, status=200)
    await end_me(ada)
    assert (await bob.call("GET", f"/tenants/{ada.tenant_id}", status=200))["role"] == "owner"


async def test_others_who_subscribe_are_in_the_way_until_it_is_meant(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await two_tenants(api, admin)
    assert (await end_me(ada.person, status=409))["code"] == "has_subscribers"
    await end_me(ada.person, end_subscriptions=True)
    assert await admin.fetchval("select status from tenants where id = $1", ada.id) == "deleted"
    await bob.person.call("DELETE", f"/subscriptions/{bob.follow}", status=200)


async def test_a_person_in_no_tenant_may_go_too(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person("ada")
    await ada.call("DELETE", f"/tenants/{ada.tenant_id}", json={"confirm": "Ada's workspace"}, status=204)
    await end_me(ada)
    assert await admin.fetchval("select count(*) from users where deleted_at is null") == 0


async def test_ways_in_go_with_the_person(api: Api, admin: asyncpg.Connection) -> None:
    """Else whoever signs in from there would meet somebody who is gone, and could never come back."""
    ada = await api.person("ada")
    await ada.call("POST", "/me/totp", json={"password": PASSWORD}, status=201)
    await admin.execute(
        "insert into auth_identities (id, user_id, provider, issuer, subject, label)"
        " values (gen_random_uuid(), $1, 'telegram', 'telegram', '42', 'ada')",
        ada.user_id,
    )
    await end_me(ada)
    for table in ("auth_identities", "totp_factors", "recovery_codes"):
        assert await admin.fetchval(f"select count(*) from {table} where user_id = $1", ada.user_id) == 0, table
