"""A block that has to end in time: what ends it, and that who cancels it from outside is not mistaken for the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agents.egress.deadlines import Deadlines, Spell


@asynccontextmanager
async def deadlines_of(seconds: float) -> AsyncIterator[Deadlines]:
    """A time of so many seconds, for which nobody waits any more at the end."""
    deadlines = Deadlines(seconds)
    yield deadlines
    assert len(deadlines) == 0
    deadlines.close()


@pytest.fixture
async def soon() -> AsyncIterator[Deadlines]:
    """A time that is over at once."""
    async with deadlines_of(0.02) as made:
        yield made


@pytest.fixture
async def later() -> AsyncIterator[Deadlines]:
    """A time that no test waits for."""
    async with deadlines_of(60) as made:
        yield made


async def test_a_block_that_hangs_is_ended_and_its_task_goes_on(soon: Deadlines) -> None:
    with pytest.raises(TimeoutError), Spell(soon):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_what_ends_in_time_ends_as_it_does(later: Deadlines) -> None:
    with Spell(later):
        await asyncio.sleep(0)
    with pytest.raises(ValueError, match="its own"), Spell(later):
        raise ValueError("its own")


async def test_who_cancels_from_outside_ends_it_as_they_want(later: Deadlines) -> None:
    async def hang() -> None:
        with Spell(later):
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_from_outside_while_the_time_runs_out_it_is_cancelled(soon: Deadlines) -> None:
    entered = asyncio.Event()

    async def hang() -> None:
        spell = Spell(soon)
        with spell:
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    # The clock strikes before the task has run again.
    for waiting in list(soon._waiting):
        waiting.expire()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_each_of_many_has_its_own_time(soon: Deadlines) -> None:
    async def hang() -> str:
        try:
            with Spell(soon):
                await asyncio.Event().wait()
        except TimeoutError:
            return "over"
        return "never"

    assert await asyncio.gather(*(hang() for _ in range(50))) == ["over"] * 50
