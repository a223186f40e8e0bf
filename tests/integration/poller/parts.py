"""Shards, bots in memory and results without a poller, for tests of its parts."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.engines.base import Reading
from agents.poller.decide import decide
from agents.poller.facts import Outcome
from agents.poller.intervals import Intervals
from agents.poller.record import Recorder
from agents.poller.shards import SHARDS, Shards
from agents.poller.waiting import Result
from agents.poller.watched import Fleet, Watched, load_shards
from control_plane.settings import load_settings
from tests.factories import Factory, Owner

READING = Reading(
    reachable=True,
    credential_ok=True,
    full=True,
    currency="USDT",
    equity=Decimal(1000),
    capital_base=Decimal(1000),
)


async def bots_at(factory: Factory, owner: Owner, count: int, **columns: Any) -> list[UUID]:
    """External bots at addresses where nothing listens."""
    return [
        await factory.bot(owner, api_url=f"http://10.0.0.{number}:8080", **columns) for number in range(1, count + 1)
    ]


async def holding(pool: asyncpg.Pool, **options: Any) -> Shards:
    """A poller's hold on every shard that is free."""
    shards = Shards(pool, uuid7(), **options)
    await shards.beat()
    return shards


async def watched_bots(pool: asyncpg.Pool) -> dict[UUID, Watched]:
    """Every bot that is to be looked at, as a poller that has just taken over knows it."""
    new, _ = Fleet(Intervals(load_settings({}))).learn(await load_shards(pool, range(SHARDS)))
    return {watched.bot.id: watched for watched in new}


def recorder_of(pool: asyncpg.Pool, shards: Shards, **options: Any) -> Recorder:
    """A recorder of the poller that holds ``shards``."""
    return Recorder(pool, shards._holder, lambda _stored: None, **options)


def result_of(
    watched: Watched, shards: Shards, reading: Reading = READING, *, after: timedelta = timedelta(0), **changes: Any
) -> Result:
    """What a look at a bot leads to that is well, or whose outcome is what ``changes`` say; the bot remembers it."""
    observed_at = shards.moment(time.monotonic()) + after
    outcome = Outcome(reading=reading, observed_at=observed_at, **changes)
    decision = decide(watched.bot, watched.health, outcome, timedelta(seconds=15))
    epoch = shards.held[watched.shard]
    result = Result(watched, epoch, watched.bot, watched.health, decision, reading, full=reading.full)
    watched.health = decision.health
    return result


def forgotten(watched: Watched) -> None:
    """Have the bot's newest mark read from its snapshots again."""
    watched.mark, watched.tells, watched.trades = Watched().mark, None, None


def reading_with(**figures: Any) -> Reading:
    """The usual reading with other figures."""
    return msgspec.structs.replace(READING, **figures)
