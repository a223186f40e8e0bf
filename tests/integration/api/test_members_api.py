"""Members: roles, leaving, removing, handing over; and the last owner, also when two act at once."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from control_plane.database.sessions import Database
from control_plane.live import stream as live_stream
from control_plane.security.vault import Vault
from tests.api import Api, Person
from tests.members import invited, joined, there
from tests.servers.web_server import following, served
from tests.waiting import until
from tests.world import external_body

_WAITS = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"


def at(owner: Person, user: UUID | None = None) -> str:
    return f"/tenants/{owner.tenant_id}/members" + (f"/{user}" if user else "")


async def role_of(admin: asyncpg.Connection, owner: Person, person: Person) -> str | None:
    found: str | None = await admin.fetchval(
        "select role from memberships where tenant_id = $1 and user_id = $2", owner.tenant_id, person.user_id
    )
    return found


async def test_everybody_sees_who_is_in_the_tenant(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    people = {role: await joined(api, admin, vault, ada, role, role) for role in ("admin", "trader", "viewer")}
    for person in (ada, *people.values()):
        listed = (await person.call("GET", at(ada), status=200))["items"]
        assert {(item["email"], item["role"]) for item in listed} == {
            (ada.email, "owner"),
            *((member.email, role) for role, member in people.items()),
        }
    page = await ada.call("GET", f"{at(ada)}?limit=3", status=200)
    rest = await ada.call("GET", f"{at(ada)}?limit=3&cursor={page['next_cursor']}", status=200)
    assert len(page["items"] + rest["items"]) == 4
    assert rest["next_cursor"] is None


async def test_roles_are_given_up_to_ones_own(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob, cas, dan = [await joined(api, admin, vault, ada, role, role) for role in ("admin", "admin", "viewer")]
    changed = await bob.call("PATCH", at(ada, dan.user_id), json={"role": "admin"}, status=200)
    assert (changed["user_id"], changed["role"]) == (str(dan.user_id), "admin")
    await bob.call("PATCH", at(ada, dan.user_id), json={"role": "trader"}, status=200)
    for user, role in ((dan.user_id, "owner"), (bob.user_id, "owner"), (ada.user_id, "viewer")):
        problem = await bob.call("PATCH", at(ada, user), json={"role": role}, status=403)
        assert problem["code"] == "above_your_role"
    assert (await bob.call("DELETE", at(ada, ada.user_id), status=403))["code"] == "above_your_role"
    assert (await dan.call("PATCH", at(ada, dan.user_id), json={"role": "viewer"}, status=403))[
        "code"
    ] == "missing_scope"
    assert (await dan.call("DELETE", at(ada, cas.user_id), status=403))["code"] == "missing_scope"
    for method in ("PATCH", "DELETE"):
        await bob.call(method, at(ada, uuid4()), json={"role": "viewer"}, status=404)
    await bob.call("PATCH", at(ada, dan.user_id), json={"role": "king"}, status=400)
    await bob.call("DELETE", at(ada, cas.user_id), status=204)
    assert await role_of(admin, ada, cas) is None


async def test_the_role_in_the_tenant_of_the_path_counts(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    """Bob owns a tenant and is a viewer in Ada's, whichever of them he names in a header."""
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "viewer", "bob")
    for header in ({}, {"X-Tenant-ID": str(bob.tenant_id)}, {"X-Tenant-ID": str(uuid4())}, {"X-Tenant-ID": "garbage"}):
        assert (await bob.call("GET", f"/tenants/{ada.tenant_id}", headers=header, status=200))["role"] == "viewer"
        problem = await bob.call("PATCH", at(ada, bob.user_id), json={"role": "admin"}, headers=header, status=403)
        assert problem["code"] == "missing_scope"
        # Ada is nobody in Bob's.
        path = f"/tenants/{bob.tenant_id}"
        assert (await ada.call("GET", path, headers=header, status=404))["code"] == "not_found"
    me = await bob.call("GET", "/me", **there(ada))
    assert "members:write" not in me["scopes"]


async def test_the_last_owner_stays_one(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    for method, body in (("PATCH", {"role": "admin"}), ("DELETE", None)):
        assert (await ada.call(method, at(ada, ada.user_id), json=body, status=409))["code"] == "last_owner"
    await ada.call("PATCH", at(ada, bob.user_id), json={"role": "owner"}, status=200)
    await ada.call("PATCH", at(ada, ada.user_id), json={"role": "viewer"}, status=200)
    assert (await bob.call("DELETE", at(ada, bob.user_id), status=409))["code"] == "last_owner"
    await ada.call("DELETE", at(ada, ada.user_id), status=204)
    await ada.call("GET", at(ada), status=404)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_two_owners_at_once_leave_one(api: Api, admin: asyncpg.Connection, vault: Vault, method: str) -> None:
    """Each acts on the other at the same moment: the second is told that they have lost the right to."""
    for _ in range(5):
        ada = await api.person("ada")
        bob = await joined(api, admin, vault, ada, "owner", "bob")
        answers = await asyncio.gather(
            *(
                api.client.request(
                    method,
                    f"/api/v1{at(ada, other.user_id)}",
                    headers={"Authorization": f"Bearer {one.token}"},
                    json={"role": "admin"},
                )
                for one, other in ((ada, bob), (bob, ada))
            )
        )
        good = {"PATCH": 200, "DELETE": 204}[method]
        assert sorted(answer.status_code for answer in answers) in ([good, 403], [good, 404]), [
            answer.text for answer in answers
        ]
        owners = "select count(*) from memberships where tenant_id = $1 and role = 'owner'"
        assert await admin.fetchval(owners, ada.tenant_id) == 1


async def test_two_owners_who_leave_at_once_leave_one(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    for _ in range(5):
        ada = await api.person("ada")
        bob = await joined(api, admin, vault, ada, "owner", "bob")
        answers = await asyncio.gather(
            *(
                api.client.delete(f"/api/v1{at(ada, one.user_id)}", headers={"Authorization": f"Bearer {one.token}"})
                for one in (ada, bob)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [204, 409]
        assert await admin.fetchval("select count(*) from memberships where tenant_id = $1", ada.tenant_id) == 1


async def test_the_database_keeps_an_owner_whatever_the_web_tier_says(
    api: Api, api_db: Database, admin: asyncpg.Connection, vault: Vault
) -> None:
    """Past every service: two transactions of the web tier's role that each demote one of two owners."""
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "owner", "bob")
    demoted = asyncio.Event()

    async def demote() -> None:
        async with api_db.tenant(ada.tenant_id) as session:
            await session.execute(
                text("update memberships set role = 'viewer' where user_id = :user"), {"user": ada.user_id}
            )
            demoted.set()
            # The other one waits for our lock meanwhile, and finds us demoted when it gets it.
            await until(lambda: admin.fetchval(_WAITS), what="the other transaction waits")

    async def leave() -> None:
        await demoted.wait()
        async with api_db.tenant(ada.tenant_id) as session:
            await session.execute(
                text("delete from memberships where user_id = :user and tenant_id = :tenant"),
                {"user": bob.user_id, "tenant": ada.tenant_id},
            )

    done = await asyncio.gather(demote(), leave(), return_exceptions=True)
    assert done[0] is None
    assert isinstance(done[1], ProgrammingError)
    assert "keeps an owner" in str(done[1])
    with pytest.raises(ProgrammingError, match="keeps an owner"):
        async with api_db.tenant(ada.tenant_id) as session:
            await session.execute(text("update memberships set role = 'viewer'"))


async def test_a_removed_member_is_out_at_once(
    api: Api, admin: asyncpg.Connection, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key stops, the stream ends, and neither comes back with the person."""
    monkeypatch.setattr(live_stream, "_QUIET_S", 0.05)
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    body = {"name": "ci", "scopes": ["bots:read"]}
    key = (await bob.call("POST", "/api-keys", json=body, **there(ada), status=201))["key"]
    keyed = msgspec.structs.replace(bob, token=key)
    own = (await bob.call("POST", "/api-keys", json=body, status=201))["key"]
    await keyed.call("GET", "/bots", status=200)
    async with served(api) as url, following(url, key) as stream:
        await ada.call("DELETE", at(ada, bob.user_id), status=204)
        await keyed.call("GET", "/bots", status=401)
        with pytest.raises(StopAsyncIteration):
            await stream.until("bot", str(uuid4()))
    await bob.call("GET", "/bots", **there(ada), status=403)
    await bob.call("GET", f"/tenants/{ada.tenant_id}", status=404)
    await msgspec.structs.replace(bob, token=own).call("GET", "/bots", status=200)  # of their own tenant: none of ours
    await bob.call("GET", "/bots", status=200)
    revoked = (await ada.call("GET", "/api-keys"))["items"]
    assert [item["revoked_at"] is not None for item in revoked] == [True]
    await invited(ada, bob.email, "admin", status=201)
    await keyed.call("GET", "/bots", status=401)


async def test_a_person_in_the_dashboard_stream_is_out_too(
    api: Api, admin: asyncpg.Connection, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_stream, "_QUIET_S", 0.05)
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "viewer", "bob")
    await bob.call("DELETE", f"/tenants/{bob.tenant_id}", json={"confirm": "Bob's workspace"}, status=204)
    async with served(api) as url, following(url, bob.token) as stream:
        bot = await ada.call("POST", "/bots", json=external_body(), status=201)
        assert (await stream.next()).id == bot["id"]
        await bob.call("DELETE", at(ada, bob.user_id), status=204)
        with pytest.raises(StopAsyncIteration):
            await stream.until("bot", str(uuid4()))


async def test_a_demoted_member_holds_less_at_once(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    body = {"name": "ci", "scopes": ["bots:read", "bots:write"]}
    key = await bob.call("POST", "/api-keys", json=body, **there(ada), status=201)
    keyed = msgspec.structs.replace(bob, token=key["key"])
    await keyed.call("POST", "/bots", json=external_body(), status=201)
    await ada.call("PATCH", at(ada, bob.user_id), json={"role": "viewer"}, status=200)
    problem = await keyed.call("POST", "/bots", json=external_body(api_url="http://127.0.0.1:9"), status=403)
    assert problem["code"] == "missing_scope"
    await keyed.call("GET", "/bots", status=200)


async def test_handing_over(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "trader", "bob")
    cas = await api.person("cas")
    path = f"/tenants/{ada.tenant_id}/owner"
    assert (await bob.call("POST", path, json={"user_id": str(bob.user_id)}, status=403))["code"] == "missing_scope"
    for user, code in ((cas.user_id, "not_a_member"), (uuid4(), "not_a_member"), (ada.user_id, "owner_already")):
        problem = await ada.call("POST", path, json={"user_id": str(user)}, status=422)
        assert (problem["code"], problem["errors"][0]["field"]) == (code, "user_id")
    tenant = await ada.call("POST", path, json={"user_id": str(bob.user_id)}, status=200)
    assert tenant["role"] == "admin"
    assert [await role_of(admin, ada, person) for person in (ada, bob)] == ["admin", "owner"]
    await ada.call("POST", path, json={"user_id": str(ada.user_id)}, status=403)


async def test_a_key_cannot_do_what_needs_a_person(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "trader", "bob")
    scopes = (await ada.call("GET", "/me"))["scopes"]
    made = await ada.call("POST", "/api-keys", json={"name": "all", "scopes": scopes}, status=201)
    key = msgspec.structs.replace(ada, token=made["key"])
    mine = f"/tenants/{ada.tenant_id}"
    for method, path, body in (
        ("DELETE", mine, {"confirm": "x"}),
        ("POST", f"{mine}/owner", {"user_id": str(bob.user_id)}),
        ("POST", f"{mine}/suspend", None),
        ("POST", f"{mine}/resume", None),
        ("POST", "/tenants", {"name": "another"}),
        ("POST", "/invitations/accept", {"token": "x"}),
        ("DELETE", at(ada, ada.user_id), None),
    ):
        assert (await key.call(method, path, json=body, status=403))["code"] == "person_required", path
    await key.call("PATCH", at(ada, bob.user_id), json={"role": "viewer"}, status=200)
    await key.call("GET", f"/tenants/{bob.tenant_id}", status=404)
    assert [item["id"] for item in (await key.call("GET", "/tenants", status=200))["items"]] == [str(ada.tenant_id)]
