"""What a Docker engine says of containers and images, in our words. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from agents.launcher.runtimes.base import BOT_PORT, Image, Observed
from agents.launcher.runtimes.docker_profile import LABEL_BOT, LABEL_INSTANCE, label_uuid

_MOST_BYTES: Final = 262_144


def _published(ports: list[dict[str, Any]] | None) -> frozenset[tuple[str, int]]:
    """Where a listed container's port leads in from; empty where nothing does."""
    return frozenset(
        (str(port.get("IP") or ""), int(port["PublicPort"]))
        for port in ports or ()
        if port.get("PublicPort") and port.get("PrivatePort") == BOT_PORT and port.get("Type") == "tcp"
    )


def observed_of(
    ref: str, status: str, labels: dict[str, str], published: frozenset[tuple[str, int]] | None = None
) -> Observed:
    """A container; ``published`` is where a listing says that its port leads in from."""
    return Observed(
        ref=ref,
        state=state_of(status),
        bot_id=label_uuid(labels.get(LABEL_BOT)),
        instance_id=label_uuid(labels.get(LABEL_INSTANCE)),
        published=published,
    )


def listed_of(item: dict[str, Any]) -> Observed:
    """A container as a listing has it."""
    seen = observed_of(item["Id"], item["State"], item.get("Labels") or {}, _published(item.get("Ports")))
    return msgspec.structs.replace(seen, created_at=datetime.fromtimestamp(item["Created"], UTC))


def image_of(found: Any) -> Image:
    """An image, with the digests that it was pulled by."""
    pulled = found.attrs.get("RepoDigests") or []
    return Image(str(found.id), frozenset(name.rpartition("@")[2] for name in pulled))


def state_of(status: str) -> Any:
    """The engine's seven states as our three. A paused container is a live one."""
    if status == "created":
        return "created"
    return "running" if status in {"running", "paused", "restarting"} else "exited"


def lines_of(said: bytes) -> tuple[str, ...]:
    """The last whole lines, without what the database cannot store. They are as the bot wrote them, not redacted."""
    lines = said[-_MOST_BYTES:].decode("utf-8", "replace").replace("\0", "").splitlines()
    return tuple(lines[1:] if len(said) > _MOST_BYTES else lines)
