"""Waiting for a condition instead of for a time: the only place in the tests that sleeps.

The deadline is generous because it is only ever reached by a failure; a condition that holds is seen within `every_s`.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

DEADLINE_S = 20.0
EVERY_S = 0.02


@overload
async def until(
    predicate: Callable[[], Awaitable[T]], *, deadline_s: float = ..., every_s: float = ..., what: str = ...
) -> T: ...


@overload
async def until(predicate: Callable[[], T], *, deadline_s: float = ..., every_s: float = ..., what: str = ...) -> T: ...


async def until(
    predicate: Callable[[], T | Awaitable[T]],
    *,
    deadline_s: float = DEADLINE_S,
    every_s: float = EVERY_S,
    what: str = "the condition",
) -> T:
    """Return the first truthy value of `predicate`, a plain or an async function, asked again and again.

    Raises AssertionError naming `what` and the latest value after `deadline_s` seconds.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        value = predicate()
        result: T = await value if inspect.isawaitable(value) else value
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(_too_late(what, deadline_s, result))
        await asyncio.sleep(every_s)


def until_sync(
    predicate: Callable[[], T], *, deadline_s: float = DEADLINE_S, every_s: float = EVERY_S, what: str = "the condition"
) -> T:
    """Do what `until` does, for tests without an event loop."""
    deadline = time.monotonic() + deadline_s
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(_too_late(what, deadline_s, result))
        time.sleep(every_s)
    return result


def _too_late(what: str, deadline_s: float, latest: object) -> str:
    return f"{what} did not come true within {deadline_s:g} s; its latest value was {latest!r}"
