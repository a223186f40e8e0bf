"""Keeps child processes alive: starts them, restarts those that die, ends them in order.

They also end when this process is killed: what nobody keeps alive any more must not stand in the way of the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from control_plane.leash import leashed

Say = Callable[[str], None]

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 10.0
_STEADY_AFTER_S = 20.0
_END_WITHIN_S = 25.0


class ChildSpec(msgspec.Struct, frozen=True):
    """A program to keep running. ``environment`` is the whole of it; ``document`` is written to standard input."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    document: bytes | None = None

    def __repr__(self) -> str:
        return f"ChildSpec(name={self.name!r})"


class Child:
    """One program, restarted with growing delays while it keeps dying."""

    def __init__(self, spec: ChildSpec, log: Path, say: Say) -> None:
        self.spec = spec
        self._log = log
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the living copy, if there is one."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def start(self) -> None:
        """Begin keeping it alive."""
        self._task = asyncio.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        delay = _FIRST_DELAY_S
        while not self._ending:
            began = time.monotonic()
            code = await self._run_once()
            if self._is_ending():
                return
            if time.monotonic() - began >= _STEADY_AFTER_S:
                delay = _FIRST_DELAY_S
            self._say(f"{self.spec.name} ended with {_words(code)}; again in {delay:g} s (its log: {self._log})")
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY_S)

    def _is_ending(self) -> bool:
        return self._ending

    async def _run_once(self) -> int:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *leashed(self.spec.arguments),
                env=dict(self.spec.environment),
                stdin=asyncio.subprocess.PIPE if self.spec.document is not None else asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if self.spec.document is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(self.spec.document)
                await self._process.stdin.drain()
            self._process.stdin.close()
        return await self._process.wait()

    async def end(self) -> None:
        """SIGTERM, then SIGKILL for one that does not go."""
        self._ending = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _END_WITHIN_S)
            except TimeoutError:
                self._say(f"{self.spec.name} did not end within {_END_WITHIN_S:g} s and is killed")
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


class Supervisor:
    """A set of children with their logs in one folder."""

    def __init__(self, folder: Path, say: Say) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._say = say
        self.children: dict[str, Child] = {}

    def start(self, spec: ChildSpec) -> Child:
        """Start one more child."""
        child = Child(spec, self._folder / f"{spec.name.replace(' ', '-')}.log", self._say)
        self.children[spec.name] = child
        child.start()
        return child

    async def end(self) -> None:
        """End all children, those that were started last first and together."""
        await asyncio.gather(*(child.end() for child in reversed(self.children.values())))


def own_command(*arguments: str) -> tuple[str, ...]:
    """This very program with other arguments, whatever it was started by."""
    return (sys.executable, "-m", "control_plane", *arguments)


def inherited(
    names: tuple[str, ...] = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "XDG_RUNTIME_DIR"),
) -> dict[str, str]:
    """What a child takes over from our environment besides its own settings: nothing that could be a secret."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _words(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
