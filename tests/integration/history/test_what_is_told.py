"""What nobody saw is not told as if somebody had: silence, late rows, and what is no longer kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from agents.scheduler.rollups import Rollups
from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from control_plane.performance.health import bot_timeline
from control_plane.performance.schemas import TimelineView
from tests.factories import Factory, Owner
from tests.integration.history.rows import changes, day

DAY = timedelta(days=1)


@pytest.fixture
async def bot(factory: Factory, owner: Owner) -> UUID:
    return await factory.bot(owner)


@asynccontextmanager
async def session_of(api_db: Database, owner: Owner) -> AsyncIterator[AsyncSession]:
    async with api_db.transaction(Binding(tenant_id=owner.tenant_id, user_id=owner.user_id)) as session:
        yield session


async def timeline(
    api_db: Database, owner: Owner, bot: UUID, since: datetime, seen: datetime | None, points: int = 100
) -> TimelineView:
    async with session_of(api_db, owner) as session:
        return await bot_timeline(session, bot, since, None, seen_until=seen, words=str.upper, points=points)


async def test_a_bot_that_nobody_has_looked_at_is_not_up(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, api_db: Database, rollups: Rollups
) -> None:
    seen = day(10) + DAY / 2
    await changes(admin, owner, bot, [(day(12), "healthy")])
    for _ in range(2):
        now = datetime.now(UTC)
        for span in (DAY, 7 * DAY):
            view = await timeline(api_db, owner, bot, now - span, seen)
            assert [one.state for one in view.spans] == ["unknown"]
            assert (view.uptime.ratio, view.uptime.observed_s) == (None, 0)
        month = await timeline(api_db, owner, bot, day(30), seen)
        assert [(one.state, one.from_) for one in month.spans[1:]] == [("healthy", day(12)), ("unknown", seen)]
        assert (month.uptime.healthy_s, month.uptime.ratio) == (2.5 * 86400, 1)
        assert [one.uptime.healthy_s for one in month.buckets if one.uptime.observed_s] == [86400, 86400, 43200]
        await rollups.catch_up()
