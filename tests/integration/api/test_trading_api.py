"""Wishes about a bot's trading over HTTP, and what else is told of a bot: remedies and warnings."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.api import Api, Person
from tests.integration.api.test_bots_api import FREQTRADE, HOSTED, bot_of, events
from tests.world import external_body

STOP = {"action": "stop"}


async def connected(person: Person, admin: asyncpg.Connection, body: dict[str, Any] = FREQTRADE) -> str:
    """A bot that the poller, or the launcher, has found up."""
    bot: str = (await bot_of(person, body))["id"]
    status = "connected" if body["bot_type"] == "external" else "running"
    await admin.execute(
        "update bots set status = $2, desired = 'running', observed_generation = generation where id = $1",
        UUID(bot),
        status,
    )
    await seen(admin, bot)
    return bot


async def seen(admin: asyncpg.Connection, bot: str, **columns: Any) -> None:
    """What the poller writes of a bot that is well, but for ``columns``."""
    facts = {"state": "healthy", "trading_state": "running", "reason": None, "detail": None, "identity": None} | columns
    await admin.execute(
        "update bot_health h set observed_at = now(), observed_generation = b.generation, state = $2,"
        " trading_state = $3, reason = $4, detail = $5, identity = $6 from bots b where b.id = h.id and h.id = $1",
        UUID(bot),
        *(facts[name] for name in ("state", "trading_state", "reason", "detail", "identity")),
    )


async def row(admin: asyncpg.Connection, bot: str) -> asyncpg.Record:
    return await admin.fetchrow("select * from bot_trading where bot_id = $1", UUID(bot))


async def answer(admin: asyncpg.Connection, bot: str, problem: str | None = None, detail: str | None = None) -> None:
    """What the poller writes once it knows."""
    await admin.execute(
        "update bot_trading set attempts = 1, tried_at = now(), problem = $2, problem_detail = $3,"
        " confirmed_at = case when $2::text is null then now() end where bot_id = $1",
        UUID(bot),
        problem,
        detail,
    )


@pytest.mark.parametrize("body", [FREQTRADE, HOSTED], ids=["external", "hosted"])
async def test_a_wish_is_taken_and_answered_by_the_bots_own_state(
    api: Api, admin: asyncpg.Connection, body: dict[str, Any]
) -> None:
    ada = await api.person()
    bot = await connected(ada, admin, body)
    fresh = (await ada.call("GET", f"/bots/{bot}", status=200))["trading"]
    assert fresh == {
        "actions": ["pause", "start", "stop"],
        "wanted": None,
        "state": "running",
        "requested_at": None,
        "confirmed_at": None,
        "problem": None,
        "problem_detail": None,
        "remedy": None,
    }
    shown = (await ada.call("POST", f"/bots/{bot}/trading", json=STOP, status=202))["trading"]
    # Taken, and nothing more: it trades as it did.
    assert (shown["wanted"], shown["state"], shown["confirmed_at"], shown["problem"]) == (
        "stopped",
        "running",
        None,
        None,
    )
    assert shown["requested_at"] is not None
    stored = await row(admin, bot)
    assert (stored["asked"], stored["requested_by"], stored["attempts"]) == (1, f"user:{ada.user_id}", 0)
    # The poller is asked to look at once; the bot itself is wished as it was.
    bots = await admin.fetchrow("select ping_requested_at, generation, desired from bots where id = $1", UUID(bot))
    assert bots["ping_requested_at"] is not None
    assert bots["desired"] == "running"
    assert (await events(ada, bot))[-1] == ("trading", "person", "stop")
    await answer(admin, bot)
    # Confirmed after the last look: that is the bot's newest word. Then a look says the same, or something else.
    assert (await ada.call("GET", f"/bots/{bot}", status=200))["trading"]["state"] == "stopped"
    await seen(admin, bot)
    assert (await ada.call("GET", f"/bots/{bot}", status=200))["trading"]["state"] == "running"
    await seen(admin, bot, trading_state="stopped")
    read = await ada.call("GET", f"/bots/{bot}?wait=5", status=200)
    assert (read["trading"]["state"], read["trading"]["confirmed_at"] is None) == ("stopped", False)
    assert read["status"] in {"connected", "running"}


async def test_asking_again_changes_nothing_while_the_wish_is_under_way(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    path = f"/bots/{bot}/trading"
    await ada.call("POST", path, json=STOP, status=202)
    await ada.call("POST", path, json=STOP, status=202)
    assert (await row(admin, bot))["asked"] == 1
    # What a look saw some time ago is no reason to drop a wish: somebody may have started it since at the bot itself.
    await answer(admin, bot)
    await seen(admin, bot, trading_state="stopped")
    shown = await ada.call("POST", path, json=STOP, status=202)
    assert shown["trading"]["confirmed_at"] is None
    assert (await row(admin, bot))["asked"] == 2
    # Another wish replaces it at once.
    await ada.call("POST", path, json={"action": "pause"}, status=202)
    stored = await row(admin, bot)
    assert (stored["wanted"], stored["asked"], stored["attempts"]) == ("paused", 3, 0)
    # One that failed is taken up again.
    await answer(admin, bot, "not_confirmed", "It was asked once.")
    failed = (await ada.call("GET", f"/bots/{bot}", status=200))["trading"]
    assert (failed["problem"], failed["problem_detail"]) == ("not_confirmed", "It was asked once.")
    assert "ask again" in failed["remedy"]
    shown = await ada.call("POST", path, json={"action": "pause"}, status=202)
    assert (shown["trading"]["problem"], (await row(admin, bot))["asked"]) == (None, 4)


async def test_a_repeated_request_gets_the_first_answer(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    head = {"Idempotency-Key": "once"}
    first = await ada.call("POST", f"/bots/{bot}/trading", json=STOP, headers=head, status=202)
    await answer(admin, bot, "not_confirmed")
    assert await ada.call("POST", f"/bots/{bot}/trading", json=STOP, headers=head, status=202) == first
    assert (await row(admin, bot))["asked"] == 1


async def test_a_wish_that_nobody_answers_is_told_as_not_confirmed(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    await ada.call("POST", f"/bots/{bot}/trading", json=STOP, status=202)
    await admin.execute("update bot_trading set requested_at = now() - interval '61 seconds'")
    # Nobody acts on it any more, though the poller may still say what came of it: wished again it is a new one.
    await ada.call("POST", f"/bots/{bot}/trading", json=STOP, status=202)
    assert (await row(admin, bot))["asked"] == 2
    await admin.execute("update bot_trading set requested_at = now() - interval '2 minutes'")
    shown = (await ada.call("GET", f"/bots/{bot}?wait=5", status=200))["trading"]
    assert shown["problem"] == "not_confirmed"
    assert "Nobody has answered" in shown["problem_detail"]
    # And can be wished again.
    await ada.call("POST", f"/bots/{bot}/trading", json=STOP, status=202)
    assert (await row(admin, bot))["asked"] == 3


async def test_what_cannot_be_asked_is_refused_with_its_reason(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)

    async def code(of: str = bot, action: str = "stop") -> str:
        problem = await ada.call("POST", f"/bots/{of}/trading", json={"action": action}, status=409)
        found: str = problem["code"]
        return found

    await admin.execute("update bots set status = 'error', reason = 'unreachable' where id = $1", UUID(bot))
    assert await code() == "not_connected"
    await admin.execute("update bots set desired = 'stopped' where id = $1", UUID(bot))
    assert await code() == "not_running"
    ours = (await bot_of(ada, HOSTED))["id"]
    assert await code(ours) == "not_running"
    await admin.execute(
        "update bots set desired = 'running', status = 'connected', reason = null, engine = 'octobot' where id = $1",
        UUID(bot),
    )
    assert await code(action="pause") == "control_unsupported"
    # A classic one can be told nothing, and is offered nothing; a node can be stopped.
    assert await code() == "control_unsupported"
    assert (await ada.call("GET", f"/bots/{bot}"))["trading"]["actions"] == []
    await admin.execute("""update bots set engine_config = '{"mode": "node"}' where id = $1""", UUID(bot))
    assert (await ada.call("GET", f"/bots/{bot}"))["trading"]["actions"] == ["stop"]
    await admin.execute("update bots set engine = 'nobody-knows' where id = $1", UUID(bot))
    assert await code() == "control_unsupported"
    assert await admin.fetchval("select count(*) from bot_trading") == 0


@pytest.mark.parametrize("body", [{}, {"action": "sell"}, {"action": None}, {"action": "stop", "force": True}])
async def test_another_action_is_no_action(api: Api, admin: asyncpg.Connection, body: dict[str, Any]) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    await ada.call("POST", f"/bots/{bot}/trading", json=body, status=400)


async def test_a_key_steers_the_bots_that_it_names_and_is_named_for_it(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    mine = await connected(ada, admin)
    other = await connected(ada, admin, external_body(api_url="http://127.0.0.1:9090"))
    body = {"name": "one", "scopes": ["bots:read", "bots:write"], "bot_ids": [mine]}
    key = await ada.call("POST", "/api-keys", json=body, status=201)
    head = {"Authorization": f"Bearer {key['key']}"}
    for bot, status in ((other, 404), (mine, 202)):
        answered = await api.client.post(f"/api/v1/bots/{bot}/trading", json=STOP, headers=head)
        assert answered.status_code == status, answered.text
    assert (await row(admin, mine))["requested_by"] == f"key:{key['id']}"
    assert (await events(ada, mine))[-1] == ("trading", "key", "stop")
    assert await row(admin, other) is None


async def test_a_wish_is_in_the_audit_log(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    for action in ("stop", "start"):
        await ada.call("POST", f"/bots/{bot}/trading", json={"action": action}, status=202)
    items = (await ada.call("GET", "/audit?action=bot.trading_asked", status=200))["items"]
    assert [item["changes"]["wanted"] for item in items] == [
        {"before": "stopped", "after": "running"},
        {"after": "stopped"},
    ]
    assert {(item["actor"]["kind"], item["resource_id"]) for item in items} == {("user", bot)}


async def test_a_wish_cannot_be_answered_by_the_web_tier(urls: Any) -> None:
    connection = await asyncpg.connect(urls["api"])
    try:
        for statement in (
            "update bot_trading set confirmed_at = now()",
            "update bot_trading set requested_by = 'user:somebody'",
            "insert into bot_trading (id, wanted, bot_id, confirmed_at) select id, 'stopped', id, now() from bots",
            "delete from bot_trading",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_stale_look_says_no_state(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    await seen(admin, bot, state="stale", reason="rate_limited")
    assert (await ada.call("GET", f"/bots/{bot}", status=200))["trading"]["state"] is None


async def test_a_reason_comes_with_its_remedy(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    well = await ada.call("GET", f"/bots/{bot}", status=200)
    assert (well["remedy"], well["health"]["remedy"], well["warnings"]) == (None, None, [])
    await seen(admin, bot, state="unhealthy", reason="loop_stalled", detail="It has not turned for 8 minutes.")
    await admin.execute("update bots set reason = 'loop_stalled' where id = $1", UUID(bot))
    ill = await ada.call("GET", f"/bots/{bot}", status=200)
    assert (ill["status"], ill["reason"], ill["health"]["detail"]) == (
        "connected",
        "loop_stalled",
        "It has not turned for 8 minutes.",
    )
    assert ill["remedy"] == ill["health"]["remedy"]
    assert "restart the bot" in ill["remedy"]


async def test_two_registrations_of_one_process_know_of_each_other_and_of_nobody_else(
    api: Api, admin: asyncpg.Connection
) -> None:
    ada, eve = await api.person("ada"), await api.person("eve")
    one = await connected(ada, admin)
    two = await connected(ada, admin, external_body(api_url="http://127.0.0.1:9090", name="the same"))
    three = await connected(ada, admin, external_body(api_url="http://127.0.0.1:9091"))
    foreign = await connected(eve, admin)
    for bot in (one, two, foreign):
        await seen(admin, bot, identity="freqtrade:bot@1")
    await seen(admin, three, identity="freqtrade:bot@2")

    async def warned(bot: str, who: Person = ada) -> list[tuple[str, str | None]]:
        found = (await who.call("GET", f"/bots/{bot}", status=200))["warnings"]
        assert all(item["detail"] for item in found)
        return [(item["code"], item["bot_id"]) for item in found]

    assert await warned(one) == [("same_process", two)]
    assert await warned(two) == [("same_process", one)]
    assert await warned(three) == []
    assert await warned(foreign, eve) == []
    shown = {item["id"]: item["warnings"] for item in (await ada.call("GET", "/bots", status=200))["items"]}
    assert "“the same”" in shown[one][0]["detail"]
    # A key that is restricted to one bot does not learn of the other.
    body = {"name": "one", "scopes": ["bots:read"], "bot_ids": [one]}
    key = await ada.call("POST", "/api-keys", json=body, status=201)
    head = {"Authorization": f"Bearer {key['key']}"}
    assert (await api.client.get(f"/api/v1/bots/{one}", headers=head)).json()["warnings"] == []
    await ada.call("DELETE", f"/bots/{two}", status=204)
    assert await warned(one) == []


async def test_a_bot_that_began_anew_or_has_another_clock_says_so(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    old = UUID(int=uuid7().int - ((25 * 3600 * 1000) << 80))
    for identity, detail in ((old, "long ago"), (uuid7(), "Fewer closed trades than before: 3 after 40.")):
        await admin.execute(
            "insert into bot_events (id, tenant_id, bot_id, kind, detail, cause, actor)"
            " values ($1, $2, $3, 'counter_reset', $4, 'agent', 'agent:poller')",
            identity,
            ada.tenant_id,
            UUID(bot),
            detail,
        )
    await seen(admin, bot, reason="clock_skew", detail="Its clock is about 8 minutes behind ours.")
    shown = await ada.call("GET", f"/bots/{bot}", status=200)
    assert shown["health"]["state"] == "healthy"
    assert [(item["code"], item["detail"]) for item in shown["warnings"]] == [
        ("counter_reset", "Fewer closed trades than before: 3 after 40."),
        ("clock_skew", "Its clock is about 8 minutes behind ours."),
    ]
    await admin.execute("delete from bot_events where id <> $1", old)
    assert [item["code"] for item in (await ada.call("GET", f"/bots/{bot}", status=200))["warnings"]] == ["clock_skew"]


async def test_rewriting_health_stays_hot_with_the_index_on_identities(
    api: Api, admin: asyncpg.Connection, urls: Any
) -> None:
    ada = await api.person()
    bot = await connected(ada, admin)
    await seen(admin, bot, identity="freqtrade:bot@1")
    poller = await asyncpg.connect(urls["agent_poller"])
    try:
        hot = "select pg_stat_get_xact_tuples_hot_updated('bot_health'::regclass)"
        async with poller.transaction():
            for number in range(20):
                await poller.execute(
                    "update bot_health set observed_at = now(), latency_ms = $1, identity = $2, failures = $3"
                    " where id = $4",
                    float(number),
                    "freqtrade:bot@1",
                    number,
                    UUID(bot),
                )
            # A page of one row at half fill has room for some versions; each of these is one chain.
            assert await poller.fetchval(hot) >= 10
    finally:
        await poller.close()
