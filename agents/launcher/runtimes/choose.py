"""The runtime that the settings name, set up as they say."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from agents.launcher.runtimes.docker import DockerRuntime
from control_plane.settings import Settings


def runtime_of(
    settings: Settings, installation: UUID, *, kind: Callable[..., DockerRuntime] = DockerRuntime
) -> DockerRuntime:
    """A runtime for one installation; it looks for its engine at the first call."""
    return kind(
        settings.docker_host,
        installation,
        subnets=settings.bot_subnets,
        guard_image=settings.effective_guard_image,
    )
