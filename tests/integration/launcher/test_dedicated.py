"""A subscriber's own bot: the creator's private configuration, the subscriber's money, neither told to others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from control_plane.security.sealing import Place, seal
from tests.factories import Owner
from tests.integration.launcher.rig import CONFIG, Rig

pytestmark = pytest.mark.engine

PUBLIC = {"currency": "USDT", "strategy": {"type": "dca", "symbol": "BTC/USDT"}}
PRIVATE = {
    "strategy": {"amount": "123.4567"},
    "market": {"kind": "seeded", "seed": 7, "interval_seconds": "3600", "start_price": "50000"},
}


async def template(rig: Rig, creator: Owner, config: Mapping[str, Any], image: str | None = None) -> tuple[UUID, UUID]:
    """A creator's template with one version, sealed as the web tier seals it: the ids of both."""
    made, version = uuid7(), uuid7()
    place = Place(creator.tenant_id, "template_versions", "config_sealed", version)
    sealed = seal(json.dumps(config).encode(), await rig.factory.public_key(creator.tenant_id), place)
    await rig.admin.execute(
        "insert into bot_templates (id, tenant_id, name, engine, strategy_type, risk_level, hosting, currency,"
        " minimum_allocation, created_by) values ($1, $2, 'steady', 'tradewise', 'dca', 'low', 'dedicated', 'USDT', 1,"
        " $3)",
        made,
        creator.tenant_id,
        creator.user_id,
    )
    await rig.admin.execute(
        "insert into template_versions (id, tenant_id, template_id, version, parameters, image, config_sealed,"
        " config_key_version, config_suite, config_fields, config_digest)"
        " values ($1, $2, $3, 1, $4, $5, $6, $7, $8, '{}', '')",
        version,
        creator.tenant_id,
        made,
        json.dumps(PUBLIC),
        image,
        sealed.value,
        sealed.key_version,
        sealed.suite,
    )
    return made, version


async def subscribe(rig: Rig, bot: UUID, creator: Owner, of: tuple[UUID, UUID], amounts: list[str]) -> None:
    """The subscription that a bot belongs to, with its movements of money."""
    subscription = uuid7()
    await rig.admin.execute(
        "insert into subscriptions (id, tenant_id, user_id, creator_tenant_id, template_id, template_version_id,"
        " hosting, bot_tenant_id, bot_id, currency, allocation_amount)"
        " values ($1, $2, $3, $4, $5, $6, 'dedicated', $2, $7, 'USDT', 1000)",
        subscription,
        rig.owner.tenant_id,
        rig.owner.user_id,
        creator.tenant_id,
        *of,
        bot,
    )
    for amount in amounts:
        await rig.admin.execute(
            "insert into subscription_ledger (id, tenant_id, subscription_id, kind, amount)"
            " values ($1, $2, $3, $4, $5::text::numeric)",
            uuid7(),
            rig.owner.tenant_id,
            subscription,
            "pause" if amount == "0" else "withdrawal" if amount.startswith("-") else "deposit",
            amount,
        )


async def test_a_subscribers_bot_runs_the_creators_configuration_on_the_subscribers_money(rig: Rig) -> None:
    creator = await rig.factory.owner("Grace")
    ids = await template(rig, creator, PRIVATE)
    bot = await rig.bot(config=None, template_tenant_id=creator.tenant_id, template_version_id=ids[1])
    await subscribe(rig, bot, creator, ids, ["1000", "250.5", "0", "-100"])
    async with rig.launcher():
        first = await rig.up(bot)
        assert float((await rig.ask(first["host_port"], "performance"))["capital_base"]) == 1150.5
        state = await rig.ask(first["host_port"], "state")
        assert (state["strategy"], state["symbol"], state["currency"]) == ("dca", "BTC/USDT", "USDT")

        await rig.admin.execute(
            "insert into subscription_ledger (id, tenant_id, subscription_id, kind, amount)"
            " select $1, tenant_id, id, 'deposit', 500 from subscriptions where bot_id = $2",
            uuid7(),
            bot,
        )
        await rig.want(bot, "running")
        second = await rig.until_launched(bot, after=first["id"])
        assert float((await rig.ask(second["host_port"], "performance"))["capital_base"]) == 1650.5
    told = str(rig.engine.api.inspect_container(second["container_id"]))
    assert "123.4567" not in told
    assert "250.5" not in told


async def test_what_a_crashing_bot_says_does_not_tell_the_subscriber_the_configuration(
    rig: Rig, rogue_image: str
) -> None:
    creator = await rig.factory.owner("Grace")
    private = {"behaviour": "exit 1", "secret": "planted-template-secret"}
    ids = await template(rig, creator, private, image=rogue_image)
    bot = await rig.bot(config=None, template_tenant_id=creator.tenant_id, template_version_id=ids[1])
    async with rig.launcher():
        await rig.until_row(bot, lambda row: row["attempt"] > 0, "a crash")
    kept = await rig.admin.fetchval("select last_lines::text from bot_instances where bot_id = $1 order by id", bot)
    assert json.loads(kept) == ["token (redacted) config (redacted)", "last words"]


async def test_a_creators_key_that_is_gone_stops_the_subscribers_bot_with_words(rig: Rig) -> None:
    creator = await rig.factory.owner("Grace")
    ids = await template(rig, creator, CONFIG)
    bot = await rig.bot(config=None, template_tenant_id=creator.tenant_id, template_version_id=ids[1])
    await rig.admin.execute(
        "update tenant_keys set wrapped_private_key = null, destroyed_at = now() where tenant_id = $1",
        creator.tenant_id,
    )
    async with rig.launcher():
        row = await rig.until_status(bot, "error", "secret_unreadable")
    assert "destroyed" in row["reason_detail"]
