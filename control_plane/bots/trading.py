"""Steering a bot's trading: what people may wish of it, and how it stands with the wish. The poller does the asking."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.bots.kinds import CONFIRM_WITHIN_S, HOSTED_TYPES, NOBODY, STATE_OF
from control_plane.bots.rows import locked, note, refuse_subscribed
from control_plane.bots.schemas import TradingView
from control_plane.dashboard.reasons import remedy_of
from control_plane.engines.configs import ConfigError, decode_config
from control_plane.engines.family import Action
from control_plane.engines.registry import family_of
from control_plane.errors import ConflictError
from control_plane.identity.principal import Principal

NOT_CONFIRMED: Final = "not_confirmed"
#: What the poller may need beyond the time in which a wish must show, to say that it did not.
_GRACE: Final = timedelta(seconds=CONFIRM_WITHIN_S + 15)

# No older than the poller acts on it.
_UNDER_WAY = text("""
    select 1 from bot_trading where bot_id = :bot and wanted = :wanted and confirmed_at is null and problem is null
        and clock_timestamp() - requested_at < make_interval(secs => :within)
""")
_WISH = text("""
    insert into bot_trading (id, bot_id, wanted) values (:id, :bot, :wanted)
    on conflict (tenant_id, bot_id) do update set wanted = excluded.wanted, asked = bot_trading.asked + 1
""")
# The poller looks at once, and at the end of a look at what is wished.
_LOOK = text("update bots set ping_requested_at = clock_timestamp() where id = :bot")


def actions_of(engine: str, config: Mapping[str, Any] | str | None) -> frozenset[Action]:
    """What a bot of this family, so configured, can be told about its trading; nothing where it is not known here."""
    try:
        family = family_of(engine)
        told = decode_config(family, config) if family.actions else None
    except (LookupError, ConfigError):
        return frozenset()
    return family.actions if told is None else told.steerable(family.actions)


async def wish_trading(session: AsyncSession, principal: Principal, bot_id: UUID, action: Action) -> None:
    """Wish that a bot starts, stops or pauses its trading. The process runs on. Raises 404, 409.

    Wishing again for what is under way changes nothing. What was confirmed is wished anew: whether it is still so the
    bot alone can tell, and looking is the first thing that the poller does.
    """
    principal.require("bots:write")
    row = await locked(session, bot_id)
    await refuse_subscribed(session, bot_id)
    if action not in actions_of(row.engine, row.engine_config):
        raise ConflictError(
            f"this bot of the family {row.engine} cannot be told to {action} its trading: do that at the bot itself",
            code="control_unsupported",
        )
    _require_up(row)
    wish = {"bot": bot_id, "wanted": STATE_OF[action]}
    if (await session.execute(_UNDER_WAY, wish | {"within": CONFIRM_WITHIN_S})).first() is not None:
        return
    await session.execute(_WISH, wish | {"id": uuid7()})
    await session.execute(_LOOK, {"bot": bot_id})
    await note(session, principal, bot_id, "trading", reason=action)


def _require_up(row: Row[Any]) -> None:
    """Raises 409 for a bot that nobody could ask now."""
    if row.bot_type in HOSTED_TYPES:
        if row.desired != "running" or row.status != "running":
            raise ConflictError("this bot does not run now: start it first, and wait until it does", code="not_running")
        return
    if row.desired != "running":
        raise ConflictError("this bot is not watched: start it first", code="not_running")
    if row.status != "connected":
        raise ConflictError(
            "this bot is not connected now, so it cannot be told anything: its status says why", code="not_connected"
        )


def _state(
    seen: str | None, observed_at: datetime | None, wanted: str | None, confirmed_at: datetime | None
) -> str | None:
    """What the bot itself said last: to a look, or after it, when it confirmed a wish."""
    return wanted if confirmed_at is not None and (observed_at is None or confirmed_at > observed_at) else seen


def trading_view(row: Row[Any], now: datetime, *, known: bool) -> TradingView:
    """How it stands with a bot's trading. ``known``: what the last look saw of it can be relied on."""
    problem, detail, confirmed_at = row.trading_problem, row.trading_problem_detail, row.trading_confirmed_at
    pending = row.trading_wanted is not None and confirmed_at is None and problem is None
    if pending and now - row.trading_requested_at > _GRACE:
        problem, detail = NOT_CONFIRMED, NOBODY
    fresh = confirmed_at is not None and now - confirmed_at <= _GRACE
    state = _state(row.trading_state, row.observed_at, row.trading_wanted, confirmed_at)
    return TradingView(
        actions=sorted(actions_of(row.engine, row.engine_config)),
        wanted=row.trading_wanted,
        state=state if known or (fresh and state == row.trading_wanted) else None,
        requested_at=row.trading_requested_at,
        confirmed_at=confirmed_at,
        problem=problem,
        problem_detail=detail,
        remedy=remedy_of(problem),
    )


def is_pending(view: TradingView) -> bool:
    """Whether a wish is under way."""
    return view.wanted is not None and view.confirmed_at is None and view.problem is None
