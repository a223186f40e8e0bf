"""The OpenAPI document is the truth: complete in itself, and the same as what the routes do."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from control_plane.app import create_app
from control_plane.identity.permissions import SCOPES
from control_plane.settings import load_settings
from tests.api import Api
from tests.world import Tenant, external_body, full_tenant, template_body, two_tenants

DOCUMENT: dict[str, Any] = create_app(
    load_settings({}, database_url="postgresql://nobody@localhost/none")
).openapi_schema.to_schema()
OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (verb.upper(), path, operation) for path, verbs in DOCUMENT["paths"].items() for verb, operation in verbs.items()
]
PUBLIC = {
    "/health/live",
    "/health/ready",
    "/api/v1/auth/sign-up",
    "/api/v1/auth/sign-in",
    "/api/v1/auth/verify-email",
    "/api/v1/auth/verify-email/resend",
    "/api/v1/auth/password/forgot",
    "/api/v1/auth/password/reset",
}
PUBLIC |= {"/api/v1/auth/providers", "/api/v1/auth/telegram", "/api/v1/auth/oidc/start", "/api/v1/auth/oidc/callback"}
#: Needed for what a person is, not for what a tenant has.
WITHOUT_SCOPE = {
    "/api/v1/me",
    "/api/v1/auth/sign-out",
    "/api/v1/me/password",
    "/api/v1/me/sessions",
    "/api/v1/me/sessions/{session_id}",
}
WITHOUT_SCOPE |= {"/api/v1/me/totp", "/api/v1/me/totp/confirm", "/api/v1/me/totp/recovery-codes"}
WITHOUT_SCOPE |= {"/api/v1/me/identities", "/api/v1/me/identities/{identity_id}", "/api/v1/me/identities/telegram"}
WITHOUT_SCOPE |= {"/api/v1/me/identities/oidc", "/api/v1/me/identities/oidc/start"}
WITHOUT_SCOPE |= {"/api/v1/tenants", "/api/v1/invitations/accept"}
#: Public, and still 401 or 403 to some: where people say who they are.
REFUSES_PEOPLE = {"/api/v1/auth/sign-in"}
#: For people alone: an API key is told so, whatever it names.
OF_PEOPLE = {"/api/v1/me/sessions/{session_id}"}
#: Not for viewers, although they change nothing.
NOT_FOR_VIEWERS = {"/api/v1/api-keys", "/api/v1/audit", "/api/v1/audit/verify"}
#: Everybody may leave; removing somebody else is looked at inside.
LEAVING = "DELETE /api/v1/tenants/{tenant_id}/members/{user_id}"
MAKES_OR_STARTS = {
    "/api/v1/api-keys",
    "/api/v1/api-keys/{key_id}/rotate",
    "/api/v1/bots",
    "/api/v1/bots/{bot_id}/start",
    "/api/v1/bots/{bot_id}/stop",
    "/api/v1/bots/{bot_id}/restart",
    "/api/v1/bots/{bot_id}/trading",
    "/api/v1/templates",
    "/api/v1/templates/{template_id}/versions",
    "/api/v1/subscriptions",
    "/api/v1/tenants",
    "/api/v1/tenants/{tenant_id}/invitations",
}
MAKES_OR_STARTS |= {"/api/v1/webhooks", "/api/v1/webhooks/{webhook_id}/rotate", "/api/v1/webhooks/{webhook_id}/test"}
MAKES_OR_STARTS |= {"/api/v1/alerts/channels", "/api/v1/alerts/channels/{channel_id}/test", "/api/v1/alerts/rules"}
BODIES: dict[str, dict[str, Any]] = {
    "PATCH /api/v1/bots/{bot_id}": {"name": "taken over"},
    "POST /api/v1/bots/{bot_id}/trading": {"action": "stop"},
    "PATCH /api/v1/templates/{template_id}": {"name": "taken over"},
    "POST /api/v1/templates/{template_id}/versions": {"parameters": {}, "config": {}},
    "PATCH /api/v1/subscriptions/{subscription_id}": {"status": "paused", "allocation_amount": "5000"},
    "POST /api/v1/bots": external_body(api_url="http://127.0.0.1:9999"),
    "POST /api/v1/templates": template_body(),
    "POST /api/v1/api-keys": {"name": "x", "scopes": ["bots:read"]},
    "POST /api/v1/subscriptions": {"template_id": str(uuid7()), "allocation_amount": "100"},
    "PATCH /api/v1/me": {"full_name": "X"},
    "POST /api/v1/api-keys/{key_id}/rotate": {"overlap_seconds": 0},
    "POST /api/v1/me/password": {"current_password": "x", "new_password": "a new password"},
    "POST /api/v1/tenants": {"name": "Another"},
    "PATCH /api/v1/tenants/{tenant_id}": {"name": "taken over"},
    "PUT /api/v1/tenants/{tenant_id}/egress": {"mode": "none"},
    "DELETE /api/v1/tenants/{tenant_id}": {"confirm": "not its name", "end_subscriptions": True},
    "PATCH /api/v1/tenants/{tenant_id}/members/{user_id}": {"role": "viewer"},
    "POST /api/v1/tenants/{tenant_id}/invitations": {"email": "x@example.com", "role": "viewer"},
    "POST /api/v1/tenants/{tenant_id}/owner": {"user_id": str(uuid7())},
    "POST /api/v1/invitations/accept": {"token": "x"},
    "DELETE /api/v1/me": {"confirm": "not its address"},
    "POST /api/v1/webhooks": {"url": "https://hooks.example.com/x"},
    "PATCH /api/v1/webhooks/{webhook_id}": {"name": "taken over"},
    "POST /api/v1/webhooks/{webhook_id}/rotate": {"overlap_seconds": 0},
    "POST /api/v1/alerts/channels": {"kind": "telegram", "chat_id": "12345"},
    "PATCH /api/v1/alerts/channels/{channel_id}": {"enabled": False},
    "POST /api/v1/alerts/channels/{channel_id}/verify": {"code": "0000"},
    "POST /api/v1/alerts/rules": {"kind": "drawdown", "limit_percent": "5"},
    "PATCH /api/v1/alerts/rules/{rule_id}": {"enabled": False},
    "PATCH /api/v1/alerts/settings": {"critical_breaks_quiet": True},
}


@pytest.mark.parametrize(
    ("verb", "path", "operation"), OPERATIONS, ids=[f"{verb} {path}" for verb, path, _ in OPERATIONS]
)
def test_every_operation_says_what_it_is(verb: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    assert operation["operationId"]
    for status, response in operation["responses"].items():
        assert response["description"], status
        if int(status) >= 400:
            assert set(response["content"]) == {"application/problem+json"}, status
    errors = {status for status in operation["responses"] if int(status) >= 400}
    assert {"400", "503"} <= errors
    secured = path not in PUBLIC
    assert ("security" in operation) == secured
    assert bool({"401", "403"} <= errors) == (secured or path in REFUSES_PEOPLE)
    assert ("413" in errors) == ("requestBody" in operation)
    if "{" in path:
        assert "404" in errors
    headers = {item["name"] for item in operation.get("parameters", ()) if item["in"] == "header"}
    # A tenant in the path is the one acted in, whatever a header says.
    assert ("X-Tenant-ID" in headers) == (secured and "{tenant_id}" not in path)
    assert ("Idempotency-Key" in headers) == (verb == "POST" and path in MAKES_OR_STARTS)


async def test_the_scope_that_is_documented_is_the_one_that_is_asked_for(api: Api) -> None:
    """A key with every other scope is refused, before anything else is looked at."""
    ada = await api.person()
    for verb, path, operation in OPERATIONS:
        [needed] = operation["security"][0]["bearer"] or [None] if "security" in operation else [None]
        assert (needed is None) == (path in PUBLIC | WITHOUT_SCOPE or f"{verb} {path}" == LEAVING)
        if needed is None:
            continue
        assert f"`{needed}`" in operation["description"]
        assert needed.endswith((":read",) if verb == "GET" else (":write", ":delete"))
        scopes = [scope for scope in SCOPES if scope != needed]
        key = await ada.call("POST", "/api-keys", json={"name": "all but one", "scopes": scopes}, status=201)
        at = re.sub(r"\{(\w+)\}", str(uuid7()), path.replace("{tenant_id}", str(ada.tenant_id)))
        answer = await api.client.request(verb, at, headers={"Authorization": f"Bearer {key['key']}"}, content=b"{")
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope"), (verb, path)
        assert needed in answer.json()["detail"]


def ids_of(tenant: Tenant) -> dict[str, list[Any]]:
    return {
        "bot_id": [tenant.external, tenant.hosted, tenant.shared_bot],
        "template_id": [tenant.template, tenant.draft, tenant.shared_template],
        "subscription_id": [tenant.subscription, tenant.follow],
        "key_id": [tenant.key_id],
        "session_id": [tenant.session_id],
        "identity_id": [tenant.identity_id],
        "tenant_id": [tenant.id],
        "user_id": [tenant.person.user_id],
        "invitation_id": [tenant.invitation],
        "webhook_id": [tenant.webhook],
        "channel_id": [tenant.chat],
        "rule_id": [tenant.alert_rule],
        "incident_id": [tenant.incident],
    }


def places(path: str, *tenants: Tenant) -> list[str]:
    """``path`` with every thing of a kind of each tenant in the place of its last name, and of its first before."""
    first, *others = re.findall(r"\{(\w+)\}", path)
    found = []
    for tenant in tenants:
        begun = path.replace(f"{{{first}}}", str(ids_of(tenant)[first][0])) if others else path
        last = others[0] if others else first
        found += [begun.replace(f"{{{last}}}", str(identity)) for identity in ids_of(tenant)[last]]
    return found


async def everything(admin: asyncpg.Connection, tenant: Tenant) -> dict[str, Any]:
    """Every row of a tenant, whole."""
    tables = await admin.fetch(
        "select c.relname::text as name from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where a.attname = 'tenant_id' and c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
        " and not c.relispartition"
    )
    rows = "select coalesce(jsonb_agg(to_jsonb(t) order by to_jsonb(t)), '[]')::text from {} t where tenant_id = $1"
    return {row["name"]: await admin.fetchval(rows.format(row["name"]), tenant.id) for row in tables}


async def test_every_operation_on_another_tenants_things_finds_nothing_and_changes_nothing(
    api: Api, admin: asyncpg.Connection
) -> None:
    victim, thief = await two_tenants(api, admin)
    before = await everything(admin, victim)
    tried = 0
    for path, verbs in DOCUMENT["paths"].items():
        if "{" not in path or path.startswith("/api/v1/marketplace"):
            continue
        for verb in verbs:
            body = BODIES.get(f"{verb.upper()} {path}")
            for token in (thief.person.token,) if path in OF_PEOPLE else (thief.person.token, thief.key):
                head = {"Authorization": f"Bearer {token}"}
                unknown = re.sub(r"\{\w+\}", lambda _: str(uuid7()), path)
                nothing = await api.client.request(verb, unknown, headers=head, json=body)
                # What is a person's own is closed to keys altogether.
                closed = token == thief.key and "/me/" in path and nothing.json()["code"] == "person_required"
                for at in places(path, victim):
                    answer = await api.client.request(verb, at, headers=head, json=body)
                    assert answer.status_code == (403 if closed else 404), (verb, at, answer.text)
                    # Word for word what an id gets that nobody has.
                    assert answer.text.replace(at, unknown) == nothing.text
                    assert answer.headers.keys() == nothing.headers.keys()
                    tried += 1
                if path.count("{") > 1:
                    # Another tenant's thing under one's own tenant.
                    last = re.findall(r"\{(\w+)\}", path)[-1]
                    for identity in ids_of(victim)[last]:
                        at = path.replace("{tenant_id}", str(thief.id)).replace(f"{{{last}}}", str(identity))
                        answer = await api.client.request(verb, at, headers=head, json=body)
                        assert answer.status_code == 404, (verb, at, answer.text)
                        tried += 1
    assert tried > 80
    assert await everything(admin, victim) == before


async def test_another_tenants_things_in_a_body_are_not_there_either(api: Api, admin: asyncpg.Connection) -> None:
    victim, thief = await two_tenants(api, admin)
    before = await everything(admin, victim)
    for body in (
        {"bot_type": "shared", "engine": "tradewise", "name": "x", "template_id": str(victim.shared_template)},
        {"bot_type": "platform", "engine": "tradewise", "name": "x", "template_id": str(victim.template)},
        {"bot_type": "platform", "engine": "tradewise", "name": "x", "template_id": str(victim.draft)},
    ):
        stranger = {**body, "template_id": str(uuid7())}
        problem = await thief.person.call("POST", "/bots", json=body, status=404)
        assert problem == await thief.person.call("POST", "/bots", json=stranger, status=404)
    amount = {"allocation_amount": "1000"}
    for template in (victim.draft, uuid7()):
        body = {"template_id": str(template), **amount}
        assert (await thief.person.call("POST", "/subscriptions", json=body, status=404))["code"] == "not_found"
    for path in ("/bots", "/templates", "/subscriptions", "/api-keys"):
        shown = str(await thief.person.call("GET", path, status=200))
        own = {str(item) for items in ids_of(thief).values() for item in items}
        for identity in (str(item) for items in ids_of(victim).values() for item in items):
            # A subscriber knows the template that it chose and the bot that it follows, and nothing else.
            assert identity not in shown or (
                path == "/subscriptions"
                and identity in {str(victim.template), str(victim.shared_template), str(victim.shared_bot)}
            )
        assert any(identity in shown for identity in own)
    assert await everything(admin, victim) == before


async def test_a_viewer_reads_and_changes_nothing(api: Api, admin: asyncpg.Connection) -> None:
    tenant = await full_tenant(api, admin, "ada")
    await admin.execute("update memberships set role = 'viewer'")
    before = await everything(admin, tenant)
    for path, verbs in DOCUMENT["paths"].items():
        if path in PUBLIC | WITHOUT_SCOPE | NOT_FOR_VIEWERS | {"/api/v1/events"}:
            continue
        at = path
        for name in re.findall(r"\{(\w+)\}", path):
            at = at.replace(f"{{{name}}}", str((ids_of(tenant).get(name) or [None])[0] or uuid7()))
        for verb in verbs:
            if f"{verb.upper()} {path}" == LEAVING:
                continue
            head = {"Authorization": f"Bearer {tenant.person.token}"}
            answer = await api.client.request(verb, at, headers=head, json=BODIES.get(f"{verb.upper()} {path}"))
            assert (answer.status_code == 403) == (verb != "get"), (verb, path, answer.text)
    assert await everything(admin, tenant) == before


def readable_only_if_right(operation: dict[str, Any]) -> list[str]:
    """The query parameters of an operation, by the names that clients send, that are more than a text of any kind."""
    found = [item for item in operation.get("parameters", ()) if item["in"] == "query"]
    return [item["name"] for item in found if not any(kind == {"type": "string"} for kind in kinds(item["schema"]))]


def kinds(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """What a parameter may be, without its words."""
    told = schema.get("oneOf") or schema.get("anyOf") or [schema]
    return [{name: value for name, value in kind.items() if name in {"type", "format", "enum"}} for kind in told]


async def test_a_query_that_is_unreadable_is_refused_by_the_name_that_was_sent(
    api: Api, subtests: pytest.Subtests
) -> None:
    ada = await api.person()
    seen = set()
    for verb, path, operation in OPERATIONS:
        address = re.sub(r"\{\w+\}", str(uuid7()), path.replace("{tenant_id}", str(ada.tenant_id)))
        for name in readable_only_if_right(operation):
            seen.add(name)
            with subtests.test(verb=verb, path=path, name=name):
                answer = await api.client.request(
                    verb,
                    address,
                    params={name: "@"},
                    headers={"Authorization": f"Bearer {ada.token}"},
                    json=BODIES.get(f"{verb} {path}"),
                )
                assert answer.status_code == 400, answer.text
                problem = answer.json()
                assert [error["field"] for error in problem["errors"]] == [name]
                assert problem["detail"].startswith(f"{name}: ")
    assert {"from", "to", "since", "state", "points", "force", "wait"} <= seen
