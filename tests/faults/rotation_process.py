"""The scheduler and the command line as they run in production, each a process of its own; killed without warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from control_plane.settings import Settings
from tests.factories import Urls

ROOT = Path(__file__).resolve().parents[2]


def program(settings: Settings, urls: Urls, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start ``tradewise`` with ``arguments`` as the scheduler's role, with the key file of ``settings``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWISE_")}
    environ = {
        **inherited,
        "TRADEWISE_AGENT_DATABASE_URL": urls["agent_scheduler"],
        "TRADEWISE_KEK_FILE": str(settings.effective_kek_file),
    }
    with log.open("ab") as file:
        return subprocess.Popen(
            (sys.executable, "-m", "control_plane", *arguments),
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
