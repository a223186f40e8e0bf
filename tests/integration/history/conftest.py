"""Somebody's bot, and the builder of rollups as the scheduler runs it, without the wait for rows that are still under
way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from agents.agent import make_pool
from agents.scheduler.rollups import Rollups
from tests.factories import Factory, Owner, Urls


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    """A pool as the role of the scheduler."""
    made = await make_pool(urls["agent_scheduler"], "scheduler", size=2)
    yield made
    await made.close()


@pytest.fixture
def batch() -> int:
    """How many buckets are built in one transaction."""
    return 500


@pytest.fixture
def rollups(pool: asyncpg.Pool, batch: int) -> Rollups:
    """Builds at once whatever has arrived."""
    return Rollups(pool, lag=timedelta(0), batch=batch, at_once=True)


@pytest.fixture
async def owner(factory: Factory) -> Owner:
    """Somebody with bots."""
    return await factory.owner()


@pytest.fixture
async def bot(factory: Factory, owner: Owner) -> UUID:
    """One of theirs."""
    return await factory.bot(owner)
