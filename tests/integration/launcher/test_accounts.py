"""Two bots that would trade on one exchange account: the second waits, whoever owns it, and starts by itself."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from tests.factories import Owner
from tests.integration.launcher.rig import CONFIG, Rig
from tests.integration.launcher.test_dedicated import PRIVATE, template

pytestmark = pytest.mark.engine

KEY = "planted-exchange-api-key"


async def fenced(rig: Rig, creator: Owner, field: str | None = "exchange.key") -> UUID:
    """A template version that says what names the account."""
    _, version = await template(rig, creator, PRIVATE)
    await rig.admin.execute("update template_versions set account_field = $2 where id = $1", version, field)
    return version


async def trader(rig: Rig, creator: Owner, version: UUID, key: str | None = KEY, **more: Any) -> UUID:
    """A bot of the rig's owner on that template, with a key of its own for the exchange."""
    config = {**CONFIG, "exchange": {"key": key, "secret": "planted-exchange-secret"}}
    return await rig.bot(config=config, template_tenant_id=creator.tenant_id, template_version_id=version, **more)


async def test_the_second_bot_waits_and_starts_when_the_first_has_ended(rig: Rig) -> None:
    creator = await rig.factory.owner("Grace")
    version = await fenced(rig, creator)
    first = await trader(rig, creator, version)
    async with rig.launcher():
        await rig.up(first)
        rig.owner = await rig.factory.owner("Mallory")
        # Another tenant, another version of another template, the same account.
        second = await trader(rig, creator, await fenced(rig, creator))
        other = await trader(rig, creator, version, key="another-exchange-api-key")
        row = await rig.until_status(second, "starting", "account_in_use")
        assert (row["attempt"], await rig.live(second), rig.containers(second)) == (0, None, [])
        assert str(first) not in row["reason_detail"]
        assert KEY not in row["reason_detail"]
        await rig.up(other)
        await rig.want(first, "stopped")
        await rig.until_status(first, "inactive")
        await rig.up(second)
        events = await rig.events(second)
    assert events == [
        ("inactive", "starting", None),
        ("starting", "starting", "account_in_use"),
        ("starting", "running", None),
    ]
    stored = str([dict(row) for row in await rig.admin.fetch("table account_leases")])
    assert KEY not in stored
    assert len(await rig.admin.fetch("table account_leases")) == 2


async def test_an_account_is_free_again_only_after_an_end_that_was_seen(rig: Rig) -> None:
    creator = await rig.factory.owner("Grace")
    version = await fenced(rig, creator)
    first = await trader(rig, creator, version)
    async with rig.launcher():
        copy = await rig.up(first)
    second = await trader(rig, creator, version)
    async with rig.launcher():
        await rig.until_status(second, "starting", "account_in_use")
        rig.engine.api.kill(copy["container_id"], "SIGKILL")
        # Whichever of the two comes first: they are never two.
        leases = await rig.admin.fetch("select * from account_leases")
        assert len(leases) <= 1
        running = [item for item in rig.containers() if item["State"] == "running"]
        assert len(running) <= 1


async def test_a_restarted_bot_keeps_its_account(rig: Rig) -> None:
    creator = await rig.factory.owner("Grace")
    bot = await trader(rig, creator, await fenced(rig, creator))
    async with rig.launcher():
        first = await rig.up(bot)
        await rig.want(bot, "running")
        second = await rig.until_launched(bot, after=first["id"])
    [lease] = await rig.admin.fetch("table account_leases")
    assert (lease["instance_id"], lease["bot_id"]) == (second["id"], bot)


async def test_without_a_word_of_the_template_accounts_are_not_looked_at(rig: Rig) -> None:
    creator = await rig.factory.owner("Grace")
    version = await fenced(rig, creator, None)
    bots = [await trader(rig, creator, version) for _ in range(2)]
    async with rig.launcher():
        for bot in bots:
            await rig.up(bot)
    assert await rig.admin.fetch("table account_leases") == []


async def test_an_account_that_is_not_named_is_an_error_that_says_where(rig: Rig) -> None:
    creator = await rig.factory.owner("Grace")
    bot = await trader(rig, creator, await fenced(rig, creator), key=None)
    async with rig.launcher():
        row = await rig.until_status(bot, "error", "config_rejected")
    assert "exchange.key" in row["reason_detail"]
    assert "planted" not in json.dumps(dict(row), default=str)
    assert rig.containers(bot) == []
