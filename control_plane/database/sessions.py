"""Sessions of the control plane: every one declares whose rows it may touch before its first statement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction

from control_plane.database.connection import Binding, TenantConnection
from control_plane.database.urls import session_settings, sqlalchemy_url

_log = structlog.get_logger(__name__)

_INFO_KEY = "binding"


class UnboundSessionError(RuntimeError):
    """A session was opened without saying whose rows it may touch. Use one of :class:`Database`'s methods."""

    code = "unbound_session"


class _BoundSession(Session):
    """The sync half of our sessions; a class of its own so that the events below bind to ours alone."""


def _driver_connection(connection: Connection) -> TenantConnection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, TenantConnection):
        raise TypeError("the engine must be made by control_plane.database.sessions.Database")
    return driver


def _clear_stale_binding(connection: Connection) -> None:
    # A session that checked a connection out but sent no statement leaves its binding in the slot; the next user of
    # that connection would begin as another tenant. Clearing here, before `after_begin`, is the measured cure.
    _driver_connection(connection).pending_binding = None


@event.listens_for(_BoundSession, "after_begin")
def _bind(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    binding = session.info.get(_INFO_KEY)
    if not isinstance(binding, Binding):
        raise UnboundSessionError("open sessions through Database.tenant, Database.user or Database.anonymous")
    _driver_connection(connection).pending_binding = binding


class Database:
    """The engine and the only three ways to open a session on it."""

    def __init__(self, url: str, *, pool_size: int = 10, application_name: str = "tradewise-api") -> None:
        self.url = url
        self.engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            hide_parameters=True,
            connect_args={
                "connection_class": TenantConnection,
                "server_settings": session_settings(application_name),
                "timeout": 10,
            },
        )
        event.listen(self.engine.sync_engine, "begin", _clear_stale_binding)
        self._afterwards: set[asyncio.Task[None]] = set()
        self._sessions = async_sessionmaker(self.engine, sync_session_class=_BoundSession, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self, binding: Binding) -> AsyncIterator[AsyncSession]:
        """One transaction bound to ``binding``: commits when the block ends well, rolls back on any exception."""
        info: dict[Any, Any] = {_INFO_KEY: binding}
        async with self._sessions(info=info) as session, session.begin():
            yield session

    def tenant(self, tenant_id: UUID, *, user_id: UUID | None = None, actor: str | None = None) -> Any:
        """A transaction that sees and writes one tenant's rows."""
        return self.transaction(Binding(tenant_id=tenant_id, user_id=user_id, actor=actor))

    def user(self, user_id: UUID, *, address: str | None = None) -> Any:
        """A transaction that sees what belongs to a person: the person, their sessions and memberships."""
        return self.transaction(Binding(user_id=user_id, actor=f"user:{user_id}", address=address))

    def anonymous(self, *, address: str | None = None) -> Any:
        """A transaction that sees no row; only the narrow sign-in functions work in it."""
        return self.transaction(Binding(address=address))

    def afterwards(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` in sessions of its own beside whoever asks, who does not wait for it; a failure is logged.

        For what must not show in how long an answer takes. It is lost with the process, so never for a change.
        """
        task = asyncio.create_task(work)
        self._afterwards.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._afterwards.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("afterwards_failed", error=type(error).__name__)

    async def close(self) -> None:
        """Close every pooled connection, once what was to be done afterwards is done."""
        await asyncio.gather(*self._afterwards, return_exceptions=True)
        await self.engine.dispose()
