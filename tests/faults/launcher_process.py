"""The launcher as it runs in production: the command, its own process, its own role; killed without warning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.launcher.rig import Rig

ROOT = Path(__file__).resolve().parents[2]


class LauncherProcess:
    """One process at a time; what all of them said is kept in one file."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.log = folder / "launcher.log"
        settings = rig.settings
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWISE_")}
        self._environ = {
            **inherited,
            "TRADEWISE_AGENT_DATABASE_URL": rig.urls["agent_launcher"],
            "TRADEWISE_KEK_FILE": str(settings.effective_kek_file),
            "TRADEWISE_DOCKER_HOST": settings.docker_host or "",
            "TRADEWISE_PAPER_BOT_IMAGE": settings.paper_bot_image,
            "TRADEWISE_IMAGE_PULL": "never",
            "TRADEWISE_RECONCILE_INTERVAL": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start a launcher."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "control_plane", "agent", "launcher"),
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """End it as a power cut would. Nothing of it runs on: no handler, no clean-up."""
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        status = self._process.wait(60)
        self._process = None
        return status
