"""The live stream: a tenant's own changes, what was missed, and a listener that is cut and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from control_plane.live import stream as live_stream
from tests.api import Api
from tests.servers.web_server import following, served
from tests.waiting import until
from tests.world import external_body, published, subscribe


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    async with served(api) as base:
        yield base


async def test_a_change_arrives_and_another_tenants_does_not(api: Api, url: str) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    async with following(url, ada.token) as hers, following(url, bob.token) as his:
        first = await ada.call("POST", "/bots", json=external_body(), status=201)
        second = await bob.call("POST", "/bots", json=external_body(), status=201)
        told = await hers.next()
        assert (told.kind, told.id) == ("bot", first["id"])
        assert told.event_id is not None
        told = await his.next()
        assert (told.kind, told.id) == ("bot", second["id"])


async def test_what_agents_observe_arrives(api: Api, url: str, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await ada.call("POST", "/bots", json=external_body(), status=201)
    async with following(url, ada.token) as stream:
        await admin.execute(
            "update bot_health set state = 'healthy', observed_at = now() where id = $1", UUID(bot["id"])
        )
        assert (await stream.next()).id == bot["id"]


async def test_what_was_missed_is_told_first(api: Api, url: str) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    template = await published(bob)
    async with following(url, ada.token) as stream:
        seen = await ada.call("POST", "/bots", json=external_body(), status=201)
        last = (await stream.until("bot", seen["id"])).event_id
    assert last is not None
    missed = await ada.call("POST", "/bots", json=external_body(api_url="http://127.0.0.1:9000"), status=201)
    capital = await subscribe(ada, template)
    foreign = await bob.call("POST", "/bots", json=external_body(), status=201)
    async with following(url, ada.token, last) as stream:
        after = await ada.call("POST", "/bots", json=external_body(api_url="http://127.0.0.1:9001"), status=201)
        told = []
        while (latest := await stream.next()).id != after["id"]:
            told.append((latest.kind, latest.id))
        assert {("bot", missed["id"]), ("bot", capital["bot_id"]), ("subscription", capital["id"])} <= set(told)
        assert len(told) == len(set(told))
        assert foreign["id"] not in {identity for _, identity in told}


async def test_an_event_committed_late_is_not_missed(api: Api, url: str, admin: asyncpg.Connection) -> None:
    """Two writers: the one whose id is older commits after the other's was seen."""
    ada = await api.person()
    slow = await ada.call("POST", "/bots", json=external_body(), status=201)
    early = uuid7()
    quick = await ada.call("POST", "/bots", json=external_body(api_url="http://127.0.0.1:9000"), status=201)
    last = (await ada.call("GET", f"/bots/{quick['id']}/events"))["items"][0]["id"]
    assert str(early) < last
    await admin.execute("delete from bot_events where bot_id = $1", UUID(slow["id"]))
    await admin.execute(
        "insert into bot_events (id, tenant_id, bot_id, kind, cause) values ($1, $2, $3, 'status', 'agent')",
        early,
        ada.tenant_id,
        UUID(slow["id"]),
    )
    async with following(url, ada.token, last) as stream:
        assert (await stream.until("bot", slow["id"])).event_id == str(early)


@pytest.mark.parametrize("last", ["garbage", "ffffffff-ffff-ffff-ffff-ffffffffffff", "0"])
async def test_an_unknown_position_means_read_everything_again(api: Api, url: str, last: str) -> None:
    ada = await api.person()
    async with following(url, ada.token, last) as stream:
        assert (await stream.next()).kind == "resync"


async def test_too_much_missed_means_read_everything_again(api: Api, url: str, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    await admin.execute(
        "with made as (insert into bots (id, tenant_id, bot_type, engine, name) select gen_random_uuid(), $1,"
        " 'platform', 'tradewise', 'x' from generate_series(1, 501) returning id) insert into bot_events"
        " (id, tenant_id, bot_id, kind, cause) select gen_random_uuid(), $1, id, 'status', 'agent' from made",
        ada.tenant_id,
    )
    async with following(url, ada.token, "00000000-0000-7000-8000-000000000000") as stream:
        assert (await stream.next()).kind == "resync"


async def test_a_cut_listener_comes_back_and_says_so(api: Api, url: str, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    listening = (
        "select pid from pg_stat_activity where application_name = 'tradewise-api-listen'"
        " and datname = current_database() and query like 'LISTEN%'"
    )
    async with following(url, ada.token) as stream:
        pid = await until(lambda: admin.fetchval(listening), what="the hub listens")
        await admin.execute("select pg_terminate_backend($1)", pid)
        assert (await stream.next()).kind == "resync"
        bot = await ada.call("POST", "/bots", json=external_body(), status=201)
        assert (await stream.next()).id == bot["id"]


async def test_a_stream_ends_with_its_credential(api: Api, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "_QUIET_S", 0.05)
    ada = await api.person()
    key = await ada.call("POST", "/api-keys", json={"name": "k", "scopes": ["bots:read"]}, status=201)
    async with following(url, ada.token) as hers, following(url, key["key"]) as keyed:
        await ada.call("DELETE", f"/api-keys/{key['id']}", status=204)
        with pytest.raises(StopAsyncIteration):
            await keyed.next()
        bot = await ada.call("POST", "/bots", json=external_body(), status=201)
        assert (await hers.next()).id == bot["id"]
        await ada.call("POST", "/auth/sign-out", status=204)
        with pytest.raises(StopAsyncIteration):
            await hers.until("bot", str(uuid7()))


async def test_strangers_and_keys_without_the_scope_are_not_let_in(api: Api) -> None:
    ada = await api.person()
    key = await ada.call("POST", "/api-keys", json={"name": "k", "scopes": ["templates:read"]}, status=201)
    for token, status in (("nobody", 401), (key["key"], 403)):
        answer = await api.client.get("/api/v1/events", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status
