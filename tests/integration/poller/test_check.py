"""One check, without a poller around it."""

from __future__ import annotations

from datetime import datetime

import asyncpg
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from agents.egress import Limits
from agents.poller.check import Checker
from agents.poller.decide import Bot, Outcome
from agents.poller.due import claim
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.factories import Factory
from tests.integration.poller.bots import HangingBot
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.parts import ROOM
from tests.integration.poller.rows import health_row, until_snapshots
from tests.servers.bot_server import BotServer

TOKEN = "bot-token-0123456789"


def _counted(outcome: str) -> float:
    labels = {"engine": "tradewise", "outcome": outcome}
    return REGISTRY.get_sample_value("tradewise_poller_checks_total", labels) or 0.0


async def test_a_bot_that_answers_too_slowly_is_a_timeout(factory: Factory, pool: asyncpg.Pool, vault: Vault) -> None:
    owner = await factory.owner()
    settings = load_settings({"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"})
    async with HangingBot(token=TOKEN) as hanging, BotServer(token=TOKEN) as server:
        for url in (hanging.url, server.url):
            await factory.bot(owner, api_url=url, credentials={"token": TOKEN})
        claims = {held.bot.api_url: held for held in (await claim(pool, ROOM)).claims}
        silent, well = claims[hanging.url], claims[server.url]
        for limits, budget_s in ((Limits(total_timeout=0.2), 20.0), (Limits(), 0.2)):
            checker = Checker(settings, pool, vault, limits=limits, budget_s=budget_s)
            counted = _counted("timeout")
            assert (await checker.check(silent.bot, silent.now)).reason == "timeout"
            assert _counted("timeout") == counted + 1
            checker.close()
        checker = Checker(settings, pool, vault, limits=Limits())
        outcome = await checker.check(well.bot, well.now)
        assert outcome.good
        assert outcome.observed_at >= well.claimed_at
        checker.close()


class FaultyChecker(Checker):
    """Has a bug that one bot meets."""

    unlucky: object = None

    async def check(self, bot: Bot, observed_at: datetime) -> Outcome:
        if bot.id == self.unlucky:
            raise ZeroDivisionError(TOKEN)
        return await super().check(bot, observed_at)


async def test_a_fault_of_ours_costs_its_own_bot_only_and_shows_nothing(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, vault: Vault
) -> None:
    owner = await factory.owner()
    async with BotServer(token=TOKEN) as server, BotServer(token=TOKEN) as other:
        poller = await poller_with(poll_interval=0.2)
        checker = FaultyChecker(poller.settings, poller.pool, vault, limits=Limits())
        poller._checker.close()
        poller._checker = checker
        with capture_logs() as logs:
            async with admin.transaction():
                unlucky = await factory.bot(owner, api_url=server.url, credentials={"token": TOKEN})
                checker.unlucky = unlucky
            well = await factory.bot(owner, api_url=other.url, credentials={"token": TOKEN})
            await until_snapshots(admin, well, 3)
        assert (await health_row(admin, unlucky))["observed_at"] is None
        assert [line["error"] for line in logs if line["event"] == "check_failed"] == ["ZeroDivisionError"]
        assert TOKEN not in repr(logs)
