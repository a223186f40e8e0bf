"""One installation on the real engine: launchers at work, what they made, and what is left of it."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import docker
import msgspec

from agents.agent import make_pool
from agents.launcher.agent import Launcher
from agents.launcher.lifecycle import Policy
from agents.launcher.runtimes.base import Contained
from agents.launcher.runtimes.choose import runtime_of
from agents.launcher.runtimes.docker import DockerRuntime
from agents.launcher.runtimes.docker_profile import LABEL_BOT, LABEL_INSTALLATION
from control_plane.database.listener import Listener
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.engine import clear_engine, clear_firewall
from tests.factories import Factory, Owner, Urls
from tests.waiting import until

TOKEN = "planted-token-0123456789abcdef"
#: Trades once an hour, so that a test sees only what it arranged.
CONFIG = {
    "capital": "10000",
    "currency": "USDT",
    "strategy": {"type": "dca", "symbol": "BTC/USDT", "amount": "100"},
    "market": {"kind": "seeded", "seed": 1, "interval_seconds": "3600", "start_price": "50000"},
    "fees": {"maker": "0.001", "taker": "0.001"},
}


class Rig:
    """A test's hands and eyes. ``policy`` is quick where the real one is patient."""

    def __init__(
        self,
        settings: Settings,
        urls: Urls,
        admin: asyncpg.Connection,
        vault: Vault,
        engine: docker.DockerClient,
        owner: Owner,
    ) -> None:
        self.settings = settings
        self.urls = urls
        self.admin = admin
        self.vault = vault
        self.factory = Factory(admin, vault)
        self.engine = engine
        self.owner = owner
        self.policy = Policy(
            start_deadline=60.0, stop_grace=20.0, first_delay=0.2, longest_delay=1.0, drain_deadline=3.0
        )
        self.installation: UUID

    @asynccontextmanager
    async def launcher(
        self, *, kind: Callable[..., DockerRuntime] = DockerRuntime, **overrides: Any
    ) -> AsyncIterator[Launcher]:
        """A launcher at work in the test's own loop: its own role, its own pool, really listening.

        ``kind`` makes its runtime; the rest are settings.
        """
        url = self.urls["agent_launcher"]
        pool = await make_pool(url, "launcher")
        settings, runtime = msgspec.structs.replace(self.settings, **overrides), partial(runtime_of, kind=kind)
        made = Launcher(settings, pool, self.vault, self.policy, runtime=runtime)
        listener = Listener(
            url,
            made.channels,
            on_notify=lambda _channel, payload: made.wake(payload),
            on_connect=made.wake,
            application_name="tradewise-launcher-listen",
        )
        await made.open()
        tasks = [asyncio.create_task(listener.run()), asyncio.create_task(made.run())]
        try:
            await asyncio.wait_for(listener.connected.wait(), 10)
            yield made
        finally:
            made.stopping.set()
            made.wake()
            tasks[0].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await made.close()
            await pool.close()
            if isinstance(results[1], Exception):
                raise results[1]

    async def bot(self, **columns: Any) -> UUID:
        """A hosted bot with a token and a configuration."""
        columns.setdefault("credentials", {"token": TOKEN})
        columns.setdefault("config", CONFIG)
        return await self.factory.bot(self.owner, **{"bot_type": "platform", **columns})

    async def rogue(self, behaviour: str, image: str, **columns: Any) -> UUID:
        """A bot whose program misbehaves."""
        config = {"behaviour": behaviour, "secret": "planted-config-secret"}
        return await self.bot(image=image, config=config, **columns)

    async def want(self, bot: UUID, desired: str) -> None:
        """What the API does for start, stop and restart."""
        await self.admin.execute(
            "update bots set desired = $2, generation = generation + 1 where id = $1", bot, desired
        )

    async def row(self, bot: UUID) -> asyncpg.Record:
        """The bot's own row."""
        return await self.admin.fetchrow("select * from bots where id = $1", bot)

    async def live(self, bot: UUID) -> asyncpg.Record | None:
        """The row of the bot's live copy."""
        return await self.admin.fetchrow("select * from bot_instances where bot_id = $1 and released_at is null", bot)

    async def last(self, bot: UUID) -> asyncpg.Record:
        """The row of the bot's newest copy that is released."""
        return await self.admin.fetchrow(
            "select * from bot_instances where bot_id = $1 and released_at is not null order by id desc limit 1", bot
        )

    async def events(self, bot: UUID) -> list[tuple[str | None, str | None, str | None]]:
        """The changes of the bot's status: from, to, reason."""
        rows = await self.admin.fetch("select * from bot_events where bot_id = $1 and kind = 'status' order by id", bot)
        return [(row["from_status"], row["to_status"], row["reason"]) for row in rows]

    async def until_row(
        self, bot: UUID, holds: Callable[[asyncpg.Record], Any], what: str, deadline_s: float = 30.0
    ) -> asyncpg.Record:
        """Wait until the bot's row is as wanted; the row then."""

        async def there() -> asyncpg.Record | None:
            row = await self.row(bot)
            return row if holds(row) else None

        return await until(there, what=what, deadline_s=deadline_s)

    async def until_status(self, bot: UUID, status: str, reason: str | None = None, **more: Any) -> asyncpg.Record:
        """Wait until the bot has this status for this reason, acted upon its present generation."""
        return await self.until_row(
            bot,
            lambda row: (
                (row["status"], row["reason"]) == (status, reason) and row["generation"] == row["observed_generation"]
            ),
            f"status {status} ({reason})",
            **more,
        )

    async def until_launched(self, bot: UUID, *, after: UUID | None = None) -> asyncpg.Record:
        """Wait until a copy of the bot runs, another one than ``after``; its row."""

        async def there() -> asyncpg.Record | None:
            row = await self.live(bot)
            return row if row is not None and row["state"] == "running" and row["id"] != after else None

        return await until(there, what="a running copy", deadline_s=30.0)

    async def until_gone(self, bot: UUID) -> None:
        """Wait until nothing of the bot is left on the engine or holds its place."""

        async def gone() -> Any:
            return await self.live(bot) is None and not self.containers(bot)

        await until(gone, what="nothing left of the bot")

    async def healthy(self, bot: UUID) -> None:
        """Say what the poller says of a bot that answers, in the poller's role."""
        connection = await asyncpg.connect(self.urls["agent_poller"])
        try:
            await connection.execute(
                "update bot_health h set state = 'healthy', observed_at = clock_timestamp(),"
                " healthy_at = clock_timestamp(), observed_generation = b.generation"
                " from bots b where b.id = h.id and h.id = $1",
                bot,
            )
        finally:
            await connection.close()

    async def up(self, bot: UUID) -> asyncpg.Record:
        """Wait until a copy runs, call it healthy, and wait until the launcher has seen that; the copy's row."""
        instance = await self.until_launched(bot)
        await self.healthy(bot)
        await self.until_status(bot, "running")
        return instance

    def containers(self, bot: UUID | None = None) -> list[Any]:
        """What the engine has of this installation, running or not."""
        labels = [f"{LABEL_INSTALLATION}={self.installation}"]
        if bot is not None:
            labels.append(f"{LABEL_BOT}={bot}")
        return list(self.engine.api.containers(all=True, filters={"label": labels}))

    def volumes(self, bot: UUID) -> list[str]:
        """The names of a bot's volumes."""
        labels = [f"{LABEL_INSTALLATION}={self.installation}", f"{LABEL_BOT}={bot}"]
        return [volume["Name"] for volume in self.engine.api.volumes(filters={"label": labels})["Volumes"] or ()]

    async def ask(self, port: int, path: str, token: str | None = TOKEN) -> dict[str, Any]:
        """Ask a bot over its published port."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{path}", headers=headers)

        def fetch() -> dict[str, Any]:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return dict(json.load(answer))

        async def answered() -> dict[str, Any]:
            try:
                return await asyncio.to_thread(fetch)
            except (ConnectionError, urllib.error.URLError):
                return {}

        return await until(answered, what=f"an answer of port {port}")

    def clean(self) -> None:
        """Take away whatever the test left on the engine."""
        self.clean_soon().result()

    def clean_soon(self) -> Future[Contained]:
        """As :meth:`clean`, but the firewall's rules go while the next test begins."""
        clear_engine(self.engine, self.installation)
        return clear_firewall(self.engine, self.installation, self.settings.effective_guard_image)
