"""Where agents reach the bots that we run."""

from __future__ import annotations

from typing import Final

_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what the launcher publishes on, not what we bind to


def reached_at(publish_address: str) -> str:
    """The address to call for what is published on ``publish_address``."""
    return _ANYWHERE.get(publish_address, publish_address)
