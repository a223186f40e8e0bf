"""Faults are injected into an installation on the real engine, with the launcher as a process of its own."""

from __future__ import annotations

from tests.integration.launcher.conftest import rig

__all__ = ["rig"]
