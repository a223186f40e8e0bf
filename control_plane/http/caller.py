"""What a route is given: the caller, and transactions bound to the caller's tenant.

A route opens its transaction itself and builds its answer after the block has ended, so a COMMIT that fails becomes an
error answer. See docs/decisions/0003-transactions.md for why this is no generator dependency.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.database.sessions import Database
from control_plane.errors import ForbiddenError, MalformedError, UnauthenticatedError
from control_plane.identity.principal import Principal
from control_plane.identity.sign_in import principal_of
from control_plane.settings import Settings


class Caller(msgspec.Struct, frozen=True):
    """One request of one caller."""

    principal: Principal
    database: Database

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A transaction that sees and writes the caller's tenant's rows, and nobody else's."""
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncSession]:
        async with self.database.transaction(self.principal.binding) as session:
            yield session


def bearer_token(request: Request[Any, Any, Any]) -> str | None:
    """The token of an ``Authorization: Bearer`` header, or None where there is no such header."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError
    return token.strip()


def wished_tenant(request: Request[Any, Any, Any]) -> UUID | None:
    """The tenant that ``X-Tenant-ID`` names. Raises :class:`MalformedError` where it is no UUID."""
    text = request.headers.get("x-tenant-id")
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise MalformedError("X-Tenant-ID must be a UUID", code="invalid_tenant_header") from None


async def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """The caller by bearer token. Raises 401 for none or a bad one, 403 for a tenant the person is not in."""
    token = bearer_token(request)
    if token is None:
        raise UnauthenticatedError
    database: Database = request.app.state.database
    settings: Settings = request.app.state.settings
    principal = await principal_of(database, settings, token, wished_tenant(request))
    if principal is None:
        raise UnauthenticatedError("this token is not, or no longer, good: sign in again")
    return Caller(principal=principal, database=database)


def require_session(caller: Caller) -> None:
    """Raise :class:`ForbiddenError` where a person must act and an API key is calling."""
    if caller.principal.session_id is None:
        raise ForbiddenError("this needs a signed-in person; an API key cannot do it", code="person_required")


CallerDependency = NamedDependency[SkipValidation[Caller]]
