"""What engines have in common: one call that answers for many bots, calls that a look can do without, and secrets as
keys that tell nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from agents.egress import EgressError
from control_plane.security.addresses import BotUrl

V = TypeVar("V")

#: How long after a look began it may wait for what it can do without, in seconds: the poller gives a look 20 s in all,
#: and what was told early must not be lost to what comes late.
FIGURES_S: Final = 17.0

_MOST_KEPT: Final = 4096
_KEY: Final = secrets.token_bytes(32)
_OLDEST: Final[ContextVar[float]] = ContextVar("oldest", default=float("-inf"))


def key_of(url: BotUrl, *secret: str | None) -> bytes:
    """The same for one origin, prefix and credential within this process, and of no use to whoever reads it."""
    mixed = hashlib.blake2b(key=_KEY, digest_size=32)
    for part in (str(url), *secret):
        encoded = b"" if part is None else part.encode()
        mixed.update(len(encoded).to_bytes(4, "big") + encoded)
    return mixed.digest()


async def all_told(calls: Awaitable[object], until: float) -> bool:
    """Make calls that a look can do without, until one is not answered in time or the loop's clock says `until`.

    Whether all were answered. Raises whatever else becomes of them.
    """
    try:
        async with asyncio.timeout_at(until):
            await calls
    except TimeoutError:
        return False
    except EgressError as error:
        if error.code == "timeout":
            return False
        raise
    return True


@contextmanager
def no_older_than(moment: float) -> Iterator[None]:
    """Within the block nobody is told what was asked for before ``moment``, in monotonic seconds.

    For who wants to know what became of something that was done then. Not an argument of every engine's look: most have
    nothing to share.
    """
    token = _OLDEST.set(moment)
    try:
        yield
    finally:
        _OLDEST.reset(token)


@dataclass(slots=True)
class _Call(Generic[V]):
    task: asyncio.Task[V]
    began: float
    waiting: int = 0


class Shared(Generic[V]):
    """Answers by key, for a short time: whoever asks while one is on its way, or fresh, takes part in it.

    A failure is shared with those who wait for it and never kept: the next look asks again. Belongs to one event loop.
    """

    def __init__(self, fresh_for_s: float) -> None:
        self._fresh_for_s = fresh_for_s
        self._kept: OrderedDict[bytes, tuple[float, V]] = OrderedDict()
        self._running: dict[bytes, _Call[V]] = {}

    async def get(self, key: bytes, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer for ``key``: kept, on its way, or asked for now. Raises what ``ask`` raises."""
        kept, now, oldest = self._kept.get(key), time.monotonic(), _OLDEST.get()
        if kept is not None and now - kept[0] < self._fresh_for_s and kept[0] >= oldest:
            return kept[1]
        call = self._running.get(key)
        if call is None or call.began < oldest:
            # One that began too early goes on for those who wait for it.
            call = self._running[key] = _Call(asyncio.ensure_future(self._ask(key, now, ask)), now)
        call.waiting += 1
        try:
            # The one who began it may be out of time: the others are not.
            return await asyncio.shield(call.task)
        finally:
            call.waiting -= 1
            if call.waiting == 0 and not call.task.done():
                call.task.cancel()
                if self._running.get(key) is call:
                    del self._running[key]

    def forget(self, key: bytes) -> None:
        """The next look asks anew: something was done that changes the answer."""
        self._kept.pop(key, None)
        self._running.pop(key, None)

    async def _ask(self, key: bytes, began: float, ask: Callable[[], Awaitable[V]]) -> V:
        try:
            answer = await ask()
        finally:
            mine = self._running.get(key)
            current = mine is not None and mine.task is asyncio.current_task()
            if current:
                del self._running[key]
        if current:
            self._keep(key, began, answer)
        return answer

    def _keep(self, key: bytes, began: float, answer: V) -> None:
        self._kept[key] = (began, answer)
        self._kept.move_to_end(key)
        now = time.monotonic()
        # Oldest first: what is over goes, and what is too much.
        while self._kept:
            oldest, (at, _) = next(iter(self._kept.items()))
            if len(self._kept) <= _MOST_KEPT and now - at < self._fresh_for_s:
                return
            del self._kept[oldest]
