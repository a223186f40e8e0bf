"""A poller at work in the test's own loop: its own role, its own pool, really listening."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
import pytest

from agents.agent import make_pool
from agents.poller.agent import Poller
from agents.poller.shards import BEAT_S
from control_plane.database.listener import Listener
from control_plane.security.vault import Vault
from control_plane.settings import Settings, load_settings
from tests.factories import Urls

PollerMaker: TypeAlias = Callable[..., Awaitable[Poller]]


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    """A pool as the role of the poller."""
    made = await make_pool(urls["agent_poller"], "poller")
    yield made
    await made.close()


@asynccontextmanager
async def at_work(url: str, settings: Settings, vault: Vault, *, beat_s: float = BEAT_S) -> AsyncIterator[Poller]:
    """A poller at work for as long as the block lasts."""
    pool = await make_pool(url, "poller")
    poller = Poller(settings, pool, vault, beat_s=beat_s)
    listener = Listener(
        url,
        poller.channels,
        on_notify=lambda _channel, payload: poller.wake(payload),
        on_connect=poller.wake,
        application_name="tradewise-poller-listen",
    )
    await poller.open()
    tasks = [asyncio.create_task(listener.run()), asyncio.create_task(poller.run())]
    try:
        await asyncio.wait_for(listener.connected.wait(), 10)
        yield poller
    finally:
        poller.stopping.set()
        poller.wake()
        tasks[0].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await poller.close()
        await pool.close()
        if isinstance(results[1], Exception):
            raise results[1]


@pytest.fixture
async def poller_with(urls: Urls, vault: Vault) -> AsyncIterator[PollerMaker]:
    """Sets a poller to work: ``await poller_with(poll_interval=0.3)``, as often as a test needs one."""
    contexts = []

    async def make(*, allow: str = "127.0.0.0/8", beat_s: float = BEAT_S, **overrides: object) -> Poller:
        environment = {"TRADEWISE_EGRESS_ALLOW": allow} if allow else {}
        # Unless a test is about the difference, every look is a full one.
        overrides.setdefault("reading_interval", overrides.get("poll_interval", 15.0))
        context = at_work(urls["agent_poller"], load_settings(environment, **overrides), vault, beat_s=beat_s)
        poller = await context.__aenter__()
        contexts.append(context)
        return poller

    yield make
    for context in reversed(contexts):
        await context.__aexit__(None, None, None)
