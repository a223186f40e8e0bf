"""What hosting costs beside the engine's own work: a whole installation with default settings on the real engine.

The baseline makes the same bots without us: `docker run` of the image, its document on standard input, until its HTTP
server answers. Where a bound speaks of a loop over the Docker API, that loop has as many threads as the launcher, and a
network of its own like ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import docker
import httpx

from agents.agent import make_pool
from agents.launcher.agent import Launcher
from agents.launcher.engine import ensure_engine, open_client, say_on_stderr
from agents.launcher.images import ensure_paper_bot_image
from control_plane.security.keyproviders import key_provider
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.bench.harness import Row, row_of
from tests.bench.plain import CONFIG, TOKEN, Plain
from tests.e2e.machine import Machine, installed
from tests.factories import Urls
from tests.servers.engine_proxy import EngineProxy
from tests.waiting import until

BOTS: Final = int(os.environ.get("BENCH_BOTS", "100"))
_STARTS = 15
_CRASHES = 7
_ROUNDS_OF_ALL = 2
_PASSES = 40
_PASSWORD = "a long enough password"


def _past(moment: float) -> bool:
    return time.monotonic() > moment


class Hosted:
    """Bots that the installation hosts, through its HTTP API as a client sees it."""

    def __init__(self, machine: Machine, client: httpx.AsyncClient, database: asyncpg.Connection) -> None:
        self.machine = machine
        self.client = client
        self.database = database
        self.bots: list[str] = []

    async def register(self, count: int) -> None:
        """A person with ``count`` bots."""
        who = {"email": "bench@example.com", "password": _PASSWORD}
        (await self.client.post("/api/v1/auth/sign-up", json={**who, "full_name": "Bench"})).raise_for_status()
        answer = await self.client.post("/api/v1/auth/sign-in", json=who)
        self.client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"
        for number in range(count):
            body = {"bot_type": "platform", "engine": "tradewise", "name": f"bot {number}",
                "credentials": {"token": TOKEN}, "config": CONFIG}  # fmt: skip
            made = await self.client.post("/api/v1/bots", json=body)
            self.bots.append(made.raise_for_status().json()["id"])

    async def start(self, bot: str) -> float:
        """Seconds from asking for the start until the bot is told to run, and so is healthy."""
        began = time.perf_counter()
        (await self.client.post(f"/api/v1/bots/{bot}/start")).raise_for_status()
        view = (await self.client.get(f"/api/v1/bots/{bot}?wait=30")).raise_for_status().json()
        took = time.perf_counter() - began
        if (view["status"], view["health"]["state"]) != ("running", "healthy"):
            raise RuntimeError(f"the bot did not start: {view}")
        return took

    async def crash(self, engine: docker.DockerClient, bot: str) -> float:
        """Seconds from the end of a bot's container until its status tells; waits until it runs again."""
        [container] = self.machine.containers(engine, bot)
        engine.api.kill(container["Id"], "SIGKILL")
        began = time.perf_counter()

        async def told() -> bool:
            view = (await self.client.get(f"/api/v1/bots/{bot}")).raise_for_status().json()
            return bool(view["status"] != "running")

        await until(told, deadline_s=60.0, what="the crash is told")
        took = time.perf_counter() - began
        await self._until_all("running", [bot])
        return took

    async def start_all(self, bots: list[str]) -> float:
        """Seconds from asking for the first until the last one runs and is healthy."""
        began = time.perf_counter()
        asked = [self.client.post(f"/api/v1/bots/{bot}/start") for bot in bots]
        for answer in await asyncio.gather(*asked):
            answer.raise_for_status()
        await self._until_all("running", bots)
        return time.perf_counter() - began

    async def stop_all(self) -> None:
        """Nothing runs afterwards."""
        await asyncio.gather(*(self.client.post(f"/api/v1/bots/{bot}/stop") for bot in self.bots))
        await self._until_all("inactive", self.bots)

    async def _until_all(self, status: str, bots: list[str]) -> None:
        query = (
            "select count(*) from bots where id = any($1::text[]::uuid[]) and status = $2"
            " and observed_generation = generation"
        )

        async def there() -> bool:
            return bool(await self.database.fetchval(query, bots, status) == len(bots))

        await until(there, deadline_s=300.0, every_s=0.1, what=f"{len(bots)} bots {status}")

    def resident_kb(self) -> float:
        """Memory of the launcher's process."""
        pid = self.machine.child("agent", "launcher")
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
        assert found is not None
        return float(found[1])


@asynccontextmanager
async def _a_launcher_of_ours(hosted: Hosted, engine_url: str) -> AsyncIterator[Launcher]:
    """A launcher in this process that has taken over from the installation's own and found nothing to do."""
    url = hosted.machine.url("agent_launcher")
    settings = load_settings({}, data_dir=hosted.machine.data, docker_host=engine_url, agent_database_url=url)
    pool = await make_pool(url, "launcher")
    launcher = Launcher(settings, pool, Vault(key_provider(settings)))
    await launcher.open()
    try:

        async def acts() -> bool:
            if launcher.detail.get("role") != "acting":
                hosted.machine.kill("agent", "launcher")
            await launcher.work(frozenset())
            return bool(launcher.detail["role"] == "acting")

        await until(acts, every_s=0.2, what="a launcher of ours that acts")
        for _ in range(5):
            await _pass(launcher)
        yield launcher
    finally:
        await launcher.close()
        await pool.close()


async def _pass(launcher: Launcher) -> float:
    """Milliseconds of a look at all bots."""
    launcher.wake()
    began = time.perf_counter()
    await launcher.work(frozenset())
    return (time.perf_counter() - began) * 1e3


async def _passes(hosted: Hosted, engine_url: str) -> list[Row]:
    async with _a_launcher_of_ours(hosted, engine_url) as launcher:
        taken = [await _pass(launcher) for _ in range(_PASSES)]
    with tempfile.TemporaryDirectory(prefix="tw-bench-") as folder:
        async with (
            EngineProxy(Path(folder) / "engine.sock", engine_url) as proxy,
            _a_launcher_of_ours(hosted, proxy.url) as launcher,
        ):
            calls = []
            for _ in range(5):
                proxy.requests.clear()
                await _pass(launcher)
                calls.append(len(proxy.requests))
    count = len(hosted.bots)
    return [
        row_of(f"A pass over {count} bots with nothing to do", [(each, 150.0) for each in taken], 1.0, unit="ms"),
        row_of("Engine calls in such a pass", [(float(each), 1.0) for each in calls], 1.0, unit="calls"),
    ]


async def measure(urls: Urls) -> list[Row]:
    """Start, crash, all at once, memory, and a pass with nothing to do. The installation has a database of its own."""
    del urls
    engine_url = ensure_engine(install=False, say=say_on_stderr).url
    os.environ["DOCKER_HOST"] = engine_url
    engine = open_client(engine_url)
    image = ensure_paper_bot_image(engine, say=say_on_stderr)
    as_delivered = {"TRADEWISE_POLL_INTERVAL": None, "TRADEWISE_RECONCILE_INTERVAL": None}
    try:
        # What was made without us leaves the installation's network first: the engine keeps one that is used.
        with installed(engine, environ=as_delivered) as machine, contextlib.closing(Plain(engine, image)) as plain:
            machine.start()
            database = await asyncpg.connect(machine.url("admin"))
            async with httpx.AsyncClient(base_url=machine.address, timeout=120.0) as client:
                hosted = Hosted(machine, client, database)
                await hosted.register(BOTS)
                rows = await _one_by_one(hosted, plain, engine)
                rows += await _all_at_once(hosted, plain)
                rows += await _passes(hosted, engine_url)
            await database.close()
    finally:
        engine.close()
    return rows


async def _one_by_one(hosted: Hosted, plain: Plain, engine: docker.DockerClient) -> list[Row]:
    """The first start of each is a warm-up. Later ones take turns."""
    taken: dict[str, list[float]] = {"ours": [], "command": [], "api": []}
    for number in range(_STARTS + 1):
        bot = hosted.bots[number % len(hosted.bots)]
        for name in list(taken) if number % 2 else reversed(taken):
            if name == "ours":
                took = await hosted.start(bot)
            elif name == "command":
                took = await asyncio.to_thread(plain.run)
            else:
                took = await asyncio.to_thread(plain.make, "bridge")
            taken[name].append(took * 1e3)
        await asyncio.to_thread(plain.clear)
    pairs = {name: list(zip(taken["ours"], taken[name], strict=True))[1:] for name in taken}
    # Each its first: the second crash of a bot is followed by a longer delay.
    crashes = [await hosted.crash(engine, bot) * 1e3 for bot in hosted.bots[:_CRASHES]]
    what = "From POST start to a healthy bot"
    return [
        row_of(f"{what} / `docker run` until it answers", pairs["command"], 1.15, unit="ms"),
        row_of(f"{what} / create and start over the Docker API", pairs["api"], None, unit="ms"),
        row_of("From a crash until its status tells", [(each, 2000.0) for each in crashes], 1.0, unit="ms"),
    ]


async def _all_at_once(hosted: Hosted, plain: Plain) -> list[Row]:
    await hosted.stop_all()
    taken, grown = [], []
    for number in range(_ROUNDS_OF_ALL):
        before = hosted.resident_kb()
        mine = await hosted.start_all(hosted.bots)
        # What the launch of the last one took is given back by then.
        await until(partial(_past, time.monotonic() + 5), deadline_s=10.0, what="a rest")
        grown.append((hosted.resident_kb() - before) / len(hosted.bots))
        if number < _ROUNDS_OF_ALL - 1:
            await hosted.stop_all()
        other = await asyncio.to_thread(plain.make_all, len(hosted.bots))
        await asyncio.to_thread(plain.clear)
        taken.append((mine * 1e3, other * 1e3))
    count = len(hosted.bots)
    return [
        row_of(f"Starting {count} bots at once / a loop over the Docker API", taken, 1.25, unit="ms"),
        row_of("Memory of the launcher, a running bot", [(each, 50.0) for each in grown], 1.0, unit="kB"),
    ]
