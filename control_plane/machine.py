"""One installation on one machine (`tradewise up`). Each part is a process of its own, as it would be in production."""

from __future__ import annotations

import asyncio
import fcntl
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import TextIO

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from control_plane.database.away import DATABASE_AWAY
from control_plane.database.embedded import EmbeddedServer, EmbeddedServerError
from control_plane.database.logins import give_logins
from control_plane.database.migrate import migrate
from control_plane.database.roles import LOGIN_ROLES
from control_plane.database.urls import without_password
from control_plane.database.visit import visiting
from control_plane.logs import configure_logging
from control_plane.processes import AGENTS, agent_process, api_process
from control_plane.security.datakey import create_data_key_file
from control_plane.security.keyproviders import create_kek_file
from control_plane.settings import Settings
from control_plane.supervisor import ChildSpec, Say, Supervisor

_READY_WITHIN_S = 60.0
#: How often it is looked whether the embedded database still lives, and how long a new try to start it waits at most.
_DATABASE_LOOK_S = 1.0
_LONGEST_DELAY_S = 30.0


class UpError(RuntimeError):
    """What kept the machine from coming up, with its remedy."""

    code = "up_failed"


class Hooks(msgspec.Struct, frozen=True):
    """What ``up`` needs of the agents' half, handed in by the command line because this half does not know it."""

    ensure_engine: Callable[[Say], str | None]
    stop_bots: Callable[[Settings, Say], Awaitable[int]]
    #: The command of a bot that runs outside of TradeWise, for the demo.
    outside_bot: tuple[str, ...]


class Machine:
    """All parts of one installation in one data folder."""

    def __init__(self, settings: Settings, hooks: Hooks, *, host: str, port: int, say: Say) -> None:
        self.settings = settings
        self.host, self.port = host, port
        self._hooks = hooks
        self._say = say
        self._embedded: EmbeddedServer | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._lock: TextIO | None = None
        self._supervisor = Supervisor(settings.data_dir / "logs", say)
        self.urls: dict[str, str] = {}
        self.engine_url: str | None = None

    @property
    def address(self) -> str:
        """Where the API and the dashboard answer."""
        return f"http://{self._reached_at}:{self.port}"

    @property
    def _reached_at(self) -> str:
        return "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - told, not bound

    async def start(self, beside: Sequence[ChildSpec] = ()) -> None:
        """Bring everything up, and programs that run beside it. Raises :class:`UpError` and the errors of the parts."""
        self._take_folder()
        await self._refuse_taken_port()
        admin = await self._database()
        result = await migrate(admin)
        if result.previous != result.revision:
            self._say(f"database at migration {result.revision}, policies applied")
        self.urls = await self._role_urls(admin)
        if self.settings.key_provider == "file":
            create_kek_file(self.settings.effective_kek_file)
        if self.settings.data_key is None:
            create_data_key_file(self.settings.effective_data_key_file)
        self.engine_url = await asyncio.to_thread(self._hooks.ensure_engine, self._say)
        agents = [
            agent_process(self.settings, kind, self.urls[f"agent_{kind}"], self._launchers_engine) for kind in AGENTS
        ]
        api = api_process(self.settings, self.urls["api"], self.host, self.port)
        for spec in (*beside, *agents, api):
            self._supervisor.start(spec)
        if self._embedded is not None:
            self._keeping = asyncio.create_task(self._keep_alive(self._embedded))
        await self._until_ready()

    async def _keep_alive(self, server: EmbeddedServer) -> None:
        """Start the embedded server anew whenever it dies. Whoever stops it wants it stopped."""
        while True:
            await asyncio.sleep(_DATABASE_LOOK_S)
            if not server.has_died():
                continue
            self._say("the embedded PostgreSQL has died; it is started again")
            delay = _DATABASE_LOOK_S
            while not await self._revived(server):
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY_S)
            self._say("the embedded PostgreSQL is back")

    async def _revived(self, server: EmbeddedServer) -> bool:
        try:
            await _to_the_end(server.revive)
        except EmbeddedServerError as error:
            self._say(str(error))
            return False
        return True

    async def stop(self, *, keep_bots: bool) -> None:
        """End every part in order: the processes, then bots (unless they are to stay), then the database.

        Raises :class:`UpError` where bots could not be stopped; all the rest has ended then.
        """
        self._say("stopping")
        await self._supervisor.end()
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        try:
            if not keep_bots and (self.engine_url is not None or await self._hosts_bots()):
                await self._stop_bots()
        except (*DATABASE_AWAY, DBAPIError) as error:
            raise UpError(
                f"hosted bots could not be stopped, because the database or the engine does not answer ({error}):"
                " they go on running, and the next start in this folder takes them up again"
            ) from error
        finally:
            if self._embedded is not None:
                await asyncio.to_thread(self._embedded.stop)
            if self._lock is not None:
                self._lock.close()

    async def _hosts_bots(self) -> bool:
        """Whether there may be containers of ours on an engine that did not answer when we started."""
        if not self.urls:
            return False
        async with visiting(self.urls["agent_launcher"]) as connection:
            return bool(
                await connection.scalar(text("select exists (select from bot_instances where released_at is null)"))
            )

    async def _stop_bots(self) -> None:
        stopped = await self._hooks.stop_bots(self.agent_settings("launcher"), self._say)
        if stopped:
            self._say(f"{stopped} hosted bot{'s' if stopped != 1 else ''} stopped; they start again next time")

    def agent_settings(self, kind: str) -> Settings:
        """Settings as an agent of ``kind`` has them."""
        return msgspec.structs.replace(
            self.settings, agent_database_url=self.urls[f"agent_{kind}"], docker_host=self._launchers_engine
        )

    @property
    def _launchers_engine(self) -> str | None:
        # An engine that was named and does not answer yet is still the one: another would hide bots from their owner.
        return self.engine_url or self.settings.docker_host

    def _take_folder(self) -> None:
        """Hold the data folder until the end: two machines in it would undo each other's work."""
        self._lock = (self.settings.data_dir / "up.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UpError(
                f"TradeWise runs in {self.settings.data_dir} already: stop it, or choose another folder with --data-dir"
            ) from error

    async def _refuse_taken_port(self) -> None:
        try:
            server = await asyncio.start_server(lambda _reader, writer: writer.close(), self.host, self.port)
        except OSError as error:
            raise UpError(
                f"port {self.port} on {self.host} is taken ({error.strerror}): choose another with --port"
            ) from error
        server.close()
        await server.wait_closed()

    async def _database(self) -> str:
        if self.settings.database_url is not None:
            self._say(f"database: {without_password(self.settings.database_url)}")
            return self.settings.database_url
        self._say("database: embedded PostgreSQL 18 on a Unix socket, for trying and testing only")
        self._embedded = EmbeddedServer(self.settings.data_dir)
        await _to_the_end(self._embedded.start)
        await self._embedded.ensure_database()
        return self._embedded.url("postgres")

    async def _role_urls(self, admin: str) -> dict[str, str]:
        if self._embedded is not None:
            return {kind: self._embedded.url(role) for kind, role in LOGIN_ROLES.items()}
        return await give_logins(admin, self.settings.data_dir)

    async def _until_ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            if await self._answers():
                return
            await asyncio.sleep(0.1)
        log = self.settings.data_dir / "logs" / "api.log"
        raise UpError(f"the API did not become ready within {_READY_WITHIN_S:g} s: its log is {log}")

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(self._reached_at, self.port)
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                line = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in line


async def _to_the_end(work: Callable[[], object]) -> None:
    """Run ``work`` in a thread. Cancelled, wait for it all the same: a thread cannot be ended, only overtaken."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


def on_signal() -> asyncio.Event:
    """An event that SIGINT or SIGTERM sets."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    return stopped


async def run_machine(
    settings: Settings,
    hooks: Hooks,
    *,
    host: str,
    port: int,
    keep_bots: bool,
    say: Say,
    beside: Sequence[ChildSpec] = (),
    then: Callable[[Machine], Awaitable[None]] | None = None,
) -> None:
    """Start everything, with what runs ``beside`` it; run ``then``; stay until a signal.

    Whatever happens, what was started is stopped.
    """
    configure_logging("warning", process="up")
    machine = Machine(settings, hooks, host=host, port=port, say=say)
    stopped = asyncio.create_task(on_signal().wait())

    async def begin() -> None:
        await machine.start(beside)
        say(f"ready: {machine.address} (API documentation: {machine.address}/api/docs, logs: {settings.data_dir}/logs)")
        if then is not None:
            await then(machine)
        say("Ctrl-C stops everything")

    beginning = asyncio.create_task(begin())
    try:
        # A signal while starting ends the start as well.
        await asyncio.wait({beginning, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if beginning.done():
            await beginning
            await stopped
    finally:
        for task in (beginning, stopped):
            task.cancel()
        await asyncio.gather(beginning, stopped, return_exceptions=True)
        await machine.stop(keep_bots=keep_bots)
