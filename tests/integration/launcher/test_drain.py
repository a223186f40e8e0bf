"""A stop is trade-safe: the bot winds its trading down first, shows that it has, and what it does not show is said."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import msgspec
import pytest

from control_plane.tenants import operator
from tests.integration.launcher.rig import CONFIG, TOKEN, Rig
from tests.waiting import until

pytestmark = pytest.mark.engine

#: Holds a position after its first tick, and makes no second one for an hour.
TRADING = {**CONFIG, "market": {**CONFIG["market"], "interval_seconds": "0.1"}}  # type: ignore[dict-item]


async def told(rig: Rig, bot: UUID) -> list[tuple[str, str | None]]:
    """What the bot's history tells of its drains: kind and reason."""
    rows = await rig.admin.fetch(
        "select kind, reason from bot_events where bot_id = $1 and kind in ('drain', 'drained') order by id", bot
    )
    return [tuple(row) for row in rows]


async def holding(rig: Rig, port: int) -> dict[str, Any]:
    """Wait until the bot behind a port holds a position; its performance."""

    async def held() -> dict[str, Any]:
        performance = await rig.ask(port, "performance")
        return performance if performance["open_positions"] else {}

    return await until(held, what="a position")


async def last_sale(rig: Rig, port: int) -> str | None:
    """Why the bot behind a port last sold something."""
    entries = (await rig.ask(port, "ledger"))["items"]
    return next((entry["reason"] for entry in entries if entry["kind"] == "sell"), None)


async def test_a_stopped_bot_keeps_its_positions_and_has_no_open_order(rig: Rig) -> None:
    bot = await rig.bot(config=TRADING)
    async with rig.launcher():
        first = await rig.up(bot)
        await holding(rig, first["host_port"])
        await rig.want(bot, "stopped")
        row = await rig.until_status(bot, "inactive")
        assert row["orders_unconfirmed"] is False
        ended = await rig.last(bot)
        assert (ended["drain_state"], ended["drain_positions"], ended["exit_code"]) == ("drained", "keep", 0)
        assert await told(rig, bot) == [("drain", None), ("drained", None)]
        await rig.want(bot, "running")
        second = await rig.up(bot)
        assert (await holding(rig, second["host_port"]))["open_positions"] == 1
        assert await last_sale(rig, second["host_port"]) is None
        # A new process trades again.
        assert (await rig.ask(second["host_port"], "drain"))["state"] == "none"


async def test_positions_are_closed_where_the_owner_chose_that(rig: Rig) -> None:
    bot = await rig.bot(config=TRADING, on_stop="close")
    async with rig.launcher():
        first = await rig.up(bot)
        await holding(rig, first["host_port"])
        await rig.want(bot, "stopped")
        assert (await rig.until_status(bot, "inactive"))["orders_unconfirmed"] is False
        assert (await rig.last(bot))["drain_positions"] == "close"
        await rig.want(bot, "running")
        second = await rig.up(bot)
        assert await last_sale(rig, second["host_port"]) == "drain"


async def test_a_restart_and_a_new_configuration_close_nothing(rig: Rig) -> None:
    bot = await rig.bot(config=TRADING, on_stop="close")
    async with rig.launcher():
        first = await rig.up(bot)
        await holding(rig, first["host_port"])
        await rig.want(bot, "running")
        second = await rig.until_launched(bot, after=first["id"])
        await rig.up(bot)
        ended = await rig.last(bot)
        assert (ended["drain_state"], ended["drain_positions"]) == ("drained", "keep")
        assert (await rig.ask(second["host_port"], "performance"))["open_positions"] == 1
        assert await last_sale(rig, second["host_port"]) is None


async def test_a_suspended_tenants_positions_are_closed_as_it_chose(rig: Rig) -> None:
    bot = await rig.bot(config=TRADING, on_stop="close")
    async with rig.launcher():
        await holding(rig, (await rig.up(bot))["host_port"])
        await operator.suspend(rig.urls.admin, rig.owner.tenant_id, None)
        await rig.until_status(bot, "inactive", "tenant_suspended")
        assert (await rig.last(bot))["drain_positions"] == "close"
        await operator.resume(rig.urls.admin, rig.owner.tenant_id)
        again = await rig.up(bot)
        assert await last_sale(rig, again["host_port"]) == "drain"


async def test_a_deleted_bot_is_drained_with_the_credentials_that_then_go(rig: Rig) -> None:
    bot = await rig.bot(config=TRADING)
    async with rig.launcher():
        await rig.up(bot)
        await rig.admin.execute(
            "update bots set deleted_at = now(), desired = 'stopped', generation = generation + 1 where id = $1", bot
        )
        await rig.until_row(bot, lambda row: row["reason"] == "deleted", "the bot is taken away")
        assert (await rig.last(bot))["drain_state"] == "drained"
    assert await rig.admin.fetchval("select count(*) from bot_secrets where bot_id = $1", bot) == 0
    assert (await rig.row(bot))["orders_unconfirmed"] is False


async def test_a_silent_bot_is_ended_at_its_deadline_and_what_is_not_known_is_said(rig: Rig, rogue_image: str) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, drain_deadline=3.0)
    silent, other = await rig.rogue("sleep", rogue_image), await rig.bot()
    async with rig.launcher():
        await rig.up(silent)
        await rig.up(other)
        begun = time.monotonic()
        await rig.want(silent, "stopped")
        await rig.want(other, "stopped")
        await rig.until_status(other, "inactive", deadline_s=10.0)
        assert (await rig.row(silent))["status"] == "stopping" or time.monotonic() - begun >= 3.0
        row = await rig.until_status(silent, "inactive", "orders_unconfirmed")
        assert 3.0 <= time.monotonic() - begun < 15.0
        assert row["orders_unconfirmed"] is True
        assert "Look at its exchange account" in row["reason_detail"]
        assert await told(rig, silent) == [("drain", None), ("drain", "orders_unconfirmed")]
        ended = await rig.last(silent)
        assert (ended["drain_state"], ended["exit_code"]) == ("unconfirmed", 0)
        # At rest it stays so, and nobody looks at it again.
        updated = row["updated_at"]
        await rig.want(other, "running")
        await rig.up(other)
        assert (await rig.row(silent))["updated_at"] == updated


async def test_a_bot_that_keeps_orders_open_is_told_with_their_number(rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("drains in 3600", rogue_image)
    async with rig.launcher():
        await rig.up(bot)
        await rig.want(bot, "stopped")
        row = await rig.until_status(bot, "inactive", "orders_unconfirmed")
    assert "2 open orders" in row["reason_detail"]


async def test_a_bot_that_needs_a_while_gets_it(rig: Rig, rogue_image: str) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, drain_deadline=60.0)
    bot = await rig.rogue("drains in 2", rogue_image)
    async with rig.launcher():
        instance = await rig.up(bot)
        begun = time.monotonic()
        await rig.want(bot, "stopped")
        await rig.until_row(bot, lambda row: row["status"] == "stopping", "it is stopping")
        row = await rig.until_status(bot, "inactive")
        assert 2.0 <= time.monotonic() - begun < 20.0
        assert row["orders_unconfirmed"] is False
    ended = await rig.last(bot)
    assert (ended["id"], ended["drain_state"], ended["exit_code"]) == (instance["id"], "drained", 0)


async def test_who_stops_at_once_waits_for_no_drain(rig: Rig, rogue_image: str) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, drain_deadline=600.0)
    bot = await rig.rogue("drains in 3600", rogue_image)
    async with rig.launcher():
        await rig.up(bot)
        await rig.want(bot, "stopped")

        async def asked() -> bool:
            live = await rig.live(bot)
            return live is not None and live["drain_state"] == "asked"

        await until(asked, what="the bot was asked")
        await rig.admin.execute(
            "update bots set generation = generation + 1, forced_generation = generation + 1 where id = $1", bot
        )
        row = await rig.until_status(bot, "inactive", "orders_unconfirmed", deadline_s=10.0)
        assert row["orders_unconfirmed"] is True


async def test_a_changed_token_does_not_hold_up_the_restart_that_it_causes(rig: Rig) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, drain_deadline=600.0)
    bot = await rig.bot()
    async with rig.launcher():
        first = await rig.up(bot)
        await rig.admin.execute("delete from bot_secrets where bot_id = $1 and kind = 'credentials'", bot)
        await rig.factory.secret(rig.owner, bot, "credentials", {"token": f"another-{TOKEN}"})
        await rig.want(bot, "running")
        await rig.until_launched(bot, after=first["id"])
        assert await told(rig, bot) == [("drain", None), ("drain", "orders_unconfirmed")]


async def test_a_crash_of_a_bot_that_traded_leaves_its_orders_unconfirmed_until_a_drain_has_shown_more(
    rig: Rig,
) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, first_delay=0.2)
    bot = await rig.bot()
    async with rig.launcher():
        first = await rig.up(bot)
        rig.engine.api.kill(first["container_id"], "SIGKILL")
        second = await rig.until_launched(bot, after=first["id"])
        assert (await rig.row(bot))["orders_unconfirmed"] is True
        await rig.up(bot)
        await rig.want(bot, "stopped")
        row = await rig.until_status(bot, "inactive")
        assert row["orders_unconfirmed"] is False
        assert (await rig.last(bot))["id"] == second["id"]


async def test_a_bot_that_never_ran_has_nothing_to_confirm(rig: Rig) -> None:
    bot = await rig.bot(config={**CONFIG, "strategy": {"type": "martingale"}})
    async with rig.launcher():
        await rig.until_status(bot, "error", "config_rejected")
        await rig.until_gone(bot)
        assert (await rig.row(bot))["orders_unconfirmed"] is None
        await rig.want(bot, "stopped")
        await rig.until_status(bot, "inactive")
    assert await told(rig, bot) == []
