"""A hundred thousand bots, each at an address of its own, a twentieth of them hanging or failing, on two cores.

Poller and PostgreSQL are held to the same two cores of the machine; where it has no more, the bots are on them too.
Lateness is what the poller's own metric says: from when a bot was due until the look at it began.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from control_plane.security.keyproviders import create_kek_file
from tests.bench.harness import Row, row_of
from tests.bench.pace import checks, reading_settings
from tests.bench.population import populate, spread, updates
from tests.bench.processes import cpu_s, family_cpu_s, memory_mib, module, passes, pin, postmaster_of
from tests.bench.target import address_of, conduct_of
from tests.e2e.machine import free_port
from tests.e2e.processes import descendants
from tests.factories import Urls
from tests.poller_process import PollerProcess, Samples, poller_process
from tests.waiting import until

_CORES: Final = 2
_LATE_MS: Final = 2000.0
_MEMORY_MIB: Final = 1024.0
_SAMPLE_S: Final = 5.0
_TAKE_OVER_S: Final = 300.0


class Crowd(msgspec.Struct, frozen=True):
    """How many bots, how often, and for how long they are watched."""

    bots: int
    interval_s: float = float(os.environ.get("BENCH_CROWD_INTERVAL", "60"))
    settle_s: float = float(os.environ.get("BENCH_CROWD_SETTLE", "30"))
    window_s: float = float(os.environ.get("BENCH_CROWD_WINDOW", "120"))


def crowds() -> list[Crowd]:
    """The sizes asked for, smallest first: where the largest is too much, the others say where the limit lies."""
    sizes = os.environ.get("BENCH_CROWD_BOTS", "100000").split(",")
    return [Crowd(bots=int(size)) for size in sorted(sizes, key=int)]


def quantile(buckets: dict[float, float], share: float) -> float:
    """The value below which ``share`` of the observations lie, within a bucket by its even division."""
    bounds = sorted(buckets)
    wanted = share * buckets[bounds[-1]]
    below, lowest = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted and buckets[bound] > below:
            if bound == float("inf"):
                return lowest
            return lowest + (bound - lowest) * (wanted - below) / (buckets[bound] - below)
        below, lowest = buckets[bound], bound
    return lowest


def lateness(metrics: dict[str, Samples]) -> Counter[float]:
    """Observations up to each bound, in seconds."""
    found: Counter[float] = Counter()
    for labels, value in metrics.get("tradewise_poller_lateness_seconds_bucket", []):
        found[float(labels["le"])] += int(value)
    return found


async def measure_crowd(urls: Urls, crowd: Crowd) -> list[Row]:
    """One run."""
    admin = await asyncpg.connect(urls.admin)
    try:
        with tempfile.TemporaryDirectory(prefix="tw-bench-crowd-") as folder:
            kek_file = Path(folder) / "kek.json"
            create_kek_file(kek_file)
            async with module("tests.bench.target", {"ports": 1, "crowd": True}, announces=True) as target:
                [port], closed = target.first, free_port()
                places = [
                    f"http://{address_of(number)}:{closed if conduct_of(number) == 'refuse' else port}"
                    for number in range(crowd.bots)
                ]
                await populate(admin, kek_file, places)
                await spread(admin, crowd.interval_s)
                environ = reading_settings(crowd.interval_s)
                async with poller_process(urls["agent_poller"], kek_file, environ) as poller:
                    return await _watch(crowd, admin, poller, target.pid)
    finally:
        await admin.close()


async def _taken_over(admin: asyncpg.Connection) -> float:
    """Return when every bot has been looked at since now, with the seconds that it took; how late each was at that is
    not what is measured."""
    began, since = time.monotonic(), await admin.fetchval("select clock_timestamp()")

    async def seen() -> bool:
        return bool(await admin.fetchval("select not exists (select from bot_health where observed_at < $1)", since))

    await until(seen, deadline_s=_TAKE_OVER_S, every_s=1.0, what="a look at every bot")
    return time.monotonic() - began


async def _watch(crowd: Crowd, admin: asyncpg.Connection, poller: PollerProcess, target: int) -> list[Row]:
    postmaster = await postmaster_of(admin)
    family = {poller.pid, postmaster, *descendants(postmaster)}
    pin(family, set(sorted(os.sched_getaffinity(0))[:_CORES]))
    took_over_s = await _taken_over(admin)
    await passes(crowd.settle_s)
    before, began = await poller.metrics(), time.monotonic()
    used, bots_used = cpu_s(poller.pid) + family_cpu_s(postmaster), cpu_s(target)
    changed, hot = await updates(admin)
    memory = 0.0
    while time.monotonic() - began < crowd.window_s:
        memory = max(memory, memory_mib({poller.pid, postmaster, *descendants(postmaster)}))
        await passes(min(_SAMPLE_S, crowd.window_s / 4))
    used, bots_used = cpu_s(poller.pid) + family_cpu_s(postmaster) - used, cpu_s(target) - bots_used
    after, took = await poller.metrics(), time.monotonic() - began
    now_changed, now_hot = await updates(admin)
    late = lateness(after)
    late.subtract(lateness(before))
    made = sum((checks(after) - checks(before)).values())
    what = f"{crowd.bots} bots at {crowd.interval_s:g} s, 5 % hanging or failing"
    due = crowd.bots / crowd.interval_s * took
    return [
        row_of(f"{what}: until a new poller had looked at all of them / the interval",
               [(took_over_s, crowd.interval_s)], None, unit="s"),
        row_of(f"{what}: lateness, p99 / 2 s", [(quantile(dict(late), 0.99) * 1e3, _LATE_MS)], 1.0, unit="ms"),
        row_of(f"{what}: memory of poller and PostgreSQL / 1 GiB", [(memory, _MEMORY_MIB)], 1.0, unit="MiB"),
        row_of(f"{what}: checks that were due / that were made", [(due, max(made, 1))], 1.05, unit="checks"),
        row_of(f"{what}: CPU of poller and PostgreSQL / two cores", [(used / took * 1e3, _CORES * 1e3)], None,
               unit="ms/s"),
        row_of(f"{what}: CPU of the bots themselves / two cores", [(bots_used / took * 1e3, _CORES * 1e3)], None,
               unit="ms/s"),
        row_of(f"{what}: updates of health rows / those that were HOT",
               [(now_changed - changed, max(now_hot - hot, 1))], 1.0, unit="rows"),
    ]  # fmt: skip
