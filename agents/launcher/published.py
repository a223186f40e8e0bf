"""Whether a copy can be reached where it should be: pure, from the one listing that is there anyway."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from agents.launcher.runtimes.base import Observed

REASON: Final = "port_conflict"
#: How long after its start a copy may be listed without the port that it was started with.
SETTLED_S: Final = 5.0


def misplaced(own: Observed, address: str | None, port: int | None, started_at: datetime, now: datetime) -> str | None:
    """What is wrong with where a running copy can be reached, in words; None where all is as it was leased.

    The engine's listing tells where each copy is published. One that is published nowhere, or elsewhere than the
    settings say by now, answers nobody: it has to be started anew.
    """
    if own.published is None or port is None or address is None or (address, port) in own.published:
        return None
    if now - started_at < timedelta(seconds=SETTLED_S):
        return None
    if not own.published:
        return f"It ran, but the engine had lost its port {port}"
    return f"It was published elsewhere than at {address}, port {port}, where it is looked for"
