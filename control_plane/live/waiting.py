"""How long a stream is silent before it says that it is still there."""

from __future__ import annotations

import asyncio
import contextlib
import time

QUIET_S = 15.0


async def quiet_until(pulse: asyncio.Event, told: float, *, sent: bool) -> bool:
    """Wait for ``pulse``, unless something was just sent; True where it is time to say that one is there."""
    if sent:
        return False
    left = QUIET_S - (time.monotonic() - told)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.05, left)):
            await pulse.wait()
    return time.monotonic() - told >= QUIET_S
