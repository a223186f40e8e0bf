"""One timer for everything that must end in time."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

_GRAIN_S = 0.01
"""Whose time is over in so little more is over now: together cheaper, and no turn passes to one that is to expire."""


class Waiting(Protocol):
    """Something that waits and can be told to stop; hashed by identity."""

    deadline: float

    def expire(self) -> None:
        """The time is over."""
        ...


class Spell:
    """A time in which a block has to end: else its task is cancelled, and the block raises `TimeoutError`.

    What `asyncio.timeout` is, on the timer of `Deadlines`. For one block.
    """

    __slots__ = ("_before", "_deadlines", "_over", "_task", "deadline")

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadline = 0.0
        self._deadlines = deadlines
        self._over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be told that its time is over")
        self._task = task
        self._before = task.cancelling()
        self._deadlines.watch(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._deadlines.forget(self)
        if not self._over:
            return
        # Cancelled by somebody else as well: then it ends as they want.
        if self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """The time is over."""
        self._over = True
        self._task.cancel()


class Deadlines:
    """All wait equally long, so who began first ends first, and one timer, for that one, serves them all.

    A timer for each call would cost as much as parsing its answer; this one is set about once a budget.
    """

    __slots__ = ("_seconds", "_timer", "_waiting")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Waiting, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def watch(self, waiting: Waiting) -> float:
        """Expire `waiting` in so many seconds unless it is forgotten before. Returns the time now."""
        now = time.monotonic()
        waiting.deadline = now + self._seconds
        self._waiting[waiting] = None
        if self._timer is None:
            self._arm(self._seconds)
        return now

    def forget(self, waiting: Waiting) -> None:
        """It no longer waits."""
        self._waiting.pop(waiting, None)

    def close(self) -> None:
        """Let the timer go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(seconds, _GRAIN_S), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = time.monotonic() + _GRAIN_S
        over = []
        for waiting in self._waiting:
            if waiting.deadline > now:
                self._arm(waiting.deadline - now + _GRAIN_S)
                break
            over.append(waiting)
        for waiting in over:
            del self._waiting[waiting]
        for waiting in over:
            waiting.expire()
