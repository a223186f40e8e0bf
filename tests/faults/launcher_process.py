"""Launcher and poller as they run in production: processes of their own, in their own roles; killed without warning."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.launcher.rig import Rig

ROOT = Path(__file__).resolve().parents[2]
#: Not the operator's to set: how long restarts are put off, and until a launcher that is frozen is deposed.
PATIENCE = {"first_delay": 0.5, "longest_delay": 0.6, "silent_after_s": 7.0}


class AgentProcess:
    """One process at a time; what all of them said is kept in one file."""

    def __init__(
        self,
        kind: str,
        rig: Rig,
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
        url: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{kind}.log"
        settings = rig.settings
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWISE_")}
        self.environ = {
            **inherited,
            "TRADEWISE_AGENT_DATABASE_URL": url or rig.urls[f"agent_{kind}"],
            "TRADEWISE_KEK_FILE": str(settings.effective_kek_file),
            "TRADEWISE_DOCKER_HOST": settings.docker_host or "",
            "TRADEWISE_PAPER_BOT_IMAGE": settings.paper_bot_image,
            "TRADEWISE_IMAGE_PULL": "never",
            "TRADEWISE_RECONCILE_INTERVAL": "1",
            "TRADEWISE_POLL_INTERVAL": "0.5",
            "TRADEWISE_READING_INTERVAL": "0.5",
            "TRADEWISE_STOP_GRACE": "4",
            "TRADEWISE_LIVENESS_DEADLINE": "2",
            **(environ or {}),
        }
        self._command = (*within, sys.executable, "-m", "tests.faults.agent", kind)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **patience: float) -> None:
        """Start it."""
        changed = {**PATIENCE, **patience} if self._command[-1] == "launcher" else {}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                (*self._command, json.dumps(changed)),
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: int) -> None:
        """Send a signal, and wait for nothing."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

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
