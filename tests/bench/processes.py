"""Processes that are measured: how they are started and asked, and what the kernel says that they have used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.e2e.processes import descendants
from tests.waiting import until

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ANSWERS_WITHIN_S: Final = 30.0


async def passes(seconds: float) -> None:
    """Return when so much time has passed: what is measured goes on by itself."""
    ends = time.monotonic() + seconds
    every = min(0.25, max(seconds / 4, 0.01))
    await until(lambda: time.monotonic() >= ends, deadline_s=seconds + 10, every_s=every, what="the time")


class Asked:
    """A module run as a process that answers each line with a line of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.first: Any = None
        """What it said when it was ready."""

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def ask(self) -> Any:
        """What it tells now."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await self.read()

    async def read(self) -> Any:
        """Its next line."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _ANSWERS_WITHIN_S)
        if not line:
            raise RuntimeError("a process of the benchmark ended")
        return json.loads(line)


@asynccontextmanager
async def module(name: str, wanted: Any, *, announces: bool = False) -> AsyncIterator[Asked]:
    """``python -m name`` for as long as the block lasts, told ``wanted``."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", name, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**22
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(wanted).encode() + b"\n")
        await process.stdin.drain()
        asked = Asked(process)
        if announces:
            asked.first = await asked.read()
        yield asked
    finally:
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def postmaster_of(admin: asyncpg.Connection) -> int:
    """The process of the database server that all its others descend from."""
    backend: int = await admin.fetchval("select pg_backend_pid()")
    return int(_stat(backend)[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/pid/stat behind the name: state, parent and so on."""
    return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()


def cpu_s(pid: int) -> float:
    """Seconds of CPU, user and system, that a process has used in all its threads."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def family_cpu_s(pid: int) -> float:
    """The same of a process and its children, those included that have ended."""
    fields = _stat(pid)
    used = sum(map(int, fields[11:15])) / _TICKS
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            used += cpu_s(child)
    return used


def memory_mib(pids: Iterable[int]) -> float:
    """What processes hold, with what they share counted once."""
    used = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines():
                if line.startswith("Pss:"):
                    used += int(line.split()[1])
    return used / 1024


def pin(pids: Iterable[int], cores: set[int]) -> None:
    """Hold processes, with all their threads, to some of the machine's cores."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)
