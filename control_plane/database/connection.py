"""The tenant travels inside the BEGIN message.

``BEGIN; select set_config('app.tenant_id', …, true)`` in one simple-protocol message costs no round trip of its own.
The binding is transaction-local, so a connection handed back to the pool carries nothing.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import asyncpg
import msgspec


class Binding(msgspec.Struct, frozen=True):
    """Whose rows a transaction may touch, and who does it from where. All empty: nobody's."""

    tenant_id: UUID | None = None
    user_id: UUID | None = None
    actor: str | None = None  # "user:<uuid>" or "key:<uuid>"
    #: The client's address and the request's id, for the audit log.
    address: str | None = None
    request_id: UUID | None = None
    #: The only bots that may be touched, for an API key that is restricted to some; None for all of the tenant.
    bots: tuple[UUID, ...] | None = None

    def statements(self) -> str:
        """SQL that sets the transaction-local settings. Only values of checked form are ever put into the text."""
        settled = _settled(self.tenant_id, self.user_id, self.actor, self.address, self.bots)
        if self.request_id is None:
            return f"select {settled}" if settled else ""
        told = f"set_config('app.request_id', '{_uuid(self.request_id)}', true)"
        return f"select {settled}, {told}" if settled else f"select {told}"


def _uuid(value: UUID) -> str:
    # Whatever was passed as one: what is no UUID is parsed, and refused.
    return str(value) if type(value) is UUID else str(UUID(str(value)))


@lru_cache(maxsize=4096)
def _settled(
    tenant_id: UUID | None, user_id: UUID | None, actor: str | None, address: str | None, bots: tuple[UUID, ...] | None
) -> str:
    """All but the request's own id, which alone differs from one transaction of a caller to the next."""
    parts = []
    if tenant_id is not None:
        parts.append(f"set_config('app.tenant_id', '{_uuid(tenant_id)}', true)")
    if user_id is not None:
        parts.append(f"set_config('app.user_id', '{_uuid(user_id)}', true)")
    if actor is not None:
        kind, _, identity = actor.partition(":")
        if kind not in {"user", "key"}:
            raise ValueError("actor must be user:<uuid> or key:<uuid>")
        parts.append(f"set_config('app.actor', '{kind}:{UUID(identity)}', true)")
    if address is not None:
        parts.append(f"set_config('app.address', '{ip_address(address)}', true)")
    if bots is not None:
        parts.append(f"set_config('app.bots', '{{{','.join(map(_uuid, bots))}}}', true)")
    return ", ".join(parts)


class TenantConnection(asyncpg.Connection):  # type: ignore[misc]
    """An asyncpg connection with one slot: the binding that its next BEGIN will carry."""

    __slots__ = ("pending_binding",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pending_binding: Binding | None = None

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run ``query``; where it opens a transaction, append the pending binding to the same message."""
        if not args and query.startswith("BEGIN"):
            binding, self.pending_binding = self.pending_binding, None
            statements = binding.statements() if binding is not None else ""
            if statements:
                query = f"{query.rstrip(';')}; {statements}"
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

    def get_reset_query(self) -> str:
        """No session state is ever made, so nothing needs a reset on release."""
        return ""
