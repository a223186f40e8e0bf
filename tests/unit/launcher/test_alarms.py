"""Alarms on the loop that the launcher really runs on, which is another one than the tests'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from agents.launcher.alarms import Alarms

LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)


@pytest.mark.parametrize("factory", LOOPS)
def test_the_earliest_moment_counts_and_rings_once(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    rung: list[str | None] = []

    async def scenario() -> None:
        done = asyncio.Event()

        def wake(identity: str | None) -> None:
            rung.append(identity)
            if identity is None:
                done.set()

        alarms = Alarms(wake)
        alarms.set("a bot", 60.0)
        alarms.set("a bot", 0.0)
        alarms.set("a bot", 0.0)
        alarms.set("a bot", 30.0)
        alarms.set("another", 60.0)
        alarms.set(None, 0.02)
        await done.wait()
        alarms.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())
    assert rung == ["a bot", None]
