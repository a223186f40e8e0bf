"""Claims and results without a poller, for tests of its parts."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from agents.engines.base import Reading
from agents.poller.decide import Outcome, decide
from agents.poller.due import Claim, Room
from agents.poller.record import Result
from tests.factories import Factory, Owner

ROOM = Room(urgent=100, regular=100, slow=100)
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


def result_of(held: Claim, reading: Reading = READING) -> Result:
    """What a check of a well bot leads to."""
    outcome = Outcome(reading=reading, observed_at=held.now)
    return Result(held, decide(held.bot, held.previous, outcome, timedelta(seconds=15)), reading)
