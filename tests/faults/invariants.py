"""What must hold after every fault, asked of the database and of the engine.

Desired equals observed · one copy a bot · no orphan · no port lost · no restart of a healthy bot.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import asyncpg
import docker
import msgspec
import requests
import urllib3
from docker.errors import DockerException, NotFound

from agents.launcher.engine import open_client
from agents.launcher.runtimes.docker_profile import LABEL_BOT, LABEL_INSTALLATION, LABEL_INSTANCE
from tests.integration.launcher.rig import Rig
from tests.waiting import until

_ROWS = """
    select b.id, b.desired, b.status, b.reason, b.generation, b.observed_generation, b.exposed_host_port,
        b.deleted_at is not null as deleted, h.state as health, h.observed_generation as seen_generation,
        h.healthy_at, h.engine_lost_at, i.id as instance_id, i.generation as instance_generation,
        i.state as instance_state, i.container_id, i.host_port, i.started_at
    from bots b join bot_health h on h.id = b.id
    left join bot_instances i on i.bot_id = b.id and i.released_at is null
    where b.bot_type <> 'external' order by b.id
"""


class Copy(msgspec.Struct, frozen=True):
    """A container that runs, told from the same one after a restart."""

    ref: str
    started_at: str


def copies(rig: Rig, only: Collection[UUID] | None = None) -> dict[UUID, Copy]:
    """The running copy of each bot, by the engine; with ``only``, of those."""
    found = {}
    for item in rig.containers():
        if only is not None and UUID(item["Labels"][LABEL_BOT]) not in only:
            continue
        with contextlib.suppress(NotFound):
            seen = rig.engine.api.inspect_container(item["Id"])
            if seen["State"]["Running"]:
                found[UUID(item["Labels"][LABEL_BOT])] = Copy(item["Id"], seen["State"]["StartedAt"])
    return found


async def broken(rig: Rig, *, untouched: Mapping[UUID, Copy], errors: Mapping[UUID, str]) -> list[str]:
    """What does not hold, in words. ``untouched`` had no share in the fault; ``errors`` end with that reason."""
    rows = await rig.admin.fetch(_ROWS)
    containers = defaultdict(list)
    for item in rig.containers():
        containers[UUID(item["Labels"][LABEL_BOT])].append(item)
    found = [f"orphan: {bot} is no bot" for bot in containers.keys() - {row["id"] for row in rows}]
    for row in rows:
        mine = containers[row["id"]]
        if row["id"] in errors or row["deleted"] or row["desired"] != "running":
            found += _at_rest(row, mine, errors.get(row["id"]))
        else:
            found += _in_work(row, mine)
    found += await _ports(rig, rows)
    if untouched and not found:
        # Asked one by one, so only when the rest is well: what was restarted stays so.
        now = copies(rig, untouched)
        found += [f"restarted: {bot}" for bot, copy in untouched.items() if now.get(bot) != copy]
    return found


def _at_rest(row: asyncpg.Record, containers: list[Any], error: str | None) -> list[str]:
    """Of a bot that should not run, or cannot."""
    wanted = ("error", error) if error else ("inactive", row["reason"])
    found = []
    if (row["status"], row["reason"]) != wanted or row["observed_generation"] != row["generation"]:
        found.append(f"desired: {row['id']} is {row['status']} ({row['reason']}) instead of {wanted}")
    if containers or row["instance_id"] is not None:
        found.append(f"copies: {row['id']} has {len(containers)} containers, instance {row['instance_id']}")
    if row["exposed_host_port"] is not None:
        found.append(f"port: {row['id']} shows {row['exposed_host_port']}")
    return found


def _in_work(row: asyncpg.Record, containers: list[Any]) -> list[str]:
    found = []
    told = (row["status"], row["health"], row["observed_generation"], row["seen_generation"])
    well = row["healthy_at"] is not None and row["started_at"] is not None and row["healthy_at"] >= row["started_at"]
    well = well and row["engine_lost_at"] is None
    if told != ("running", "healthy", row["generation"], row["generation"]) or not well:
        found.append(f"desired: {row['id']} is {told} ({row['reason']})")
    live = (row["container_id"], str(row["instance_id"]), "running", row["generation"])
    there = [
        (item["Id"], item["Labels"][LABEL_INSTANCE], item["State"], row["instance_generation"]) for item in containers
    ]
    if there != [live] or row["instance_state"] != "running":
        found.append(f"copies: {row['id']} has {there}, and {live} ({row['instance_state']}) is written down")
    published = [port.get("PublicPort") for item in containers for port in item["Ports"]]
    if set(published) != {row["host_port"]} or row["exposed_host_port"] != row["host_port"]:
        shown = row["exposed_host_port"]
        found.append(f"port: {row['id']} has {published}, {row['host_port']} is written down, {shown} is shown")
    return found


async def _ports(rig: Rig, rows: list[asyncpg.Record]) -> list[str]:
    held = Counter(row["host_port"] for row in rows if row["host_port"] is not None)
    found = [f"port: {port} has {count} bots" for port, count in held.items() if count > 1]
    if await rig.admin.fetchval("select to_regclass('port_leases') is not null"):
        query = "select port, instance_id from port_leases where state = 'leased'"
        leased = {(row["port"], row["instance_id"]) for row in await rig.admin.fetch(query)}
        live = {(row["host_port"], row["instance_id"]) for row in rows if row["host_port"] is not None}
        found += [f"port: lease {lease} has no copy" for lease in leased - live]
    return found


async def hold(
    rig: Rig,
    *,
    untouched: Mapping[UUID, Copy] | None = None,
    errors: Mapping[UUID, str] | None = None,
    deadline_s: float = 60.0,
) -> None:
    """Wait until all five hold. Raises AssertionError with what does not."""
    latest: list[str] = []

    async def sound() -> bool:
        latest[:] = await broken(rig, untouched=untouched or {}, errors=errors or {})
        return not latest

    try:
        await until(sound, deadline_s=deadline_s, every_s=0.2, what="all that must hold after a fault")
    except AssertionError as late:
        raise AssertionError("\n".join([str(late), *latest])) from None


class CopyWatch:
    """Counts by the engine's events how many copies of one bot ever ran at once. Use as ``with``."""

    def __init__(self, url: str, installation: UUID) -> None:
        self._client: docker.DockerClient = open_client(url)
        self._label = f"{LABEL_INSTALLATION}={installation}"
        self._running: defaultdict[str, set[str]] = defaultdict(set)
        self._stream: Any = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.most = 0
        """The most copies of one bot at once, so far."""

    def __enter__(self) -> Self:
        filters = {"type": "container", "event": ["start", "die"], "label": self._label}
        self._stream = self._client.api.events(decode=True, filters=filters)
        for item in self._client.api.containers(filters={"label": self._label}):
            self._running[item["Labels"][LABEL_BOT]].add(item["Id"])
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, AttributeError, DockerException):
            self._stream.close()
        self._thread.join(5)
        self._client.close()

    def _follow(self) -> None:
        with contextlib.suppress(DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError,
                ValueError, AttributeError):  # fmt: skip
            for event in self._stream:
                mine = self._running[event["Actor"]["Attributes"][LABEL_BOT]]
                if event["Action"] == "start":
                    mine.add(event["id"])
                    self.most = max(self.most, len(mine))
                else:
                    mine.discard(event["id"])
