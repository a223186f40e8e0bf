"""One check of one bot: its address, its credential, its engine, within bounds of time.

What was opened for a bot is kept in memory for a while and nowhere else (see docs/decisions/0029-poller.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import asyncpg

from agents.audit import note_not_opened
from agents.egress import GuardedClient, Limits
from agents.egress.deadlines import Deadlines, Spell
from agents.engines import engine_for
from agents.engines.base import Engine, Reading, Reason
from agents.hosted import reached_at
from agents.poller.decide import CONFIG_INVALID, ENGINE_UNKNOWN, SECRET_UNREADABLE, Bot, Outcome, spread
from agents.poller.sealed import SealedRows
from agents.poller.tally import Tally
from agents.poller.watched import Watched
from agents.secrets import NotOpenedError, open_secret_row
from control_plane.database.away import DATABASE_AWAY
from control_plane.engines.configs import ConfigError, decode_config
from control_plane.engines.family import EngineConfig
from control_plane.engines.registry import family_of
from control_plane.security.addresses import BotUrl, UrlRefused, parse_bot_url
from control_plane.security.credentials import Credential, CredentialError, decode_credentials
from control_plane.security.vault import OpenError, Vault
from control_plane.settings import Settings

#: All calls of one check together; several slow answers in a row must not outlive the lease.
BUDGET_S = 20.0
#: A bot of ours that starts is asked again within its check for so long: that costs no claim, and its owner waits.
_FIRST_ANSWER_S = 0.5
_SHORTEST_PAUSE_S = 0.01
#: What was opened is opened anew after so long, sooner or later by a quarter, so that not all fall due at once; while
#: the database or the key provider is away it may be used for twice as long.
OPENED_S = 900.0
_SPREAD = 0.25
#: What is opened at once: the keys of many tenants may be a service's to unwrap.
_OPENING = 16

_CHECKS = Tally("tradewise_poller_checks", "Checks by bot family and outcome.", ["engine", "outcome"])
_NOTHING_READ = Reading(reachable=False, credential_ok=None, full=False)


class _Local(Exception):  # noqa: N818 - an outcome to report
    """Ends a check before the bot is called: the reason lies with us or with what we were given."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Opened:
    """What is kept of a bot between two looks: how it is reached, and as whom. Shows nothing of itself."""

    __slots__ = ("client", "config", "credential", "engine", "until", "url")

    def __init__(
        self,
        engine: Engine[Any, Any],
        client: GuardedClient,
        url: BotUrl,
        credential: Credential,
        config: EngineConfig | None,
        until: float,
    ) -> None:
        self.engine = engine
        self.client = client
        self.url = url
        self.credential = credential
        self.config = config
        self.until = until


class Checker:
    """Checks bots through two guarded clients: one for tenants' addresses, one for the bots that we host."""

    def __init__(
        self, settings: Settings, pool: asyncpg.Pool, vault: Vault, *, limits: Limits, budget_s: float = BUDGET_S
    ) -> None:
        self._pool = pool
        self._vault = vault
        # One timer for all looks: one for each would cost as much as judging what was seen.
        self._budgets = Deadlines(budget_s)
        self._sealed = SealedRows(pool)
        self._opening = asyncio.Semaphore(_OPENING)
        self._published_at = reached_at(settings.publish_address)
        self._tenants = GuardedClient.for_tenants(allow=settings.egress_allow, limits=limits)
        self._hosted = GuardedClient.for_hosted([ip_network(ip_address(self._published_at))], limits=limits)

    def close(self) -> None:
        """Close every connection that is kept."""
        self._budgets.close()
        self._sealed.close()
        self._tenants.close()
        self._hosted.close()

    async def check(self, watched: Watched, observed_at: datetime, *, full: bool) -> Outcome:
        """Look at a bot once. Raises only for the database: whatever the bot does is an outcome."""
        bot = watched.bot
        try:
            opened = await self._opened(watched)
        except _Local as local:
            return _outcome(bot, observed_at, _NOTHING_READ, local.reason, local.detail)
        try:
            with Spell(self._budgets):
                if bot.hosted and bot.status == "starting":
                    reading = await _first_answer(lambda: _look(opened, full=full))
                else:
                    reading = await _look(opened, full=full)
        except TimeoutError:
            detail = "The bot answered too slowly to be read."
            return _outcome(bot, observed_at, _NOTHING_READ, Reason.TIMEOUT.value, detail)
        if reading.reason is None and reading.credential_ok is not True:
            return _outcome(bot, observed_at, reading, Reason.AUTH.value, "The bot did not confirm the credentials.")
        return _outcome(bot, observed_at, reading, reading.reason and reading.reason.value, reading.detail)

    async def _opened(self, watched: Watched) -> Opened:
        """What is kept of the bot, or opened now."""
        kept: Opened | None = watched.opened
        now = time.monotonic()
        if kept is not None and now < kept.until:
            return kept
        bot = watched.bot
        try:
            engine, url, config = _engine(bot), self._address(bot), _config(bot)
            credential = await self._credential(bot)
        except DATABASE_AWAY:
            if kept is not None and now < kept.until + OPENED_S:
                return kept
            watched.opened = None
            raise
        client = self._hosted if bot.hosted else self._tenants.acting_for(bot.tenant_id)
        until = now + OPENED_S * (1 + _SPREAD * spread(bot.id, datetime.now(UTC)))
        opened = Opened(engine, client, url, credential, config, until)
        if watched.bot is bot:
            # Otherwise what was opened is of a bot that was changed meanwhile: good for this one look.
            watched.opened = opened
        return opened

    def _address(self, bot: Bot) -> BotUrl:
        if bot.hosted:
            return BotUrl("http", self._published_at, bot.host_port or 0)
        try:
            return parse_bot_url(bot.api_url or "")
        except UrlRefused as refused:
            raise _Local(Reason.EGRESS_REFUSED.value, refused.message) from None

    async def _credential(self, bot: Bot) -> Credential:
        try:
            row = await self._sealed.get(bot.tenant_id, bot.id)
            if row is None:
                raise _Local(SECRET_UNREADABLE, "The bot has no credentials: enter them.")
            async with self._opening:
                secret = await open_secret_row(self._vault, row, bot.tenant_id)
            return decode_credentials(bot.engine, secret.reveal())
        except OpenError as error:
            if isinstance(error, NotOpenedError):
                await note_not_opened(self._pool, error, bot_id=bot.id, generation=bot.generation)
            raise _Local(SECRET_UNREADABLE, "The stored credentials cannot be opened: enter them again.") from None
        except CredentialError:
            detail = f"The stored credentials are not those of a {bot.engine} bot: enter them again."
            raise _Local(SECRET_UNREADABLE, detail) from None


def _look(opened: Opened, *, full: bool) -> Awaitable[Reading]:
    """The one place that speaks to an engine: its full look, or its short one."""
    ask = opened.engine.read if full else opened.engine.check
    # Ages are told by the wall clock that bots share with us; what is stored is by the database's.
    now = datetime.now(UTC)
    return ask(opened.client, opened.url, opened.credential, opened.config, now=now)


async def _first_answer(ask: Callable[[], Awaitable[Reading]]) -> Reading:
    """While a hosted bot starts nothing listens yet: the first reading that finds somebody there, or the last."""
    began = time.monotonic()
    while True:
        reading = await ask()
        waited = time.monotonic() - began
        if reading.reason is not Reason.UNREACHABLE or waited >= _FIRST_ANSWER_S:
            return reading
        await asyncio.sleep(max(_SHORTEST_PAUSE_S, waited / 8))


def _config(bot: Bot) -> EngineConfig | None:
    try:
        return decode_config(family_of(bot.engine), bot.engine_config)
    except ConfigError as error:
        where = f"engine_config.{error.field}" if error.field else "engine_config"
        raise _Local(CONFIG_INVALID, f"The bot's {where} {error.message}.") from None


def _engine(bot: Bot) -> Engine[Any, Any]:
    try:
        return engine_for(bot.engine)
    except LookupError:
        raise _Local(ENGINE_UNKNOWN, f"This version of TradeWise has no engine named {bot.engine}.") from None


def _outcome(bot: Bot, observed_at: datetime, reading: Reading, reason: str | None, detail: str | None) -> Outcome:
    _CHECKS.count(bot.engine, reason or "ok")
    return Outcome(reading=reading, observed_at=observed_at, reason=reason, detail=detail)
