"""The rows of wishes about trading, as the poller reads and answers them, each answer with its event."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog
from prometheus_client import Counter
from uuid_utils.compat import uuid7

from agents.poller.wish import NOT_CONFIRMED, SUPERSEDED, Wish, overtaken
from control_plane.bots.kinds import NOBODY

_STEERED = Counter("tradewise_poller_steered", "Wishes about bots' trading, by what came of them.", ["outcome"])

MOST_PENDING: Final = 10_000
#: When a wish is given up that nobody has seen to: long after reading has begun to say so.
_LEFT_S: Final = 600.0
_AT_ONCE: Final = 500

# Newest first: what is pending for long, whyever that is, hides no wish that somebody has just made.
_PENDING: Final = """
    select bot_id from bot_trading where confirmed_at is null and problem is null order by requested_at desc limit $1
"""
_WISH: Final = """
    select wanted, generation, asked, requested_by, requested_at, attempts, tried_at, unsettled_at,
        clock_timestamp() as now
    from bot_trading
    where tenant_id = $1 and bot_id = $2 and confirmed_at is null and problem is null
"""
# Those to which nobody would come by: of a bot that is not looked at any more, or has not been for so many seconds.
_LEFT: Final = """
    select w.tenant_id, w.bot_id, w.wanted, w.generation, w.asked, w.requested_by, w.requested_at, w.attempts,
        w.tried_at, b.desired, case when b.deleted_at is null then b.generation end as bot_generation
    from bot_trading w join bots b on b.tenant_id = w.tenant_id and b.id = w.bot_id
    where w.confirmed_at is null and w.problem is null and (b.deleted_at is not null or b.desired <> 'running'
        or w.generation <> b.generation or w.requested_at < clock_timestamp() - make_interval(secs => $1))
    order by w.requested_at limit $2
"""
# Whoever counts the attempt makes it: two pollers that both hold themselves responsible do not both ask.
_TRY: Final = """
    update bot_trading set attempts = attempts + 1, tried_at = clock_timestamp()
    where tenant_id = $1 and bot_id = $2 and asked = $3 and attempts = $4 and confirmed_at is null and problem is null
    returning true
"""
# A look that was under way while the bot was changed is the word of what it was before.
_CONFIRM: Final = """
    with done as (
        update bot_trading w set confirmed_at = clock_timestamp() from bots b
        where w.tenant_id = $1 and w.bot_id = $2 and w.asked = $3 and w.confirmed_at is null and w.problem is null
            and b.tenant_id = w.tenant_id and b.id = w.bot_id and b.deleted_at is null and b.desired = 'running'
            and b.generation = coalesce(w.generation, b.generation)
        returning w.tenant_id, w.bot_id, w.requested_by, w.wanted
    )
    insert into bot_events (id, tenant_id, bot_id, kind, detail, cause, actor)
    select $4, tenant_id, bot_id, 'trading_confirmed', 'Its trading is ' || wanted || '.',
        case split_part(requested_by, ':', 1) when 'user' then 'person' when 'key' then 'key' else 'agent' end,
        coalesce(requested_by, 'agent:poller')
    from done
    returning true
"""
_GIVE_UP: Final = """
    with done as (
        update bot_trading set problem = $4, problem_detail = $5
        where tenant_id = $1 and bot_id = $2 and asked = $3 and confirmed_at is null and problem is null
        returning tenant_id, bot_id, requested_by
    )
    insert into bot_events (id, tenant_id, bot_id, kind, reason, detail, cause, actor)
    select $6, tenant_id, bot_id, 'trading_not_confirmed', $4, $5,
        case split_part(requested_by, ':', 1) when 'user' then 'person' when 'key' then 'key' else 'agent' end,
        coalesce(requested_by, 'agent:poller')
    from done
    returning true
"""


class WishRows:
    """What is wished, and what came of it. Raises for the database."""

    def __init__(self, pool: asyncpg.Pool, *, most_pending: int = MOST_PENDING) -> None:
        self._pool = pool
        self._most_pending = most_pending
        self._log = structlog.get_logger("poller")

    async def pending(self) -> frozenset[UUID]:
        """The bots of whom something is wished that was neither confirmed nor given up."""
        return frozenset(row["bot_id"] for row in await self._pool.fetch(_PENDING, self._most_pending))

    async def end_what_is_left(self) -> None:
        """Give up what nobody would come by to."""
        for row in await self._pool.fetch(_LEFT, _LEFT_S, _AT_ONCE):
            wish = msgspec.convert(dict(row), Wish)
            why = overtaken(wish, row["bot_generation"], row["desired"])
            problem = NOT_CONFIRMED if why is None else SUPERSEDED
            await self.give_up(row["tenant_id"], row["bot_id"], wish, problem, why or NOBODY)

    async def read(self, tenant: UUID, bot: UUID) -> tuple[Wish, datetime, float] | None:
        """What is wished of a bot; the database's time, and a monotonic second that is no earlier."""
        row = await self._pool.fetchrow(_WISH, tenant, bot)
        return None if row is None else (msgspec.convert(dict(row), Wish), row["now"], time.monotonic())

    async def count_attempt(self, tenant: UUID, bot: UUID, wish: Wish) -> bool:
        """Note that the bot is asked now; False where another did, or where something else is wished by now."""
        return bool(await self._pool.fetchval(_TRY, tenant, bot, wish.asked, wish.attempts))

    async def confirm(self, tenant: UUID, bot: UUID, wish: Wish) -> bool:
        """The bot's own state shows it. False where that is no answer to what is wished of the bot of now."""
        done = bool(await self._pool.fetchval(_CONFIRM, tenant, bot, wish.asked, uuid7()))
        if done:
            self._tell(bot, wish, "confirmed")
        return done

    async def give_up(self, tenant: UUID, bot: UUID, wish: Wish, problem: str, detail: str) -> None:
        """Nothing more is done about it, for this reason and in these words."""
        if await self._pool.fetchval(_GIVE_UP, tenant, bot, wish.asked, problem, detail, uuid7()):
            self._tell(bot, wish, problem)

    def _tell(self, bot: UUID, wish: Wish, outcome: str) -> None:
        _STEERED.labels(outcome).inc()
        self._log.info("trading_steered", bot=str(bot), wanted=wish.wanted, outcome=outcome)
