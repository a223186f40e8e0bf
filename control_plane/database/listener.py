"""One LISTEN connection a process: reconnects with backoff and says so, because what was sent meanwhile is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import asyncpg
import structlog

from control_plane.database.away import DATABASE_AWAY
from control_plane.database.urls import session_settings

_log = structlog.get_logger(__name__)

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 5.0
_PROBE_EVERY_S = 15.0


class Listener:
    """Hands every notification of ``channels`` to ``on_notify(channel, payload)``.

    ``on_connect`` is called each time a connection stands, the first time included: whatever depends on notifications
    must then look at the rows themselves.
    """

    def __init__(
        self,
        url: str,
        channels: Sequence[str],
        on_notify: Callable[[str, str], None],
        on_connect: Callable[[], None],
        *,
        application_name: str,
    ) -> None:
        self._url = url
        self._channels = tuple(channels)
        self._on_notify = on_notify
        self._on_connect = on_connect
        self._application_name = application_name
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        delay = _FIRST_DELAY_S
        while True:
            try:
                async with self._connection() as connection:
                    delay = _FIRST_DELAY_S
                    self.connected.set()
                    self._on_connect()
                    await self._until_lost(connection)
            except DATABASE_AWAY as error:
                _log.warning("listener_lost", error=type(error).__name__, retry_in_s=delay)
            finally:
                self.connected.clear()
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY_S)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(
            self._url, timeout=5, server_settings=session_settings(self._application_name)
        )
        try:
            for channel in self._channels:
                await connection.add_listener(channel, self._receive)
            yield connection
        finally:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)

    def _receive(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._on_notify(channel, str(payload))

    @staticmethod
    async def _until_lost(connection: asyncpg.Connection) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: lost.set())
        while not lost.is_set():
            # A dead peer sends nothing: ask now and then, so that a silent cut is noticed.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), _PROBE_EVERY_S)
            if not lost.is_set():
                await connection.execute("select 1", timeout=5)
