"""The poller as operators run it: `tradewise agent poller`, a process of its own, seen by its metrics and by /proc."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from tests.e2e.machine import TRADEWISE, free_port
from tests.waiting import until

_READY_WITHIN_S = 60.0
_ENDS_WITHIN_S = 60.0
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

#: A sample's labels, and its value.
Samples: TypeAlias = list[tuple[dict[str, str], float]]


class PollerProcess:
    """A poller that runs."""

    def __init__(self, process: asyncio.subprocess.Process, metrics_port: int, said: Path) -> None:
        self.process = process
        self.said = said
        self._metrics_port = metrics_port

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def ready(self) -> bool:
        """Whether its last pass went well. Raises where it has ended."""
        if not self.running:
            raise AssertionError(f"the poller ended with {self.process.returncode}:\n{self.words()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def words(self) -> str:
        """What it has said last."""
        return self.said.read_text("utf-8", "replace")[-4000:]

    async def metrics(self) -> dict[str, Samples]:
        """What it tells of itself now."""
        url = f"http://127.0.0.1:{self._metrics_port}/metrics"

        def fetch() -> str:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return str(answer.read().decode())

        return parsed(await asyncio.to_thread(fetch))

    async def stop(self) -> None:
        """End it in order, giving its bots back."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), _ENDS_WITHIN_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


def parsed(text: str) -> dict[str, Samples]:
    """Prometheus' text format, as far as our own metrics go."""
    found: dict[str, Samples] = defaultdict(list)
    for line in text.splitlines():
        if sample := _SAMPLE.match(line):
            name, labels, value = sample.groups()
            found[name].append((dict(_LABEL.findall(labels or "")), float(value)))
    return found


@asynccontextmanager
async def poller_process(url: str, kek_file: Path, environ: Mapping[str, str]) -> AsyncIterator[PollerProcess]:
    """A poller on the database at ``url`` for as long as the block lasts; ``environ`` are its settings."""
    port = free_port()
    env = {name: text for name, text in os.environ.items() if not name.startswith("TRADEWISE_")}
    env |= {
        "TRADEWISE_AGENT_DATABASE_URL": url,
        "TRADEWISE_KEK_FILE": str(kek_file),
        "TRADEWISE_METRICS_PORT": str(port),
        "TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8",
        **environ,
    }
    with tempfile.TemporaryDirectory(prefix="tw-poller-") as folder:
        said = Path(folder) / "said.txt"
        with said.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                str(TRADEWISE), "agent", "poller", cwd=folder, env=env, stdin=asyncio.subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
        poller = PollerProcess(process, port, said)
        try:
            await until(
                lambda: asyncio.to_thread(poller.ready), deadline_s=_READY_WITHIN_S, every_s=0.1, what="a poller ready"
            )
            yield poller
        finally:
            await poller.stop()
