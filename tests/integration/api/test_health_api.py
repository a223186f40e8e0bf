"""A bot's history by HTTP: health with its reasons in words, and curves as bounded as was asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from control_plane.plans import Plan
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, running_api
from tests.factories import Urls
from tests.world import external_body

MINUTE = timedelta(minutes=1)


async def test_health_is_told_in_spans_with_the_reason_in_words(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    now = datetime.now(UTC)
    for ago, state, reason in ((90, "healthy", None), (60, "unhealthy", "unreachable"), (45, "healthy", None)):
        await admin.execute(
            "insert into bot_health_changes (tenant_id, bot_id, at, state, reason) values ($1, $2, $3, $4, $5)",
            ada.tenant_id,
            UUID(bot),
            now - ago * MINUTE,
            state,
            reason,
        )
    await admin.execute("update bot_health set observed_at = now() - interval '30 minutes' where id = $1", UUID(bot))
    told = await ada.call("GET", f"/bots/{bot}/health", status=200)
    assert [(span["state"], span["text"]) for span in told["spans"]] == [
        ("unknown", None),
        ("healthy", None),
        ("unhealthy", "Not reachable"),
        ("healthy", None),
        ("unknown", None),
    ]
    assert abs(told["uptime"]["observed_s"] - 3600) < 60
    assert 0.74 < told["uptime"]["ratio"] < 0.76
    assert (told["latency"]["median_ms"], told["complete"]) == (None, True)
    assert len(told["buckets"]) <= 100
    few = await ada.call("GET", f"/bots/{bot}/health", params={"points": 5}, status=200)
    assert (few["interval"], len(few["buckets"]) <= 5) == ("6h", True)
    await bob.call("GET", f"/bots/{bot}/health", status=404)
    await ada.call("GET", f"/bots/{bot}/health", params={"points": 1}, status=400)
    refused = await ada.call("GET", f"/bots/{bot}/health", params={"from": "2026-01-02T00:00:00"}, status=422)
    assert refused["errors"][0]["field"] == "from"


async def test_a_curve_has_no_more_points_than_were_asked_for(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person("ada")
    bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    now = datetime.now(UTC)
    await admin.executemany(
        "insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, equity, capital_base, unit_value)"
        " values ($1, $2, $3, 'USDT', $4, 1000, $5)",
        [
            (ada.tenant_id, UUID(bot), now - ago * MINUTE, 1000 * value, value)
            for ago, value in ((n, Decimal(100 + n % 3) / 100) for n in range(300))
        ],
    )
    told = await ada.call("GET", f"/bots/{bot}/performance", params={"points": 30, "interval": "raw"}, status=200)
    assert told["interval"] == "15m"
    assert 10 < len(told["points"]) <= 30
    assert (told["currency"], told["gaps"]) == ("USDT", [])
    assert Decimal(told["drawdown"]["maximum"]) == Decimal(told["drawdown_since_start"]["maximum"]) > 0
    assert {"at", "equity", "return", "drawdown"} <= set(told["points"][0])


@pytest.mark.parametrize(
    ("changes", "gaps"),
    [
        ({"poll_interval": 5.0, "reading_interval": 15.0}, 1),
        ({"poll_interval": 15.0, "reading_interval": 15.0}, 1),
        ({"reading_interval": 60.0}, 0),
        ({"poll_interval": 60.0, "reading_interval": 15.0}, 0),
        ({"reading_interval": 15.0, "plans": {"free": Plan(reading_interval=60)}}, 0),
        ({"reading_interval": 60.0, "plans": {"free": Plan(poll_interval=5, reading_interval=15)}}, 1),
    ],
)
async def test_two_minutes_without_a_reading_are_a_gap_where_readings_are_meant_to_be_denser(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection, changes: dict[str, Any], gaps: int
) -> None:
    async with running_api(msgspec.structs.replace(settings, **changes), urls, vault) as api:
        ada = await api.person("ada")
        bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
        now = datetime.now(UTC)
        await admin.executemany(
            "insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, equity)"
            " values ($1, $2, $3, 'USDT', 1000)",
            [(ada.tenant_id, UUID(bot), now - n * MINUTE / 4) for n in (*range(9), *range(16, 25))],
        )
        told = await ada.call("GET", f"/bots/{bot}/performance", status=200)
        assert len(told["gaps"]) == gaps
        assert [point["equity"] for point in told["points"]].count(None) == gaps


async def test_the_ends_of_the_calendar_are_refused_by_name(api: Api) -> None:
    ada = await api.person("ada")
    body = {"bot_type": "platform", "engine": "tradewise", "name": "ours", "config": {}}
    bot = (await ada.call("POST", "/bots", json=body, status=201))["id"]
    for what in ("health", "performance", "stats"):
        for field, at in (("to", "0001-01-01T00:00:00+14:00"), ("from", "9999-12-31T23:59:59-12:00")):
            refused = await ada.call("GET", f"/bots/{bot}/{what}", params={field: at}, status=422)
            assert [error["field"] for error in refused["errors"]] == [field]
