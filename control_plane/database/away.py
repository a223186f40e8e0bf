"""What asyncpg raises while the database is away, or where a connection was cut off in the middle of something."""

from __future__ import annotations

from typing import Final

import asyncpg

#: The third one is what a connection that the server ended says to whoever asks next: it is no PostgresError.
DATABASE_AWAY: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
