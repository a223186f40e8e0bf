"""The whole poller at an even pace, beside a bare loop that makes the same requests and Debian's blackbox exporter.

The three take turns: each runs alone, comes to its pace, and is measured over a window. What is counted is the CPU,
user and system, of the poller's process and of every process of PostgreSQL; of the loop's process; of the exporter's.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from control_plane.security.keyproviders import create_kek_file
from control_plane.settings import Settings
from tests.bench.exporter import exporter, probe_url
from tests.bench.harness import Row, row_of
from tests.bench.population import populate, spread, updates
from tests.bench.processes import Asked, cpu_s, family_cpu_s, module, passes, postmaster_of
from tests.bench.target import TOKEN
from tests.factories import Urls
from tests.poller_process import PollerProcess, Samples, poller_process

#: A full reading for so many looks, as with the intervals that the program has where nothing is set.
READING_EVERY: Final = 4


class Pace(msgspec.Struct, frozen=True):
    """How much is measured, and for how long."""

    bots: int = int(os.environ.get("BENCH_PACED_BOTS", "1000"))
    rate: float = float(os.environ.get("BENCH_PACED_RATE", "500"))
    rounds: int = int(os.environ.get("BENCH_PACED_ROUNDS", "9"))
    settle_s: float = float(os.environ.get("BENCH_PACED_SETTLE", "6"))
    window_s: float = float(os.environ.get("BENCH_PACED_WINDOW", "10"))
    tick_s: float = 0.05
    """Of the bare loop: due checks begin together, which costs it least (and so asks most of ours)."""
    baselines: bool = True
    """False where they are not installed: then only ours runs."""

    @property
    def interval_s(self) -> float:
        """Between two looks at a bot."""
        return self.bots / self.rate


class Used(msgspec.Struct, frozen=True):
    """One window: microseconds of CPU a check, and what goes with them."""

    total: float
    database: float = 0.0
    rate: float = 0.0
    calls: dict[str, float] = {}
    changed: int = 0
    hot: int = 0


def reading_settings(interval_s: float) -> dict[str, str]:
    """The poller's two intervals, where it has two."""
    settings = {"TRADEWISE_POLL_INTERVAL": f"{interval_s:g}"}
    if "reading_interval" in Settings.__struct_fields__:
        settings["TRADEWISE_READING_INTERVAL"] = f"{interval_s * READING_EVERY:g}"
    return settings


def total(samples: Samples | None) -> float:
    """All of one metric, whatever its labels."""
    return sum(value for _, value in samples or [])


def checks(metrics: dict[str, Samples]) -> Counter[str]:
    """How many checks have ended, by outcome."""
    found: Counter[str] = Counter()
    for labels, value in metrics.get("tradewise_poller_checks_total", []):
        found[labels["outcome"]] += int(value)
    return found


class Bench:
    """What stays while the three take turns."""

    def __init__(self, pace: Pace, urls: Urls, admin: asyncpg.Connection, folder: Path) -> None:
        self.pace = pace
        self.urls = urls
        self.admin = admin
        self.folder = folder
        self.kek_file = folder / "kek.json"
        self.target: Asked
        self.postmaster = 0
        self.calls: dict[str, float] = {}

    async def ours(self) -> Used:
        """The poller and PostgreSQL."""
        await spread(self.admin, self.pace.interval_s)
        environ = reading_settings(self.pace.interval_s)
        changed, hot = await updates(self.admin)
        async with poller_process(self.urls["agent_poller"], self.kek_file, environ) as poller:
            await passes(self.pace.settle_s + self.pace.interval_s)
            used = await self._window(poller)
        # Its connections are closed, and so have told all that they did.
        now_changed, now_hot = await updates(self.admin)
        return msgspec.structs.replace(used, changed=now_changed - changed, hot=now_hot - hot)

    async def _window(self, poller: PollerProcess) -> Used:
        asked, before, began = await self.target.ask(), checks(await poller.metrics()), time.monotonic()
        mine, database = cpu_s(poller.pid), family_cpu_s(self.postmaster)
        await passes(self.pace.window_s)
        mine, database = cpu_s(poller.pid) - mine, family_cpu_s(self.postmaster) - database
        # In the same order as before, so that requests and checks are of windows of one length.
        asked_then = await self.target.ask()
        made, took = checks(await poller.metrics()) - before, time.monotonic() - began
        count = sum(made.values())
        if made["ok"] < 0.99 * count or not count:
            raise RuntimeError(f"bots that are well were not found to be: {dict(made)}\n{poller.words()}")
        calls = Counter(asked_then) - Counter(asked)
        return Used(
            total=(mine + database) / count * 1e6,
            database=database / count * 1e6,
            rate=count / took,
            calls={path: asked_for / count for path, asked_for in calls.items()},
        )

    async def bare(self) -> Used:
        """aiohttp, asking what ours was seen to ask."""
        bots = [
            [[f"http://127.0.0.1:{port}{path}", round(share, 2)] for path, share in self.calls.items()]
            for port in self.target.first
        ]
        return await self._loop(bots, holds='"', decoded=True)

    async def probes(self) -> Used:
        """The exporter, for each bot one request with the credential. The loop that asks it counts as nobody's."""
        async with exporter(self.folder) as (pid, port):
            bots = [[[probe_url(port, f"http://127.0.0.1:{bot}/api/v1/state"), 1.0]] for bot in self.target.first]
            return await self._loop(bots, holds="probe_success 1", decoded=False, measured=pid)

    async def _loop(self, bots: list[Any], *, holds: str, decoded: bool, measured: int | None = None) -> Used:
        wanted = {
            "bots": bots, "token": TOKEN, "rate": self.pace.rate, "tick": self.pace.tick_s, "holds": holds,
            "json": decoded,
        }  # fmt: skip
        async with module("tests.bench.bare", wanted) as loop:
            pid = measured or loop.pid
            await passes(self.pace.settle_s)
            before, used, began = await loop.ask(), cpu_s(pid), time.monotonic()
            await passes(self.pace.window_s)
            after, used, took = await loop.ask(), cpu_s(pid) - used, time.monotonic() - began
        if after["wrong"]:
            raise RuntimeError(f"the baseline had {after['wrong']} bad answers of {after['made']}")
        made = after["made"] - before["made"]
        return Used(total=used / made * 1e6, rate=made / took)


async def measure_pace(urls: Urls, pace: Pace) -> list[Row]:
    """Rounds of all three, one after the other, in turning order."""
    admin = await asyncpg.connect(urls.admin)
    try:
        with tempfile.TemporaryDirectory(prefix="tw-bench-pace-") as folder:
            async with AsyncExitStack() as work:
                bench = Bench(pace, urls, admin, Path(folder))
                create_kek_file(bench.kek_file)
                bench.postmaster = await postmaster_of(admin)
                bench.target = await work.enter_async_context(
                    module("tests.bench.target", {"ports": pace.bots, "crowd": False}, announces=True)
                )
                await populate(admin, bench.kek_file, [f"http://127.0.0.1:{port}" for port in bench.target.first])
                return await _rounds(bench)
    finally:
        await admin.close()


async def _rounds(bench: Bench) -> list[Row]:
    pace = bench.pace
    if pace.baselines:
        bench.calls = (await bench.ours()).calls  # a warm-up, which tells what the baseline has to ask
    takers = {"ours": bench.ours}
    if pace.baselines:
        takers |= {"bare": bench.bare, "probes": bench.probes}
    taken: dict[str, list[Used]] = {name: [] for name in takers}
    for number in range(pace.rounds):
        names = list(takers)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken[name].append(await takers[name]())
    ours = taken["ours"]
    calls = sum((bench.calls or ours[0].calls).values())
    what = f"A check of {pace.bots} bots at {pace.rate:g}/s by the whole poller with PostgreSQL"
    rows = []
    if pace.baselines:
        pairs = list(zip(ours, taken["bare"], strict=True))
        probed = list(zip(ours, taken["probes"], strict=True))
        rows = [
            row_of(f"{what} / the same {calls:.2f} requests by aiohttp on uvloop (CPU)",
                   [(mine.total, bare.total) for mine, bare in pairs], 0.6),
            row_of(f"{what} / one probe by blackbox_exporter (CPU)",
                   [(mine.total, probe.total) for mine, probe in probed], 0.2),
        ]  # fmt: skip
    return [
        *rows,
        row_of("of which PostgreSQL / all of it (CPU)", [(mine.database, mine.total) for mine in ours], None),
        row_of("Checks a second that were due / that were made", [(pace.rate, mine.rate) for mine in ours], 1.05,
               unit="1/s"),
        row_of("Updates of health rows / those that were HOT",
               [(mine.changed, max(mine.hot, 1)) for mine in ours], 1.0, unit="rows"),
    ]  # fmt: skip
