"""A machine of a test's own: network and mounts apart, and in there a container engine as our set-up starts it.

The engine of the machine that the tests run on is not touched: it is other people's, too. Needs root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from agents.launcher import own_daemon
from agents.launcher.engine import open_client
from tests.waiting import until_sync

ROOT = Path(__file__).resolve().parents[2]
# Hides the engine of the machine, and whatever else keeps its socket in /run.
_INIT = "mount --make-rprivate / && mount -t tmpfs none /run && ip link set lo up && echo ready && exec cat"


class MachineApart:
    """Use :func:`machine_apart`."""

    def __init__(self, folder: Path, holder: subprocess.Popen[bytes]) -> None:
        self._holder = holder
        hidden = {"DOCKER_HOST", "TRADEWISE_DOCKER_HOST"}
        self._environ = {name: value for name, value in os.environ.items() if name not in hidden}
        self._environ["TRADEWISE_ENGINE_DIR"] = str(folder)
        self.at = own_daemon.places(self._environ)

    @property
    def within(self) -> tuple[str, ...]:
        """Begins a command that shall run in there."""
        return ("nsenter", "--target", str(self._holder.pid), "--net", "--mount", f"--wd={ROOT}")

    @property
    def url(self) -> str:
        """The engine in there; its socket is in a folder that both sides see."""
        return self.at.url

    def engine(self, word: str) -> None:
        """``python -m agents.launcher.engine WORD``, in there."""
        command = (*self.within, sys.executable, "-m", "agents.launcher.engine", word)
        done = subprocess.run(
            command, cwd=ROOT, env=self._environ, capture_output=True, text=True, check=False, timeout=180
        )
        assert done.returncode == 0, done.stderr

    @property
    def pid(self) -> int:
        """The daemon's process."""
        return int(self.at.pidfile.read_text("utf-8"))

    def end_daemon(self, number: int) -> None:
        """Send the daemon a signal and wait for its end."""
        pid = self.pid
        os.kill(pid, number)
        until_sync(lambda: not _alive(pid), what="the end of the daemon", deadline_s=60.0)

    def live_restore(self, *, on: bool) -> None:
        """Have the running daemon leave containers running when it ends, or end them: it reads that anew when told."""
        config = json.loads(self.at.config.read_text("utf-8"))
        self.at.config.write_text(json.dumps({**config, "live-restore": on}), "utf-8")
        os.kill(self.pid, signal.SIGHUP)
        with contextlib.closing(open_client(self.url)) as client:
            until_sync(lambda: client.info()["LiveRestoreEnabled"] is on, what="the daemon's new setting")

    def forget_containers(self) -> None:
        """Take away what a stopped daemon knows of its containers: it comes back without any."""
        shutil.rmtree(self.at.state / "data" / "containers")

    def load(self, source: docker.DockerClient, image: str) -> None:
        """Copy an image from another engine."""
        with contextlib.closing(open_client(self.url)) as client:
            client.images.load(b"".join(source.images.get(image).save(named=image)))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


@contextmanager
def machine_apart(folder: Path) -> Iterator[MachineApart]:
    """Such a machine with its engine running; gone after the block. ``folder`` must have a short path."""
    command = ("unshare", "--net", "--mount", "--propagation", "unchanged", "sh", "-c", _INIT)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            machine = MachineApart(folder, holder)
            machine.engine("ensure")
            try:
                yield machine
            finally:
                machine.engine("stop")
        finally:
            assert holder.stdin is not None
            holder.stdin.close()
