"""What a bot's container is made of: labels, limits, and everything that is taken away from it.

Code that strangers wrote runs in here. Each line of `host_config` is asserted by a test, from outside by `inspect` and
from inside by what the kernel says.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import docker
from docker.types import HostConfig, LogConfig, Mount, Ulimit

from agents.launcher.runtimes.base import BOT_PORT, DATA_DIR, Spec

LABEL_INSTALLATION: Final = "io.tradewise.installation"
LABEL_TENANT: Final = "io.tradewise.tenant"
LABEL_BOT: Final = "io.tradewise.bot"
LABEL_GENERATION: Final = "io.tradewise.generation"
LABEL_INSTANCE: Final = "io.tradewise.instance"

USER: Final = "10001:10001"
CPU_PERIOD_US: Final = 100_000
CPU_QUOTA_US: Final = 100_000
PIDS: Final = 128
_TMPFS: Final = "rw,noexec,nosuid,nodev,size=64m,mode=1777"
_OOM_SCORE: Final = 500


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


def storage_name(installation: UUID, bot_id: UUID) -> str:
    """A bot's volume. The name follows from the bot, so that making it twice makes it once."""
    return f"tradewise-{installation.hex[:12]}-{bot_id.hex}"


def host_config(api: docker.APIClient, spec: Spec, *, network: str, volume: str) -> HostConfig:
    """The engine's side of a container: no privilege, no swap, no room to grow, one volume, at most one port."""
    published: dict[int | str, Any] = {}
    if spec.host_port is not None:
        published[f"{BOT_PORT}/tcp"] = (spec.publish_address, spec.host_port)
    return api.create_host_config(
        network_mode=network,
        port_bindings=published,
        mounts=[Mount(target=DATA_DIR, source=volume, type="volume")],
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        tmpfs={"/tmp": _TMPFS},  # noqa: S108 - inside the container, where it is the only writable place beside the volume
        mem_limit=spec.limits.memory_bytes,
        memswap_limit=spec.limits.memory_bytes,
        oom_score_adj=_OOM_SCORE,
        cpu_period=CPU_PERIOD_US,
        cpu_quota=CPU_QUOTA_US,
        pids_limit=PIDS,
        ulimits=[Ulimit(name="nofile", soft=4096, hard=8192), Ulimit(name="core", soft=0, hard=0)],
        init=True,
        # Two owners of restarts fight each other, and only one of them has a budget: the launcher is the owner.
        restart_policy={"Name": "no"},
        # A bot that writes faster than the disk must not stand still for it.
        log_config=LogConfig(
            type="local", config={"max-size": "5m", "max-file": "3", "mode": "non-blocking", "max-buffer-size": "1m"}
        ),
    )


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
    }
