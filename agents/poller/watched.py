"""The bots that a poller looks after, in memory: what their rows say, what was seen, and when each is due."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from agents.poller.facts import Bot, Health
from agents.poller.intervals import Intervals, Pace
from agents.poller.shards import SHARDS, shard_of
from agents.poller.unit_value import Figures, Mark

#: Between two looks at one bot that somebody waits for.
SHORTEST_GAP_S = 0.25

#: Of so many bots that were switched off it is known where they were read.
_REMEMBERED: Final = 10_000

#: In the place of a mark that was not read yet.
UNREAD: Final = Mark(
    figures=Figures(currency=None, equity=None, capital_base=None, closed_trades=None, simulated=None),
    unit_value=Decimal(0),
)

# Every bot that is to be looked at; none of a suspended tenant.
_LOAD: Final = """
    select clock_timestamp() as now, b.id as bot_id, b.tenant_id, b.bot_type, b.engine, b.desired, b.status,
        b.reason as bot_reason, b.generation as bot_generation, b.observed_generation as told_generation, b.api_url,
        b.engine_config::text as engine_config,
        b.ping_requested_at, b.updated_at, t.plan, c.id as secret_id, c.updated_at as secret_at,
        w.bot_id is not null as wished, i.host_port, i.generation as instance_generation,
        coalesce(i.started_at, i.created_at) as up_since, i.ready_state,
        h.state, h.reason, h.detail, h.observed_at, h.healthy_at, h.failures, h.latency_ms,
        h.credential_ok, h.trading_state, h.loop_age_s, h.simulated, h.version, h.identity, h.observed_generation
    from bots b
    join bot_health h on h.tenant_id = b.tenant_id and h.id = b.id
    join tenants t on t.id = b.tenant_id and t.status = 'active'
    left join bot_instances i on i.tenant_id = b.tenant_id and i.bot_id = b.id and b.bot_type <> 'external'
        and i.released_at is null and i.state = 'running' and i.host_port is not null
    left join bot_trading w on w.tenant_id = b.tenant_id and w.bot_id = b.id
        and w.confirmed_at is null and w.problem is null
    left join bot_secrets c on c.tenant_id = b.tenant_id and c.bot_id = b.id and c.kind = 'credentials'
    where b.deleted_at is null and case
        when b.bot_type <> 'external' then i.id is not null
        else b.desired = 'running' or b.status <> 'inactive' or b.observed_generation < b.generation
    end
"""
_OF_SHARDS: Final = _LOAD + " and get_byte(uuid_send(b.id), 15) = any($1::int[])"
_OF_BOTS: Final = _LOAD + " and b.id = any($1::uuid[])"
# A little further back than the last time: what was committed late bears the time at which it began.
_CHANGED: Final = """
    select b.id, b.updated_at from bots b where b.updated_at > $1
    union select i.bot_id, i.updated_at from bot_instances i where i.updated_at > $1
    union select c.bot_id, c.updated_at from bot_secrets c where c.updated_at > $1
    union select b.id, t.updated_at from bots b join tenants t on t.id = b.tenant_id where t.updated_at > $1
"""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a bot's figures were read."""

    identity: str | None
    """As last told there."""
    generation: int
    """The one that told it."""
    bot: Bot | None
    """As its rows told of it then; None where only its health row is known."""


class Watched:
    """One bot that is ours to look after. The only mutable thing about a bot in this process."""

    __slots__ = (
        "anew",
        "asked_at",
        "bot",
        "changed_at",
        "due",
        "due_reading",
        "gone",
        "health",
        "host",
        "lane",
        "lost",
        "mark",
        "opened",
        "origin",
        "pace",
        "promised",
        "recorded",
        "repeats",
        "secret",
        "shard",
        "source",
        "state",
        "tally",
        "tells",
        "tick",
        "told_at",
        "trades",
        "turn",
        "wished",
    )

    def __init__(self) -> None:
        self.bot: Bot
        self.shard: int
        """The shard that it belongs to."""
        self.health: Health
        """What was seen last, recorded or not yet."""
        self.pace: Pace
        self.asked_at: datetime | None = None
        self.changed_at: datetime
        self.secret: tuple[UUID, datetime] | None = None
        """Which stored credential is the bot's: another one is to be opened anew."""
        self.opened: Any = None
        """What the checker keeps between two looks (see `check.py`)."""
        self.origin: str | None = None
        self.host: str | None = None
        """Whose patience is shared: the host's name. None for bots that we run, each on a port of its own."""
        self.mark: Mark | None = UNREAD
        """The newest figures at which its index was known; `UNREAD` until they are read from its snapshots."""
        self.tells: bool | None = None
        """Whether it ever told a figure; None until its mark is read."""
        self.wished = False
        """Its rows told of a wish about its trading that nobody has seen to yet."""
        self.told_at: datetime | None = None
        """When the look was made that was handed on last to be written."""
        self.recorded: Health | None = None
        """What its row says, where that is not what was seen before: a write was given up."""
        self.lost: datetime | None = None
        """From when on its history lacks a change that could not be kept."""
        self.repeats = 0
        """How many looks in a row had the outcome of the last one."""
        self.trades: int | None = None
        """Closed trades as last told."""
        self.source: Source | None = None
        """Where its figures were read last, by this poller."""
        self.tally: int | None = None
        """Its tally as last told, and unknown when the poller has just begun to watch it: no row keeps it."""
        self.anew = False
        """It counts anew since its mark."""
        self.tick = -1
        self.due = 0.0
        self.due_reading = 0.0
        self.gone = False
        """Ours no more, or not to be looked at any more."""
        # Kept by the lanes: where it stands, in which lane, whose turn it has, and that one is kept for it.
        self.state = 0
        self.lane = 0
        self.turn: str | None = None
        self.promised = False

    @property
    def settling(self) -> bool:
        """Switched off by its owner: to be told so, not to be called."""
        return not self.bot.hosted and self.bot.desired != "running"

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for the next look."""
        bot, seen = self.bot, self.health
        if self.asked_at is not None and (seen.observed_at is None or self.asked_at > seen.observed_at):
            return True
        if bot.hosted:
            return bot.generation > seen.observed_generation or bot.status == "starting"
        return bot.desired != "running" or bot.generation > seen.observed_generation

    def point_elsewhere(self) -> None:
        """Its counters are another bot's from here on: they say nothing about those before."""
        self.trades, self.tally, self.anew = None, None, True

    def learn(self, row: asyncpg.Record, intervals: Intervals, tenants: dict[UUID, UUID]) -> None:
        """Take what the rows say of the bot. What was seen of it is ours to know once it is loaded."""
        bot = bot_of(row, tenants)
        secret = None if row["secret_id"] is None else (row["secret_id"], row["secret_at"])
        if self.secret != secret or not hasattr(self, "bot") or self.bot != bot:
            self.opened = None
            self.bot, self.shard = bot, shard_of(bot.id)
            self.origin, self.host = places_of(bot)
        self.secret = secret
        self.asked_at = row["ping_requested_at"]
        self.wished = row["wished"]
        self.changed_at = row["updated_at"]
        self.pace = intervals.of(row["plan"])
        if not hasattr(self, "health"):
            self.health = Health(**{name: row[name] for name in Health.__struct_fields__})


def bot_of(row: asyncpg.Record, tenants: dict[UUID, UUID]) -> Bot:
    """What a loaded row says of a bot. ``tenants`` are ids that are held already: one object serves all its bots."""
    hosted = row["bot_type"] != "external"
    return Bot(
        id=row["bot_id"],
        tenant_id=tenants.setdefault(row["tenant_id"], row["tenant_id"]),
        hosted=hosted,
        engine=sys.intern(row["engine"]),
        desired=sys.intern(row["desired"]),
        status=sys.intern(row["status"]),
        reason=row["bot_reason"],
        generation=row["instance_generation"] if hosted else row["bot_generation"],
        told_generation=row["told_generation"],
        api_url=row["api_url"],
        engine_config=row["engine_config"],
        host_port=row["host_port"],
        up_since=row["up_since"] if hosted else None,
        ready_state=row["ready_state"],
    )


def places_of(bot: Bot) -> tuple[str | None, str | None]:
    """The origin and the host of a bot that runs elsewhere, as its address spells them: only for sharing turns."""
    if bot.hosted or not bot.api_url:
        return None, None
    authority = bot.api_url.partition("://")[2].partition("/")[0].lower()
    host = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
    return sys.intern(authority), sys.intern(host)


class Fleet:
    """Every bot of the shards that are held."""

    def __init__(self, intervals: Intervals) -> None:
        self._intervals = intervals
        self._shards: list[dict[UUID, Watched]] = [{} for _ in range(SHARDS)]
        self._tenants: dict[UUID, UUID] = {}
        self._sources: dict[UUID, Source] = {}
        """Of bots that were switched off, by when that was."""
        self.size = 0

    def get(self, bot: UUID) -> Watched | None:
        """The bot, where it is watched."""
        return self._shards[shard_of(bot)].get(bot)

    def of_shard(self, shard: int) -> Iterator[Watched]:
        """The bots of one shard."""
        return iter(self._shards[shard].values())

    def learn(self, rows: Collection[asyncpg.Record]) -> tuple[list[Watched], list[Watched]]:
        """Take in what rows say: the bots that are new to us, and those that were known."""
        new, known = [], []
        for row in rows:
            watched = self.get(row["bot_id"])
            if watched is None:
                watched = Watched()
                watched.source = self._sources.pop(row["bot_id"], None)
                new.append(watched)
                self._shards[shard_of(row["bot_id"])][row["bot_id"]] = watched
                self.size += 1
            else:
                known.append(watched)
            watched.learn(row, self._intervals, self._tenants)
        return new, known

    def forget(self, bot: UUID) -> Watched | None:
        """Watch a bot no more."""
        watched = self._shards[shard_of(bot)].pop(bot, None)
        if watched is not None:
            watched.gone, watched.opened = True, None
            self.size -= 1
            if watched.settling and watched.source is not None:
                # It may be pointed elsewhere before it is switched on again.
                self._sources[bot] = watched.source
                if len(self._sources) > _REMEMBERED:
                    del self._sources[next(iter(self._sources))]
        return watched

    def forget_shard(self, shard: int) -> None:
        """Watch none of a shard's bots any more."""
        for bot in list(self._shards[shard]):
            self.forget(bot)

    def bots_of(self, shards: Collection[int]) -> set[UUID]:
        """The ids that are watched of some shards."""
        return {bot for shard in shards for bot in self._shards[shard]}


async def load_shards(pool: asyncpg.Pool, shards: Collection[int]) -> list[asyncpg.Record]:
    """The rows of every bot of some shards that is to be looked at."""
    return list(await pool.fetch(_OF_SHARDS, list(shards)))


async def load_bots(pool: asyncpg.Pool, bots: Collection[UUID]) -> list[asyncpg.Record]:
    """The rows of those of some bots that are to be looked at."""
    return list(await pool.fetch(_OF_BOTS, list(bots)))


async def changed_since(pool: asyncpg.Pool, moment: datetime) -> set[tuple[UUID, datetime]]:
    """The bots of which some row says that it was changed later than ``moment``, and when that was."""
    return {(row["id"], row["updated_at"]) for row in await pool.fetch(_CHANGED, moment)}
