"""Threads for a client that blocks, in lanes: what takes long or hangs holds up nothing but its like.

A listing never waits behind a launch, the end of one bot never behind the launches of a hundred, and a copy whose call
once got no answer is dealt with among its like from then on, so that others find the threads free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

Lane = Literal["look", "launch", "act", "sample", "slow"]
#: How many calls run at once in each.
WIDTHS: Final[dict[Lane, int]] = {"look": 2, "launch": 10, "act": 8, "sample": 4, "slow": 4}


class Lanes:
    """Runs calls in threads. Threads are made when they are first needed."""

    def __init__(self) -> None:
        self._pools = {lane: ThreadPoolExecutor(width, f"engine-{lane}") for lane, width in WIDTHS.items()}
        self._hanging: set[str] = set()

    async def run(
        self, lane: Lane, about: str | None, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """``work`` in a thread of ``lane``; of the slow one where ``about``, a copy, hung before."""
        chosen: Lane = "slow" if about in self._hanging else lane
        return await asyncio.get_running_loop().run_in_executor(self._pools[chosen], lambda: work(*args, **kwargs))

    def hung(self, about: str | None) -> None:
        """A call about this copy got no answer in time."""
        if about is not None:
            self._hanging.add(about)

    def answered(self, about: str | None) -> None:
        """A call about this copy was answered."""
        if about is not None:
            self._hanging.discard(about)

    def close(self) -> None:
        """Wait for the calls under way; those that have not begun never do."""
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)
