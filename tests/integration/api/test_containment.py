"""What a tenant is told of the limits and the reach of its bots, and what it may change."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec
import pytest
from uuid_utils.compat import uuid7

from control_plane.plans import DEFAULT_PLANS, Plan
from control_plane.security.egress import BLOCKED, parse_destination
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, Person, running_api
from tests.factories import Urls
from tests.world import published

SMALL = Plan(cpus=0.5, memory_mib=128, processes=64, disk_mib=10, log_mib=3, running_bots=2)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a plan that is soon used up."""
    return msgspec.structs.replace(settings, plans={"free": SMALL, "pro": DEFAULT_PLANS["pro"]})


async def _hosted(person: Person) -> str:
    body = {"bot_type": "platform", "engine": "tradewise", "name": "ours", "config": {"currency": "USDT"}}
    return str((await person.call("POST", "/bots", json=body, status=201))["id"])


async def _guard(admin: asyncpg.Connection, guard: str) -> None:
    """What an acting launcher says of itself."""
    await admin.execute(
        "insert into agent_beats (id, kind, version, state, detail) values ($1, 'launcher', '1', 'working',"
        " jsonb_build_object('role', 'acting', 'containment', jsonb_build_object('guard', $2::text)))",
        uuid7(),
        guard,
    )


async def test_a_tenant_sees_what_its_bots_may_reach_and_why_not_more(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    seen = await ada.call("GET", f"/tenants/{ada.tenant_id}/egress")
    assert (seen["mode"], seen["destinations"], seen["applied"], seen["guard"]) == ("public", [], False, "unknown")
    assert "No bot starts before they hold" in seen["note"]
    blocked = {item["range"]: item["reason"] for item in seen["effective"]["blocked"]}
    assert {item.network for item in BLOCKED} < set(blocked)
    assert "credentials" in blocked["169.254.169.254/32"]
    assert all(blocked.values())
    await _guard(admin, "holds")
    seen = await ada.call("GET", f"/tenants/{ada.tenant_id}/egress")
    assert (seen["applied"], seen["guard"]) == (True, "holds")


async def test_a_tenant_narrows_it_and_sees_when_it_is_so(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person(), await api.person()
    await _guard(admin, "holds")
    at = f"/tenants/{ada.tenant_id}/egress"
    wanted = {"mode": "listed", "destinations": ["45.67.89.10:443", "45.67.90.0/24", "45.67.89.10:443"]}
    for revision in (1, 2):
        seen = await ada.call("PUT", at, json=wanted)
        assert seen["destinations"] == ["45.67.89.10/32:443", "45.67.90.0/24"]
        assert (seen["mode"], seen["applied"]) == ("listed", False)
        assert seen["effective"]["mode"] == "listed"
        await admin.execute(
            "update tenant_egress set applied_revision = $2, applied_at = now() where tenant_id = $1",
            ada.tenant_id,
            revision,
        )
        assert (await ada.call("GET", at))["applied"] is True
    seen = await ada.call("PUT", at, json={"mode": "none"})
    assert (seen["mode"], seen["destinations"], seen["applied"]) == ("none", [], False)
    # One's own, and nobody else's.
    assert (await bob.call("GET", f"/tenants/{bob.tenant_id}/egress"))["mode"] == "public"
    await bob.call("PUT", at, json=wanted, status=404)
    [told] = [event for event in (await ada.call("GET", "/audit"))["items"] if event["action"] == "egress.set"]
    assert told["changes"]["mode"] == {"after": "listed"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "listed", "destinations": []}, "destinations"),
        ({"mode": "public", "destinations": ["1.2.3.4"]}, "destinations"),
        ({"mode": "listed", "destinations": ["1.2.3.4", "exchange.example"]}, "destinations[1]"),
        ({"mode": "listed", "destinations": ["2001:db8::1"]}, "destinations[0]"),
        ({"mode": "listed", "destinations": ["1.2.3.4/8"]}, "destinations[0]"),
    ],
)
async def test_rules_that_make_no_sense_are_refused_by_name(api: Api, body: dict[str, Any], field: str) -> None:
    ada = await api.person()
    refused = await ada.call("PUT", f"/tenants/{ada.tenant_id}/egress", json=body, status=422)
    assert [item["field"] for item in refused["errors"]] == [field]


async def test_what_the_operator_has_set_shows(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection
) -> None:
    opened = (parse_destination("10.1.2.3:9000"),)
    closed = msgspec.structs.replace(settings, bot_egress="none", egress_guard="off", bot_egress_allow=opened)
    async with running_api(closed, urls, vault) as api:
        ada = await api.person()
        await _guard(admin, "holds")
        seen = await ada.call("GET", f"/tenants/{ada.tenant_id}/egress")
    assert (seen["guard"], seen["applied"], seen["effective"]["mode"]) == ("off", False, "none")
    assert "switched the guard off" in seen["note"]
    assert seen["effective"]["opened_by_operator"] == []
    opening = msgspec.structs.replace(settings, bot_egress_allow=opened)
    async with running_api(opening, urls, vault) as api:
        seen = await (await api.person("eve")).call("GET", "/me")
        person = await api.person("mallory")
        seen = await person.call("GET", f"/tenants/{person.tenant_id}/egress")
    assert seen["effective"]["opened_by_operator"] == ["10.1.2.3/32:9000"]


async def test_the_plan_shows_with_what_is_used_of_it(api: Api) -> None:
    ada = await api.person()
    bot = await _hosted(ada)
    limits = {
        "cpus": 0.5,
        "memory_bytes": 128 * 2**20,
        "processes": 64,
        "disk_bytes": 10 * 2**20,
        "log_bytes": 3 * 2**20,
    }
    assert (await ada.call("GET", f"/bots/{bot}"))["limits"] == limits
    at = f"/tenants/{ada.tenant_id}/plan"
    assert await ada.call("GET", at) == {
        "plan": "free", "running_bots": 2, "running_bots_used": 0, "limits": limits,
    }  # fmt: skip
    await ada.call("POST", f"/bots/{bot}/start", status=202)
    assert (await ada.call("GET", at))["running_bots_used"] == 1


async def test_no_more_bots_run_than_the_plan_lets_however_they_are_started(
    api: Api, admin: asyncpg.Connection
) -> None:
    ada = await api.person()
    bots = [await _hosted(ada) for _ in range(6)]

    async def start(bot: str) -> int:
        headers = {"Authorization": f"Bearer {ada.token}"}
        answer = await api.client.post(f"/api/v1/bots/{bot}/start", headers=headers)
        if answer.status_code == 409:
            assert answer.json()["code"] == "quota_exceeded"
            assert "2 hosted bots" in answer.json()["detail"]
        return int(answer.status_code)

    statuses = await asyncio.gather(*map(start, bots))
    assert sorted(statuses) == [202, 202, 409, 409, 409, 409]
    running = [bot for bot, status in zip(bots, statuses, strict=True) if status == 202]
    # What runs may be started over, and asked for again.
    await ada.call("POST", f"/bots/{running[0]}/restart", status=202)
    await ada.call("POST", f"/bots/{running[0]}/start", status=202)
    await ada.call("POST", f"/bots/{running[0]}/stop", status=202)
    waiting = next(bot for bot in bots if bot not in running)
    await ada.call("POST", f"/bots/{waiting}/start", status=202)
    await ada.call("POST", f"/bots/{running[0]}/start", status=409)
    # A larger plan has room at once.
    await admin.execute("update tenants set plan = 'pro' where id = $1", ada.tenant_id)
    await ada.call("POST", f"/bots/{running[0]}/start", status=202)


async def test_bots_of_subscriptions_count_and_external_ones_do_not(api: Api, admin: asyncpg.Connection) -> None:
    creator, ada = await api.person("creator"), await api.person("ada")
    template = await published(creator)
    for _ in range(2):
        await ada.call("POST", f"/bots/{await _hosted(ada)}/start", status=202)
    body = {"bot_type": "external", "engine": "tradewise", "name": "elsewhere", "api_url": "http://127.0.0.1:8099",
            "credentials": {"token": "a-token-of-sixteen-or-more"}}  # fmt: skip
    await ada.call("POST", "/bots", json=body, status=201)
    wish = {"template_id": str(template), "allocation_amount": "1000"}
    refused = await ada.call("POST", "/subscriptions", json=wish, status=409)
    assert refused["code"] == "quota_exceeded"
    await admin.execute("update tenants set plan = 'pro' where id = $1", ada.tenant_id)
    subscription = await ada.call("POST", "/subscriptions", json=wish, status=201)
    at = f"/subscriptions/{subscription['id']}"
    await ada.call("PATCH", at, json={"status": "paused"})
    await admin.execute("update tenants set plan = 'free' where id = $1", ada.tenant_id)
    refused = await ada.call("PATCH", at, json={"status": "active"}, status=409)
    assert refused["code"] == "quota_exceeded"
