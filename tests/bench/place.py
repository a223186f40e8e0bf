"""Where figures are taken: an embedded PostgreSQL of this run, migrated, with the roles that the program uses."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from control_plane.database.embedded import ADMIN, EmbeddedServer
from control_plane.database.migrate import migrate
from control_plane.database.roles import LOGIN_ROLES
from control_plane.database.urls import url_for_role
from tests.factories import Urls


@asynccontextmanager
async def database() -> AsyncIterator[Urls]:
    """A database that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="tw-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder))
        server.start()
        try:
            await server.ensure_database()
            admin = server.url(ADMIN)
            await migrate(admin)
            yield Urls(admin=admin, roles={kind: url_for_role(admin, role) for kind, role in LOGIN_ROLES.items()})
        finally:
            server.stop()
