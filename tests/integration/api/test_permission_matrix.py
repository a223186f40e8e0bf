"""Routes x roles x tenants, generated from the OpenAPI document: who gets in follows from the permission data alone.

A new operation is in the matrix by itself: nobody gets in for want of somebody thinking of it.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from control_plane.bots import wish_routes
from control_plane.identity.models import ROLES
from control_plane.identity.permissions import ROLE_SCOPES
from control_plane.security.vault import Vault
from tests.api import Api
from tests.integration.api.test_contract import BODIES, LEAVING, OPERATIONS, PUBLIC, everything, ids_of
from tests.members import joined
from tests.world import Tenant, full_tenant, subscribe

#: Streams without an end: only who is not let in can be asked.
ENDLESS = {"GET /api/v1/events"}
#: What ends the person's session or the person: tried in tests of their own.
ENDS = {"POST /api/v1/auth/sign-out", "DELETE /api/v1/me"}
#: What an operation answers to a right caller who names something that does not exist.
ABSENT = {"POST /api/v1/invitations/accept": 404}
ORDER = ("GET", "POST", "PATCH", "PUT", "DELETE")
#: Rest changes what everything else answers.
LAST = ("/suspend", "/resume")
SECURED = sorted(
    ((verb, path, operation) for verb, path, operation in OPERATIONS if "security" in operation),
    key=lambda item: (item[1].endswith(LAST), item[1].endswith(LAST[1]), ORDER.index(item[0]), item[1]),
)


@pytest.fixture(autouse=True)
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No poller runs here: an answer that waits for one need not wait for long."""
    monkeypatch.setattr(wish_routes, "_PING_WAIT_S", 0.2)


def needed(verb: str, path: str, operation: dict[str, Any]) -> str | None:
    """The scope that the document names; removing somebody else is looked at inside the operation."""
    scopes = operation["security"][0]["bearer"]
    return "members:write" if f"{verb} {path}" == LEAVING else (scopes[0] if scopes else None)


def needs_a_person(operation: dict[str, Any]) -> bool:
    return "Needs a signed-in person" in operation["description"]


class Ask:
    """Calls operations on one tenant's things."""

    def __init__(self, api: Api, tenant: Tenant, known: dict[str, Any]) -> None:
        self.api = api
        self.tenant = tenant
        self.known = known

    def knows(self, path: str) -> bool:
        """Whether each thing that the path names is there."""
        return set(re.findall(r"\{(\w+)\}", path)) <= self.known.keys()

    async def __call__(self, verb: str, path: str, token: str | None, **headers: str) -> httpx.Response:
        at = re.sub(r"\{(\w+)\}", lambda match: str(self.known.get(match[1], uuid4())), path)
        body = BODIES.get(f"{verb} {path}")
        if f"{verb} {path}" == "POST /api/v1/subscriptions":
            body = {"template_id": str(self.tenant.template), "allocation_amount": "1000"}
        head = {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}
        return await self.api.client.request(verb, at, headers=head, json=body)


async def asking(api: Api, admin: asyncpg.Connection, vault: Vault) -> Ask:
    tenant = await full_tenant(api, admin, "ada")
    other = await joined(api, admin, vault, tenant.person, "viewer", "other")
    follow = await subscribe(tenant.person, tenant.shared_template)
    known = {name: values[0] for name, values in ids_of(tenant).items()}
    return Ask(api, tenant, {**known, "user_id": other.user_id, "subscription_id": follow["id"]})


async def test_nobody_and_strangers_get_in_nowhere_and_change_nothing(
    api: Api, admin: asyncpg.Connection, vault: Vault
) -> None:
    ask = await asking(api, admin, vault)
    stranger = await api.person("eve")
    nowhere = await api.person("nowhere")
    await admin.execute("delete from memberships where user_id = $1", nowhere.user_id)
    before = await everything(admin, ask.tenant)
    for verb, path, operation in SECURED:
        where = (verb, path)
        for token in (None, "garbage", "tw_live_0123456789ab_garbage"):
            answer = await ask(verb, path, token)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), where
        # A member of another tenant, whose owner they are, and somebody who is in none at all.
        of_path = "{tenant_id}" in path
        for person in (stranger, nowhere):
            answer = await ask(verb, path, person.token, **{"X-Tenant-ID": str(ask.tenant.id)})
            expected = (404, "not_found") if of_path else (403, "not_a_member")
            assert (answer.status_code, answer.json()["code"]) == expected, (where, answer.text)
        if needed(verb, path, operation) is not None:
            answer = await ask(verb, path, nowhere.token)
            expected = (404, "not_found") if of_path else (403, "not_a_member")
            assert (answer.status_code, answer.json()["code"]) == expected, (where, answer.text)
    assert await everything(admin, ask.tenant) == before


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_gets_in_where_its_scopes_say(
    api: Api, admin: asyncpg.Connection, vault: Vault, role: str
) -> None:
    ask = await asking(api, admin, vault)
    member = await joined(api, admin, vault, ask.tenant.person, role, role)
    tried = {True: 0, False: 0}
    # What is refused comes first, so that nothing that is allowed has changed anything yet.
    before = await everything(admin, ask.tenant)
    for allowed in (False, True):
        for verb, path, operation in SECURED:
            scope, where = needed(verb, path, operation), f"{verb} {path}"
            held = scope is None or scope in ROLE_SCOPES[role]
            if held != allowed or where in ENDS or (held and where in ENDLESS):
                continue
            # The role in the tenant that is acted in counts, though everybody here owns a tenant of their own.
            answer = await ask(verb, path, member.token, **{"X-Tenant-ID": str(ask.tenant.id)})
            told = (where, role, answer.status_code, answer.text)
            code = answer.json().get("code") if answer.content else None
            tried[held] += 1
            if not held:
                assert (answer.status_code, code) == (403, "missing_scope"), told
                assert str(scope) in answer.json()["detail"], told
            elif scope is None:
                assert code not in {"missing_scope", "not_a_member", "unauthenticated"}, told
            elif ask.knows(path):
                # An admin may rotate keys, but none that holds more than an admin does.
                beyond = (role, where, code) == ("admin", "POST /api/v1/api-keys/{key_id}/rotate", "scope_not_held")
                absent = answer.status_code == ABSENT.get(where)
                assert answer.status_code not in {401, 403, 404} or absent or beyond, told
                assert answer.status_code < 500, told
        if not allowed:
            assert await everything(admin, ask.tenant) == before
    assert tried[True] > 15
    assert (tried[False] > 3) == (role != "owner")


@pytest.mark.parametrize("role", ROLES)
async def test_a_key_gets_in_where_its_maker_does_and_never_where_a_person_must(
    api: Api, admin: asyncpg.Connection, vault: Vault, role: str
) -> None:
    """With every scope that there is on the key: what its maker does not hold now, it does not hold either."""
    ask = await asking(api, admin, vault)
    member = await joined(api, admin, vault, ask.tenant.person, "owner", role)
    all_scopes = sorted(ROLE_SCOPES["owner"])
    head = {"X-Tenant-ID": str(ask.tenant.id)}
    body = {"name": "all", "scopes": all_scopes}
    key = (await member.call("POST", "/api-keys", json=body, headers=head, status=201))["key"]
    await admin.execute(
        "update memberships set role = $3 where tenant_id = $1 and user_id = $2", ask.tenant.id, member.user_id, role
    )
    before = await everything(admin, ask.tenant)
    refused = 0
    for verb, path, operation in SECURED:
        scope = needed(verb, path, operation)
        if scope is not None and scope not in ROLE_SCOPES[role]:
            expected = "missing_scope"
        elif needs_a_person(operation):
            expected = "person_required"
        else:
            continue
        answer = await ask(verb, path, key)
        assert (answer.status_code, answer.json()["code"]) == (403, expected), (verb, path, answer.text)
        refused += 1
    assert refused > 5
    rows = await everything(admin, ask.tenant)
    # Using the key is the one thing that was noted.
    assert {name: text for name, text in rows.items() if name != "api_keys"} == {
        name: text for name, text in before.items() if name != "api_keys"
    }


def test_every_operation_is_public_or_guarded() -> None:
    assert {path for _, path, operation in OPERATIONS if "security" not in operation} == PUBLIC
