"""Asking a stranger's program: what it raises ends its own look alone, and who gives it up need not wait for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any


class EndedError(RuntimeError):
    """The program raised what ends a task or a process, such as `SystemExit`: ``raised`` is that."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__("the engine of a plug-in ends what runs it")
        self.raised = raised


class StuckError(RuntimeError):
    """An earlier call was given up, and the program does not end it."""


class Asking:
    """Runs a program's calls, each as a task of its own."""

    def __init__(self) -> None:
        self._given_up: defaultdict[Hashable, set[asyncio.Task[Any]]] = defaultdict(set)

    async def of(self, place: Hashable, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What the program tells of ``place``, or raises.

        Raises :class:`EndedError`, and :class:`StuckError` without asking. When this is cancelled it ends at once: a
        program that holds on to its task keeps that one alone, and is not asked about the place until it lets go.
        """
        if self._given_up.get(place):
            raise StuckError("the engine of a plug-in does not end a call that was given up")
        task = asyncio.create_task(_caught(ask))
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            self._give_up(place, task)
            raise
        told, error = task.result()
        if error is not None:
            raise error
        return told

    def _give_up(self, place: Hashable, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._given_up[place].add(task)
        task.add_done_callback(lambda ended: self._forget(place, ended))

    def _forget(self, place: Hashable, ended: asyncio.Task[Any]) -> None:
        left = self._given_up[place]
        left.discard(ended)
        if not left:
            del self._given_up[place]


async def _caught(ask: Callable[[], Awaitable[Any]]) -> tuple[Any, Exception | None]:
    """What was told, or what was raised: a task that raises `KeyboardInterrupt` or `SystemExit` would end the loop."""
    task = asyncio.current_task()
    try:
        return await ask(), None
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling():
            raise
        return None, EndedError(error)
    except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
        return None, error
    except (SystemExit, KeyboardInterrupt) as error:
        return None, EndedError(error)
