"""What the poller costs: for what it writes, at an even pace, and with a hundred thousand bots."""

from __future__ import annotations

import os
from typing import Final

from tests.bench.crowd import crowds, measure_crowd
from tests.bench.harness import Row
from tests.bench.pace import Pace, measure_pace
from tests.bench.recording import Recording, measure_recording
from tests.factories import Urls

METHOD: Final = """
CPU is user and system time as the kernel counts it for a process with all its threads: of the real `tradewise agent
poller` and of every process of PostgreSQL (fsync on, everything as embedded), its own children's included. The bots are
a process of their own, which counts as nobody's.

- *At an even pace*: every bot on a port of its own, credentials really sealed, a full reading every fourth look. The
  poller, a bare loop of aiohttp on uvloop and Debian's prometheus-blackbox-exporter take turns, in turning order; each
  comes to its pace before its window begins. The bare loop makes the requests that the poller was seen to make, as
  often as it made them, keeps its connections, decodes each answer, and starts what is due every 50 ms: spread
  evenly it would cost more. The exporter makes one request with the credential a probe, on a new connection as
  it always does.
- *A crowd*: each bot at an address of its own in 127.0.0.0/8; of a hundred, two hang, one refuses connections, one
  answers 503 and one with what is no JSON. Their rows tell of looks spread over the last interval, as by a poller that
  has just ended. Ours opens the credential of each and makes it a connection; the window begins half a minute after
  it has looked at all of them. Poller and PostgreSQL are held to two cores; where the machine has no more, the bots are
  on them too. Lateness is the poller's own metric, interpolated within its bucket. Memory is what the processes hold
  with what they share counted once, at its highest.
- *Recording*: the recorder that the poller uses, from results in memory to committed rows, beside a binary COPY of
  exactly the rows that came of it, health and snapshot, into tables without index, key or policy. Vacuum is off while
  either runs.

Sizes are set by `BENCH_PACED_BOTS`, `BENCH_PACED_RATE`, `BENCH_PACED_ROUNDS`, `BENCH_CROWD_BOTS` (several, with
commas), `BENCH_CROWD_INTERVAL`, `BENCH_RESULTS` and the like in `tests/bench/`;
`BENCH_POLLER=recording,pace,crowd` chooses.
"""


async def measure(urls: Urls) -> list[Row]:
    """What is chosen of the three, the heaviest last."""
    rows: list[Row] = []
    chosen = os.environ.get("BENCH_POLLER", "recording,pace,crowd").split(",")
    if "recording" in chosen:
        rows += await measure_recording(urls, Recording())
    if "pace" in chosen:
        rows += await measure_pace(urls, Pace())
    if "crowd" in chosen:
        for crowd in crowds():
            rows += await measure_crowd(urls, crowd)
    return rows
