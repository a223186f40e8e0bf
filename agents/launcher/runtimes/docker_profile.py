"""What a bot's container is made of: labels, limits, and everything that is taken away from it.

Code that strangers wrote runs in here. Each line of `host_config` is asserted by a test, from outside by `inspect` and
from inside by what the kernel says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import docker
from docker.types import HostConfig, LogConfig, Mount, Ulimit

from agents.launcher.runtimes.base import BOT_PORT, DATA_DIR, ContainmentUnavailable, Spec

LABEL_INSTALLATION: Final = "io.tradewise.installation"
LABEL_TENANT: Final = "io.tradewise.tenant"
LABEL_BOT: Final = "io.tradewise.bot"
LABEL_GENERATION: Final = "io.tradewise.generation"
LABEL_INSTANCE: Final = "io.tradewise.instance"

USER: Final = "10001:10001"
"""The same in every container: what keeps tenants apart is that none sees another's processes, files or network."""
STOP_GRACE_S: Final = 60
_CPU_PERIOD_US: Final = 100_000
_SHARES_A_CPU: Final = 1024
_RESERVED: Final = 0.8
_OOM_SCORE: Final = 500
_LOG_FILES: Final = 3
_SHARED_MEMORY: Final = "16m"
_TMPFS: Final = "rw,noexec,nosuid,nodev,size=64m,mode=1777"
# Owned by the bot: some runtimes give a tmpfs the mode of the folder that it hides, which is root's alone.
_RUN: Final = "rw,noexec,nosuid,nodev,size=8m,mode=0700,uid=10001,gid=10001"


def confinement(offered: Sequence[str]) -> list[str]:
    """What of an engine's security options each container gets, by name, so that no default of the engine decides.

    ``offered`` is what the engine says of itself: ``name=seccomp,profile=default``. Raises ContainmentUnavailable where
    it lets containers make any call to the kernel.
    """
    found = dict(_parts(words) for words in offered)
    seccomp = found.get("seccomp")
    if seccomp is None or seccomp.get("profile") == "unconfined":
        raise ContainmentUnavailable(
            "the engine filters no system calls of containers: start it with its default seccomp profile"
        )
    return ["no-new-privileges", *(["apparmor=docker-default"] if "apparmor" in found else [])]


def _parts(words: str) -> tuple[str, dict[str, str]]:
    fields = dict(field.split("=", 1) for field in words.split(",") if "=" in field)
    return fields.get("name", words), fields


def installation_labels(installation: UUID) -> dict[str, str]:
    """What tells our things from another installation's on the same engine."""
    return {LABEL_INSTALLATION: str(installation)}


def storage_labels(installation: UUID, bot_id: UUID) -> dict[str, str]:
    """Labels of a bot's volume."""
    return {**installation_labels(installation), LABEL_BOT: str(bot_id)}


def container_labels(installation: UUID, spec: Spec) -> dict[str, str]:
    """Labels of a bot's container. Containers are found by these alone."""
    return {
        **storage_labels(installation, spec.bot_id),
        LABEL_TENANT: str(spec.tenant_id),
        LABEL_GENERATION: str(spec.generation),
        LABEL_INSTANCE: str(spec.instance_id),
    }


def label_uuid(text: str | None) -> UUID | None:
    """The id that a label holds, None where it holds none."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def storage_name(installation: UUID, bot_id: UUID) -> str:
    """A bot's volume. The name follows from the bot, so that making it twice makes it once."""
    return f"tradewise-{installation.hex[:12]}-{bot_id.hex}"


def host_config(api: docker.APIClient, spec: Spec, *, network: str, volume: str, confines: Sequence[str]) -> HostConfig:
    """The engine's side of a container: no privilege, no swap, no room to grow, one volume, at most one port."""
    published: dict[int | str, Any] = {}
    if spec.host_port is not None:
        published[f"{BOT_PORT}/tcp"] = (spec.publish_address, spec.host_port)
    limits = spec.limits
    return api.create_host_config(
        network_mode=network,
        port_bindings=published,
        mounts=[Mount(target=DATA_DIR, source=volume, type="volume")],
        cap_drop=["ALL"],
        security_opt=list(confines),
        privileged=False,
        read_only=True,
        # The only writable places beside the volume.
        tmpfs={"/tmp": _TMPFS, "/run": _RUN},  # noqa: S108 - inside the container
        shm_size=_SHARED_MEMORY,
        mem_limit=limits.memory_bytes,
        memswap_limit=limits.memory_bytes,
        mem_reservation=int(limits.memory_bytes * _RESERVED),
        # Where memory is short, a bot is ended (and started again) before anything of the host.
        oom_kill_disable=False,
        oom_score_adj=_OOM_SCORE,
        cpu_period=_CPU_PERIOD_US,
        cpu_quota=int(limits.cpus * _CPU_PERIOD_US),
        cpu_shares=max(2, int(limits.cpus * _SHARES_A_CPU)),
        pids_limit=limits.processes,
        ulimits=_ulimits(spec),
        init=True,
        ipc_mode="private",
        cgroupns="private",
        # Two owners of restarts fight each other, and only one of them has a budget: the launcher is the owner.
        restart_policy={"Name": "no"},
        # A bot that writes faster than the disk must not stand still for it.
        log_config=LogConfig(
            type="local",
            config={
                "max-size": str(limits.log_bytes // _LOG_FILES),
                "max-file": str(_LOG_FILES),
                "mode": "non-blocking",
                "max-buffer-size": "1m",
            },
        ),
    )


def _ulimits(spec: Spec) -> list[Ulimit]:
    """Limits of each process. No `nproc`: the kernel counts it over all containers of one user, so that bots would take
    each other's processes away; `pids_limit` counts one container's."""
    limits = [
        Ulimit(name="nofile", soft=4096, hard=8192),
        Ulimit(name="core", soft=0, hard=0),
        Ulimit(name="memlock", soft=65536, hard=65536),
        # Counted over all containers of one user as well, and of no use to a bot.
        Ulimit(name="msgqueue", soft=0, hard=0),
    ]
    if spec.limits.disk_bytes is not None:
        limits.append(Ulimit(name="fsize", soft=spec.limits.disk_bytes, hard=spec.limits.disk_bytes))
    return limits


def create_arguments(installation: UUID, spec: Spec) -> dict[str, Any]:
    """The container's own side. Standard input opens once, for the hand-over; no environment is set."""
    return {
        "image": spec.image,
        # Unique, for people's eyes; nothing of ours ever looks a container up by it.
        "name": f"tradewise-bot-{spec.instance_id.hex}",
        "user": USER,
        "labels": container_labels(installation, spec),
        "ports": [(BOT_PORT, "tcp")],
        "stdin_open": True,
        "detach": False,
        # For whoever stops it past us, and for the engine when it ends; the launcher has a patience of its own.
        "stop_signal": "SIGTERM",
        "stop_timeout": STOP_GRACE_S,
    }
