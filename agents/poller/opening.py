"""What it takes to call a bot: its engine, its address behind the guard, its credential and its configuration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import msgspec

from agents.audit import note_not_opened
from agents.egress import GuardedClient, Limits
from agents.engines import engine_for
from agents.engines.base import Engine, Reason
from agents.hosted import reached_at
from agents.poller.decide import CONFIG_INVALID, ENGINE_UNKNOWN, SECRET_UNREADABLE, spread
from agents.poller.facts import Bot
from agents.poller.sealed import SealedRows
from agents.poller.watched import bot_of
from agents.secrets import NotOpenedError, open_secret_row
from control_plane.engines.configs import ConfigError, decode_config
from control_plane.engines.family import EngineConfig
from control_plane.engines.registry import family_of
from control_plane.security.addresses import BotUrl, UrlRefused, parse_bot_url
from control_plane.security.credentials import Credential, CredentialError, decode_credentials
from control_plane.security.vault import OpenError, Vault
from control_plane.settings import Settings

#: What was opened is to be opened anew after so long, sooner or later by a quarter, so that not all fall due at once.
OPENED_S: Final = 900.0
_SPREAD: Final = 0.25
#: What is opened at once: the keys of many tenants may be a service's to unwrap.
_AT_ONCE: Final = 16


_Way: TypeAlias = tuple[Engine[Any, Any], BotUrl, EngineConfig | None]


class CannotOpen(Exception):  # noqa: N818 - an outcome to report
    """The bot cannot be called, and the cause lies with us or with what we were given: a reason, and it in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class ChangedMeanwhileError(Exception):
    """The bot in hand is not the one that is stored now: its address and its credential may not belong together."""


class Stored(msgspec.Struct, frozen=True):
    """A bot and its credential, sealed still, as they stood together at one moment."""

    bot: Bot
    generation: int
    """Of what people wish of the bot. The copy of one that we run may be of an older one, or not be there at all."""
    row: asyncpg.Record

    def is_still(self, bot: Bot) -> bool:
        """Whether it is called in the same way as the bot given."""
        return all(getattr(self.bot, name) == getattr(bot, name) for name in _CALLED_BY)


#: What tells how a bot is called. The rest of its row may change while it is called.
_CALLED_BY: Final = ("hosted", "engine", "api_url", "engine_config", "host_port", "generation")


class Opened:
    """How one bot is reached, and as whom. Shows nothing of itself."""

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
        """For whoever keeps it: the monotonic second from which it is to be opened anew."""


class Opener:
    """Opens bots for calls through two guarded clients: one for tenants' addresses, one for the bots that we host."""

    def __init__(
        self,
        settings: Settings,
        pool: asyncpg.Pool,
        vault: Vault,
        limits: Limits,
        *,
        engines: Callable[[str], Engine[Any, Any]] = engine_for,
    ) -> None:
        self._engines = engines
        self._pool = pool
        self._vault = vault
        self._sealed = SealedRows(pool)
        self._opening = asyncio.Semaphore(_AT_ONCE)
        self._published_at = reached_at(settings.publish_address)
        self._tenants = GuardedClient.for_tenants(allow=settings.egress_allow, limits=limits)
        self._hosted = GuardedClient.for_hosted([ip_network(ip_address(self._published_at))], limits=limits)

    def close(self) -> None:
        """Close every connection that is kept."""
        self._sealed.close()
        self._tenants.close()
        self._hosted.close()

    async def stored(self, tenant_id: UUID, bot_id: UUID) -> Stored | None:
        """A bot as it is stored now; None where it may not be called. Raises for the database."""
        row = await self._sealed.get(tenant_id, bot_id)
        return None if row is None else Stored(bot_of(row, {}), row["bot_generation"], row)

    async def open(self, bot: Bot) -> Opened:
        """A bot that is held in memory. Raises :class:`CannotOpen`, :class:`ChangedMeanwhileError` where that is not
        what is stored now, or for the database."""
        way = self._way(bot)
        stored = await self.stored(bot.tenant_id, bot.id)
        if stored is None or not stored.is_still(bot):
            raise ChangedMeanwhileError
        return await self._open(bot, way, stored)

    async def open_stored(self, stored: Stored) -> Opened:
        """What was read of a bot. Raises :class:`CannotOpen`, or for the database."""
        return await self._open(stored.bot, self._way(stored.bot), stored)

    def _way(self, bot: Bot) -> _Way:
        return self._engine(bot), self._address(bot), _config(bot)

    async def _open(self, bot: Bot, way: _Way, stored: Stored) -> Opened:
        engine, url, config = way
        credential = await self._credential(bot, stored.row)
        # By the bytes of its id, which are hashed for each call: an id itself is hashed in Python.
        client = (self._hosted if bot.hosted else self._tenants).acting_for(bot.tenant_id.bytes)
        until = time.monotonic() + OPENED_S * (1 + _SPREAD * spread(bot.id, datetime.now(UTC)))
        return Opened(engine, client, url, credential, config, until)

    def _engine(self, bot: Bot) -> Engine[Any, Any]:
        try:
            return self._engines(bot.engine)
        except LookupError:
            raise CannotOpen(ENGINE_UNKNOWN, f"This version of TradeWise has no engine named {bot.engine}.") from None

    def _address(self, bot: Bot) -> BotUrl:
        if bot.hosted:
            return BotUrl("http", self._published_at, bot.host_port or 0)
        try:
            return parse_bot_url(bot.api_url or "")
        except UrlRefused as refused:
            raise CannotOpen(Reason.EGRESS_REFUSED.value, refused.message) from None

    async def _credential(self, bot: Bot, row: asyncpg.Record) -> Credential:
        try:
            if row["id"] is None:
                raise CannotOpen(SECRET_UNREADABLE, "The bot has no credentials: enter them.")
            async with self._opening:
                secret = await open_secret_row(self._vault, row, bot.tenant_id)
            return decode_credentials(bot.engine, secret.reveal())
        except OpenError as error:
            if isinstance(error, NotOpenedError):
                await note_not_opened(self._pool, error, bot_id=bot.id, generation=bot.generation)
            raise CannotOpen(SECRET_UNREADABLE, "The stored credentials cannot be opened: enter them again.") from None
        except CredentialError:
            detail = f"The stored credentials are not those of a {bot.engine} bot: enter them again."
            raise CannotOpen(SECRET_UNREADABLE, detail) from None


def _config(bot: Bot) -> EngineConfig | None:
    try:
        return decode_config(family_of(bot.engine), bot.engine_config)
    except ConfigError as error:
        where = f"engine_config.{error.field}" if error.field else "engine_config"
        raise CannotOpen(CONFIG_INVALID, f"The bot's {where} {error.message}.") from None
