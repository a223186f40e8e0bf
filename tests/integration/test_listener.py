"""The listener: every notification in order, and a word whenever its connection stands again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg

from control_plane.database.listener import Listener
from tests.factories import Urls
from tests.servers.database_proxy import DatabaseProxy
from tests.waiting import until

_KILL = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tested'"


class Ear:
    """What a listener has handed on."""

    def __init__(self, url: str) -> None:
        self.heard: list[tuple[str, str]] = []
        self.connections = 0
        self.listener = Listener(
            url, ("one", "two"), lambda *told: self.heard.append(told), self._connected, application_name="tested"
        )

    def has_connected(self, times: int) -> bool:
        """Whether its connection has stood ``times`` times."""
        return self.connections == times

    def _connected(self) -> None:
        self.connections += 1


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Ear]:
    ear = Ear(url)
    task = asyncio.create_task(ear.listener.run())
    await until(lambda: ear.connections, what="the listener listens")
    yield ear
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not ear.listener.connected.is_set()


async def test_notifications_arrive_in_order(urls: Urls, admin: asyncpg.Connection) -> None:
    async with listening(urls["api"]) as ear:
        for number in range(50):
            await admin.execute("select pg_notify($1, $2)", "one" if number % 2 else "two", str(number))
        await admin.execute("select pg_notify('three', 'not asked for')")
        await until(lambda: len(ear.heard) >= 50, what="all arrive")
        assert [int(payload) for _, payload in ear.heard] == list(range(50))
        assert {channel for channel, _ in ear.heard} == {"one", "two"}
        assert ear.connections == 1


async def test_a_killed_connection_is_made_again_and_told(urls: Urls, admin: asyncpg.Connection) -> None:
    async with listening(urls["api"]) as ear:
        for number in range(2, 4):
            await admin.execute(_KILL)
            await until(partial(ear.has_connected, number), what="it connects again")
            await admin.execute("select pg_notify('one', $1)", str(number))
            await until(partial(ear.heard.__contains__, ("one", str(number))), what="it hears again")


async def test_a_server_that_is_away_is_tried_until_it_is_back(urls: Urls, admin: asyncpg.Connection) -> None:
    async with DatabaseProxy(urls["api"]) as proxy, listening(proxy.url) as ear:
        await proxy.cut()
        await until(lambda: not ear.listener.connected.is_set(), what="the loss is noticed")
        await proxy.mend()
        await until(lambda: ear.connections == 2, what="it connects again")
        await admin.execute("select pg_notify('one', 'back')")
        await until(lambda: ("one", "back") in ear.heard, what="it hears again")
