"""One check, without a poller around it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from agents.egress import Limits
from agents.poller.check import Checker
from agents.poller.facts import Bot, Outcome
from agents.poller.opening import OPENED_S, ChangedMeanwhileError, Opened, Opener
from agents.poller.watched import Watched
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.factories import Factory, Urls
from tests.integration.poller.bots import HangingBot, launched
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.parts import watched_bots
from tests.integration.poller.rows import health_row, until_checked, until_snapshots, until_status
from tests.integration.poller.wishes import moved
from tests.servers.bot_server import BotServer

TOKEN = "bot-token-0123456789"
ANOTHER = "another-token-0123456789"


def _counted(outcome: str) -> float:
    labels = {"engine": "tradewise", "outcome": outcome}
    return REGISTRY.get_sample_value("tradewise_poller_checks_total", labels) or 0.0


async def test_a_bot_that_answers_too_slowly_is_a_timeout(factory: Factory, pool: asyncpg.Pool, vault: Vault) -> None:
    owner = await factory.owner()
    settings = load_settings({"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"})
    async with HangingBot(token=TOKEN) as hanging, BotServer(token=TOKEN) as server:
        for url in (hanging.url, server.url):
            await factory.bot(owner, api_url=url, credentials={"token": TOKEN})
        bots = {watched.bot.api_url: watched for watched in (await watched_bots(pool)).values()}
        silent, well = bots[hanging.url], bots[server.url]
        now = datetime.now(UTC)
        for limits, budget_s in ((Limits(total_timeout=0.2), 20.0), (Limits(), 0.2)):
            checker = Checker(Opener(settings, pool, vault, limits), budget_s=budget_s)
            counted = _counted("timeout")
            assert (await checker.check(silent, now, full=True)).reason == "timeout"
            assert _counted("timeout") == counted + 1
            checker.close()
            silent.opened = None
        checker = Checker(Opener(settings, pool, vault, Limits()))
        outcome = await checker.check(well, now, full=True)
        assert (outcome.good, outcome.observed_at, outcome.reading.full) == (True, now, True)
        assert not (await checker.check(well, now, full=False)).reading.full
        checker.close()


async def test_what_was_opened_is_kept_for_a_while_and_longer_only_while_the_database_is_away(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, vault: Vault
) -> None:
    settings = load_settings({"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"})
    async with BotServer(token=TOKEN) as server:
        await factory.bot(await factory.owner(), api_url=server.url, credentials={"token": TOKEN})
        [watched] = (await watched_bots(pool)).values()
        checker, now = Checker(Opener(settings, pool, vault, Limits())), datetime.now(UTC)
        assert (await checker.check(watched, now, full=True)).good
        opened = watched.opened
        assert TOKEN not in repr(opened)
        assert OPENED_S * 0.7 < opened.until - time.monotonic() < OPENED_S * 1.3
        await checker.check(watched, now, full=True)
        assert watched.opened is opened
        opened.until = time.monotonic()
        await checker.check(watched, now, full=True)
        assert watched.opened is not opened
        # With nobody to ask, what is known is used twice as long; then nothing can be seen.
        away = await asyncpg.create_pool(min_size=0, max_size=1, host="127.0.0.1", port=1, timeout=1)
        blind = Checker(Opener(settings, away, vault, Limits()))
        watched.opened.until = time.monotonic()
        assert (await blind.check(watched, now, full=True)).good
        watched.opened.until = time.monotonic() - OPENED_S
        with pytest.raises(OSError):
            await blind.check(watched, now, full=True)
        assert watched.opened is None
        await away.close()
        blind.close()
        checker.close()


class FaultyChecker(Checker):
    """Has a bug that one bot meets."""

    unlucky: object = None

    async def check(self, watched: Watched, observed_at: datetime, *, full: bool) -> Outcome:
        if watched.bot.id == self.unlucky:
            raise ZeroDivisionError(TOKEN)
        return await super().check(watched, observed_at, full=full)


async def test_a_fault_of_ours_costs_its_own_bot_only_and_shows_nothing(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, vault: Vault
) -> None:
    owner = await factory.owner()
    async with BotServer(token=TOKEN) as server, BotServer(token=TOKEN) as other:
        poller = await poller_with(poll_interval=0.2)
        checker = FaultyChecker(Opener(poller.settings, poller.pool, vault, Limits()))
        poller._rounds.checker.close()
        poller._rounds.checker = checker
        with capture_logs() as logs:
            async with admin.transaction():
                unlucky = await factory.bot(owner, api_url=server.url, credentials={"token": TOKEN})
                checker.unlucky = unlucky
            well = await factory.bot(owner, api_url=other.url, credentials={"token": TOKEN})
            await until_snapshots(admin, well, 3)
        assert (await health_row(admin, unlucky))["observed_at"] is None
        assert [line["error"] for line in logs if line["event"] == "check_failed"] == ["ZeroDivisionError"]
        assert TOKEN not in repr(logs)


async def test_an_address_and_a_credential_that_do_not_belong_together_are_never_combined(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, vault: Vault
) -> None:
    settings = load_settings({"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"})
    owner = await factory.owner()
    async with BotServer(token=TOKEN) as before, BotServer(token=ANOTHER) as after:
        bot = await factory.bot(owner, api_url=before.url, credentials={"token": TOKEN})
        ours = await factory.bot(owner, bot_type="platform", status="running", credentials={"token": TOKEN})
        copy = await launched(admin, owner, ours, port=before.port, generation=1)
        held = await watched_bots(pool)
        await moved(factory, owner, bot, after.url, {"token": ANOTHER})
        # The copy has ended: whatever listens at its port next is another's.
        await admin.execute("update bot_instances set state = 'exited', released_at = now() where id = $1", copy)
        checker = Checker(Opener(settings, pool, vault, Limits()))
        for one in (bot, ours):
            with pytest.raises(ChangedMeanwhileError):
                await checker.check(held[one], datetime.now(UTC), full=True)
        assert before.requests == []
        # As it stands now it is opened as usual.
        assert (await checker.check((await watched_bots(pool))[bot], datetime.now(UTC), full=True)).good
        checker.close()


class OvertakenOpener(Opener):
    """Opens a bot just after its owner has changed it."""

    before: Callable[[], Awaitable[None]] | None = None

    async def open(self, bot: Bot) -> Opened:
        change, self.before = self.before, None
        if change is not None:
            await change()
        return await super().open(bot)


async def test_a_look_at_a_bot_that_was_changed_meanwhile_is_not_seen_and_the_next_one_is_at_the_new_address(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, vault: Vault, urls: Urls
) -> None:
    owner = await factory.owner()
    async with BotServer(token=TOKEN) as before, BotServer(token=ANOTHER) as after:
        # No regular look comes to help.
        poller = await poller_with(poll_interval=3600.0)
        bot = await factory.bot(owner, api_url=before.url, credentials={"token": TOKEN})
        await until_status(admin, bot, "connected")
        opener = OvertakenOpener(poller.settings, poller.pool, vault, Limits())
        poller._rounds.checker.close()
        poller._rounds.checker = Checker(opener)
        watched = poller._fleet.get(bot)
        assert watched is not None
        watched.opened = None
        before.requests.clear()

        async def changed() -> None:
            # By a connection of its own: the test goes on meanwhile.
            connection = await asyncpg.connect(urls.admin)
            try:
                await moved(Factory(connection, vault), owner, bot, after.url, {"token": ANOTHER})
            finally:
                await connection.close()

        opener.before = changed
        await admin.execute("update bots set ping_requested_at = clock_timestamp() where id = $1", bot)
        row = await until_checked(admin, bot)
        assert (row["state"], row["reason"], row["observed_generation"]) == ("healthy", None, 2)
        assert before.requests == []
        assert after.requests
