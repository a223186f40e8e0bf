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
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.database.sessions import Database
from control_plane.errors import MalformedError, NotFoundError, UnauthenticatedError
from control_plane.http.address import client_address, request_id
from control_plane.identity.principal import NotAMemberError, Principal
from control_plane.identity.sign_in import principal_of
from control_plane.security.tokens import api_key_prefix, is_api_key
from control_plane.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]


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


def bearer_token(connection: Connection) -> str:
    """The token of an ``Authorization: Bearer`` header. Raises :class:`UnauthenticatedError` where there is none."""
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError
    return token.strip()


def wished_tenant(connection: Connection) -> UUID | None:
    """The tenant that ``X-Tenant-ID`` names. Raises :class:`MalformedError` where it is no UUID."""
    text = connection.headers.get("x-tenant-id")
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise MalformedError("X-Tenant-ID must be a UUID", code="invalid_tenant_header") from None


async def authenticate(connection: Connection, handler: BaseRouteHandler) -> None:
    """The guard of every operation that needs a caller: who it is, in which tenant, and whether they may do it there.

    A guard runs before the body is read: a stranger is told nothing about it. Raises 401 for no token or a bad one,
    403 for a tenant that the person is not in, for a scope that is missing, for an API key where a person must act and
    for a change in a suspended tenant; 404 where the path names a tenant that is none of the caller's.
    """
    rule: str = handler.opt.get("tenant", "header")
    caller = await identify(connection, of_path=rule == "path")
    principal = caller.principal
    if rule == "header":
        principal.require_tenant()
    if (scope := handler.opt.get("scope")) is not None:
        principal.require(scope, even_suspended=handler.opt.get("even_suspended", False))
    if handler.opt.get("person"):
        principal.require_person()
    connection.state.caller = caller


async def identify(connection: Connection, *, of_path: bool = False) -> Caller:
    """The caller by bearer token, as things are now. Raises 401, 403; with ``of_path`` 404 for another's tenant.

    With ``of_path`` the tenant that the path names is the one acted in: its role counts and every transaction of the
    request is bound to it, whatever ``X-Tenant-ID`` says.
    """
    database: Database = connection.app.state.database
    settings: Settings = connection.app.state.settings
    token, address = bearer_token(connection), client_address(connection)
    wished: UUID | None = connection.path_params["tenant_id"] if of_path else wished_tenant(connection)
    try:
        principal = await principal_of(database, settings, token, wished, address=address)
    except NotAMemberError as error:
        if of_path:
            raise NotFoundError("tenant") from error
        raise
    if principal is None:
        if is_api_key(token) and api_key_prefix(token) is None:
            raise UnauthenticatedError("this API key is mistyped or not whole: copy it again")
        raise UnauthenticatedError("this token is not, or no longer, good: sign in again")
    return Caller(principal=located(principal, connection), database=database)


def located(principal: Principal, connection: Connection) -> Principal:
    """``principal`` with where this request comes from, for the audit log."""
    return msgspec.structs.replace(principal, address=client_address(connection), request_id=request_id(connection))


async def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """The caller that the guard let in."""
    caller: Caller = request.state.caller
    return caller


def require_session(caller: Caller) -> None:
    """Raise :class:`ForbiddenError` where a person must act and an API key is calling."""
    caller.principal.require_person()


CallerDependency = NamedDependency[SkipValidation[Caller]]
