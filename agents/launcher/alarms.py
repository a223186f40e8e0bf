"""When to look again: one alarm a bot, so that looks do not multiply; on whole seconds, so that many share one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

_SHARED_FROM_S: Final = 0.9


class Alarms:
    """Calls ``wake`` with a bot's id, or with None for all of them, at the earliest moment that was asked for."""

    def __init__(self, wake: Callable[[str | None], None]) -> None:
        self._wake = wake
        #: With the moment of each: what a loop gives back for one that is due at once need not know it.
        self._set: dict[str | None, tuple[float, asyncio.Handle]] = {}

    def set(self, identity: str | None, seconds: float) -> None:
        """Look at ``identity`` within about ``seconds``; what is not urgent waits for the next whole second."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if seconds >= _SHARED_FROM_S:
            at = math.ceil(at)
        earlier = self._set.get(identity)
        if earlier is not None:
            if earlier[0] <= at:
                return
            earlier[1].cancel()
        self._set[identity] = (at, loop.call_at(at, self._ring, identity))

    def close(self) -> None:
        """Ring no more."""
        for _, alarm in self._set.values():
            alarm.cancel()
        self._set.clear()

    def _ring(self, identity: str | None) -> None:
        self._set.pop(identity, None)
        self._wake(identity)
