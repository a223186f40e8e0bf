"""What every agent is: a pool, a heartbeat, a wake-up, one loop that is level-triggered, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, ClassVar
from uuid import UUID

import asyncpg
import structlog
from uuid_utils.compat import uuid7

from agents.keys.providers import vault_for
from agents.monitoring import Monitor
from control_plane.database.away import DATABASE_AWAY
from control_plane.database.check import require_ready
from control_plane.database.listener import Listener
from control_plane.database.urls import session_settings
from control_plane.database.visit import visiting
from control_plane.security.keyproviders import KeyProviderRefusedError, KeyProviderUnavailableError
from control_plane.security.vault import Vault
from control_plane.settings import Settings

_BEAT_EVERY_S = 5.0
_DRAIN_S = 20.0
_LOST_BEATS_AFTER = "1 hour"
#: Agents that leave nothing behind in a session: no lock, setting or cursor. (A lock there is the launcher's lead.)
_STATELESS = frozenset({"poller"})


class Agent(ABC):
    """One agent process. Subclasses say what a pass does; the base runs passes until told to stop.

    A pass looks at rows, not at notifications: a notification only makes the next pass come sooner, and ``woken``
    tells which ids it named (empty after a reconnect or a timer, meaning: look at everything).
    """

    kind: ClassVar[str]
    channels: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault) -> None:
        self.settings = settings
        self._version = version("tradewise")
        self.pool = pool
        self.vault = vault
        self.process_id: UUID = uuid7()
        self.state = "starting"
        self.detail: dict[str, Any] = {}
        self.stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._woken: set[str] = set()
        self._everything = False
        self.log = structlog.get_logger(self.kind)

    @abstractmethod
    async def work(self, woken: frozenset[str]) -> float:
        """One pass. Returns the seconds until the next one if nothing wakes the agent earlier."""

    async def open(self) -> None:  # noqa: B027 - most agents need nothing more
        """Make ready what a pass needs besides the pool."""

    async def close(self) -> None:  # noqa: B027 - as above
        """Give back what :meth:`open` took."""

    def wake(self, identity: str | None = None) -> None:
        """Ask for a pass now: at one id, or at everything."""
        if identity is None:
            self._everything = True
        else:
            self._woken.add(identity)
        self._wake.set()

    async def run(self) -> None:
        """Passes until :attr:`stopping` is set; the pass under way is let finish."""
        while not self.stopping.is_set():
            self._wake.clear()
            # Whoever asked for everything must not be answered with the few that were named at the same time.
            woken = frozenset() if self._everything else frozenset(self._woken)
            self._woken, self._everything = set(), False
            try:
                delay = await self.work(woken)
                self.state = "working"
            except DATABASE_AWAY as error:
                # The database is away or a pass met a conflict: nothing was half done, the next pass looks again.
                self.state, delay = "waiting", 1.0
                self.log.warning("pass_failed", error=type(error).__name__, detail=str(error)[:200])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay)

    async def beat(self) -> None:
        """Write this process's row, and clear rows of processes that are long gone."""
        await self.pool.execute(
            "insert into agent_beats (id, kind, version, beat_at, state, detail)"
            " values ($1, $2, $3, now(), $4, $5::jsonb)"
            " on conflict (id) do update set beat_at = now(), state = excluded.state, detail = excluded.detail",
            self.process_id,
            self.kind,
            self._version,
            self.state,
            json.dumps(self.detail),
        )
        await self.pool.execute(
            "delete from agent_beats where kind = $1 and beat_at < now() - $2::text::interval",
            self.kind,
            _LOST_BEATS_AFTER,
        )

    async def beat_forever(self) -> None:
        """Beat until cancelled; a missed beat is only logged."""
        while True:
            try:
                await self.beat()
            except DATABASE_AWAY as error:
                self.log.warning("beat_missed", error=type(error).__name__)
            await asyncio.sleep(_BEAT_EVERY_S)

    async def farewell(self) -> None:
        """Take this process's row away, so that nobody waits for it."""
        with contextlib.suppress(*DATABASE_AWAY):
            await self.pool.execute("delete from agent_beats where id = $1", self.process_id)


async def make_pool(url: str, kind: str, *, size: int = 8) -> asyncpg.Pool:
    """A pool for an agent's own SQL."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        command_timeout=30,
        server_settings=session_settings(f"tradewise-{kind}"),
        reset=_leave_as_it_is if kind in _STATELESS else None,
    )


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """Instead of a round trip that resets what nobody has set. An open transaction is rolled back all the same."""


async def wait_until_ready(url: str) -> None:
    """Raise DatabaseUnreachableError, or DatabaseNotReadyError unless schema and policies are what we carry."""
    async with visiting(url) as connection:
        await require_ready(connection, serving=False)


async def run_agent(make: Callable[[Settings, asyncpg.Pool, Vault], Agent], kind: str, settings: Settings) -> None:
    """Run one agent until SIGTERM or SIGINT. Raises what keeps it from starting, each with its remedy."""
    url = settings.agent_database_url
    if url is None:
        raise ValueError("TRADEWISE_AGENT_DATABASE_URL must be set for an agent (`tradewise up` sets it by itself)")
    vault = vault_for(settings)
    try:
        await vault.provider.ready()
    except KeyProviderRefusedError:
        raise
    except KeyProviderUnavailableError as error:
        # Bots trade on without us, and what needs no key is still to be done.
        structlog.get_logger(kind).warning("key_provider_unavailable", detail=str(error))
    await wait_until_ready(url)
    pool = await make_pool(url, kind)
    agent = make(settings, pool, vault)
    listener = Listener(
        url,
        agent.channels,
        on_notify=lambda _channel, payload: agent.wake(payload),
        on_connect=agent.wake,
        application_name=f"tradewise-{kind}-listen",
    )
    with Monitor(settings, lambda: agent.state):
        await agent.open()
        helpers = [asyncio.create_task(listener.run()), asyncio.create_task(agent.beat_forever())]
        try:
            await _until_stopped(agent, agent.run)
        finally:
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await agent.close()
            await agent.farewell()
            await pool.close()
            await vault.provider.close()


async def _until_stopped(agent: Agent, run: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        agent.stopping.set()
        agent.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    task = asyncio.ensure_future(run())
    stopped = asyncio.create_task(agent.stopping.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        agent.log.info("draining")
        await asyncio.wait({task}, timeout=_DRAIN_S)
        if not task.done():
            task.cancel()
            agent.log.warning("drain_cut_short", after_s=_DRAIN_S)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def run_forever(make: Callable[[Settings, asyncpg.Pool, Vault], Agent], kind: str, settings: Settings) -> None:
    """The blocking entry of an agent process, on uvloop."""
    import uvloop  # lazy: only the processes that serve need it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(run_agent(make, kind, settings))
        except KeyboardInterrupt:
            sys.exit(130)
