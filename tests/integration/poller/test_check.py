"""One check, without a poller around it."""

from __future__ import annotations

import asyncpg
from prometheus_client import REGISTRY

from agents.egress import Limits
from agents.poller.check import Checker
from agents.poller.due import claim
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.factories import Factory
from tests.integration.poller.bots import HangingBot
from tests.integration.poller.parts import ROOM
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
