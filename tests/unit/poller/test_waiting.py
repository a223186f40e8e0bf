"""What waits to be written: a look that says nothing new is not, unless what is written would grow old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from agents.engines.base import Reading
from agents.poller.decide import Bot, Health, Outcome, decide
from agents.poller.intervals import Pace
from agents.poller.waiting import Buffer, Result
from agents.poller.watched import Watched

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
WELL = Reading(reachable=True, credential_ok=True, full=False, latency_ms=1.0, trading_state="running", loop_age_s=0.5)
PACE = Pace(check_s=2.0, reading_s=8.0, check=timedelta(seconds=2))


class Looks:
    """Looks at one bot, each handed on."""

    def __init__(self, pace: Pace = PACE) -> None:
        self.buffer = Buffer(100)
        self.watched = Watched()
        self.watched.bot = Bot(
            id=uuid4(), tenant_id=uuid4(), hosted=False, engine="tradewise", desired="running", status="connected",
            reason=None, generation=1, told_generation=1, api_url="http://bot.example:8080",
        )  # fmt: skip
        self.watched.shard = 1
        self.watched.pace = pace
        self.watched.health = Health(
            state="healthy", observed_at=NOW - timedelta(seconds=2), healthy_at=NOW - timedelta(seconds=2),
            credential_ok=True, trading_state="running", observed_generation=1,
        )  # fmt: skip
        self.at = NOW

    def look(self, reading: Reading = WELL, *, urgent: bool = False, after_s: float = 2.0, **outcome: Any) -> int:
        """How many bots are written for a look that comes ``after_s`` after the last one."""
        watched = self.watched
        decision = decide(
            watched.bot, watched.health, Outcome(reading=reading, observed_at=self.at, **outcome), watched.pace.check
        )
        result = Result(watched, 1, watched.bot, watched.health, decision, reading, urgent)
        watched.health = decision.health
        self.at += timedelta(seconds=after_s)
        self.buffer.put(result)
        return len(self.buffer.take())


def test_what_repeats_is_written_before_it_is_old_and_not_each_time() -> None:
    looks = Looks()
    assert [looks.look() for _ in range(8)] == [1, 0, 0, 1, 0, 0, 1, 0]


def test_looks_that_come_seldom_are_all_written() -> None:
    looks = Looks(Pace(check_s=15.0, reading_s=60.0, check=timedelta(seconds=15)))
    assert [looks.look(after_s=15.0) for _ in range(4)] == [1] * 4


def test_looks_that_come_very_often_are_old_after_three() -> None:
    looks = Looks(Pace(check_s=0.5, reading_s=2.0, check=timedelta(seconds=0.5)))
    assert [looks.look(after_s=0.5) for _ in range(7)] == [1, 0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("reading", "more"),
    [
        (msgspec.structs.replace(WELL, trading_state="paused"), {}),
        (msgspec.structs.replace(WELL, version="2.0"), {}),
        (msgspec.structs.replace(WELL, reachable=False, credential_ok=None), {"reason": "unreachable", "detail": "x"}),
        (msgspec.structs.replace(WELL, full=True, currency="USDT", equity=Decimal(1)), {}),
        (WELL, {"urgent": True}),
    ],
    ids=["its trading", "a fact", "a failure", "figures", "somebody waits"],
)
def test_anything_new_is_written_at_once(reading: Reading, more: dict[str, Any]) -> None:
    looks = Looks()
    assert (looks.look(), looks.look()) == (1, 0)
    assert looks.look(reading, **more) == 1


def test_where_an_older_one_still_waits_the_newest_is_what_is_written() -> None:
    looks = Looks()
    buffer, watched = looks.buffer, looks.watched
    for _ in range(2):
        decision = decide(watched.bot, watched.health, Outcome(reading=WELL, observed_at=looks.at), PACE.check)
        buffer.put(Result(watched, 1, watched.bot, watched.health, decision, WELL))
        watched.health = decision.health
        looks.at += timedelta(seconds=2)
    [waiting] = buffer.take()
    assert waiting.result.decision.health.observed_at == NOW + timedelta(seconds=2)
