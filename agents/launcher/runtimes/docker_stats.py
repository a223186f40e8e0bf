"""What a container uses, by one question that the engine answers at once (it else waits a second for a difference)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import docker
from docker.errors import APIError, NotFound

from agents.launcher.runtimes.base import Stats


def read_stats(client: docker.DockerClient, ref: str) -> Stats | None:
    """The present figures of a container, None where it does not run."""
    try:
        # Engines before 20.10 know no single shot and take the second.
        said = client.api.stats(ref, stream=False, one_shot=True)
    except NotFound:
        return None
    except APIError as error:
        if error.status_code == 409:
            return None
        raise
    return stats_of(said, datetime.now(UTC))


def stats_of(said: Any, now: datetime) -> Stats | None:
    """The engine's document as ours. What it does not tell is unknown; nothing at all where nothing runs."""
    pids, memory = said.get("pids_stats") or {}, said.get("memory_stats") or {}
    if not pids.get("current") and not memory.get("usage"):
        return None
    networks = said.get("networks")
    cpu = ((said.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
    return Stats(
        at=now,
        cpu_seconds=cpu / 1e9 if cpu is not None else None,
        memory_bytes=_resident(memory),
        memory_limit_bytes=memory.get("limit"),
        received_bytes=sum(card["rx_bytes"] for card in networks.values()) if networks is not None else None,
        sent_bytes=sum(card["tx_bytes"] for card in networks.values()) if networks is not None else None,
        processes=pids.get("current"),
    )


def _resident(memory: dict[str, Any]) -> int | None:
    """Without the part of the page cache that is given back under pressure, as `docker stats` shows it."""
    usage = memory.get("usage")
    if usage is None:
        return None
    more = memory.get("stats") or {}
    cache = more.get("total_inactive_file", more.get("inactive_file", 0))
    return max(0, int(usage) - int(cache))
