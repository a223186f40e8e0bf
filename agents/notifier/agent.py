"""The notifier agent: a few jobs side by side, so that a relay that hangs keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import contextlib
from typing import ClassVar, Protocol

from agents.agent import Agent
from agents.notifier.carriers import carrier_for
from agents.notifier.exchange import Exchange
from agents.notifier.incidents import Incidents
from agents.notifier.letters import Letters
from agents.notifier.outbox import Outbox
from agents.notifier.telegram import Telegram
from agents.notifier.webhooks import Webhooks
from control_plane.database.away import DATABASE_AWAY

_LOOK_EVERY_S = 15.0
_AFTER_FAILURE_S = 1.0
_DRAIN_S = 20.0


class Job(Protocol):
    """One thing that the notifier does. Looks at rows: a notification on ``channel`` only makes it look sooner."""

    channel: ClassVar[str]

    async def work(self) -> float:
        """One pass over what is due. Returns the seconds until the next one if nothing wakes the job earlier."""
        ...

    async def close(self) -> None:
        """Give back what the job holds."""
        ...


class Notifier(Agent):
    """Sends mails, asks the OpenID provider, judges alerts and tells them. Any number may run: what one has claimed is
    its alone."""

    kind: ClassVar[str] = "notifier"
    channels: ClassVar[tuple[str, ...]] = (Outbox.channel, Exchange.channel, Incidents.channel)

    async def open(self) -> None:
        """Begin each job in a task of its own."""
        self._bells: list[asyncio.Event] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._jobs = self.jobs()
        for job in self._jobs:
            bell = asyncio.Event()
            self._bells.append(bell)
            self._tasks.append(asyncio.create_task(self._run(job, bell)))

    def jobs(self) -> list[Job]:
        """What this agent does. A further job is one more line here and its channel above."""
        return [
            Outbox(self.pool, self.vault, carrier_for(self.settings), self.settings.mail_from, self.detail),
            Exchange(self.settings, self.pool, self.vault),
            Incidents(self.settings, self.pool, self.detail),
            Webhooks(self.settings, self.pool, self.vault, self.detail),
            Telegram(self.settings, self.pool, self.vault, self.detail),
            Letters(self.pool, self.settings.public_url, self.detail),
        ]

    async def work(self, woken: frozenset[str]) -> float:  # noqa: ARG002 - each job finds what is due by looking
        """Have every job look."""
        for task in self._tasks:
            if task.done() and not self.stopping.is_set():
                task.result()  # a fault in a job ends the process with it, and the supervisor starts another
        for bell in self._bells:
            bell.set()
        return _LOOK_EVERY_S

    async def close(self) -> None:
        """Let each job end the pass it is in; what it has not got to waits for another notifier."""
        for bell in self._bells:
            bell.set()
        _, late = await asyncio.wait(self._tasks, timeout=_DRAIN_S)
        for task in late:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                self.log.error("job_failed", error=type(result).__name__)
        for job in self._jobs:
            await job.close()

    async def _run(self, job: Job, bell: asyncio.Event) -> None:
        while not self.stopping.is_set():
            bell.clear()
            try:
                delay = await job.work()
            except DATABASE_AWAY as error:
                delay = _AFTER_FAILURE_S
                self.log.warning("pass_failed", job=job.channel, error=type(error).__name__, detail=str(error)[:200])
            if self.stopping.is_set():
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), delay)
