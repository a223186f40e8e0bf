"""What agents tell a tenant's audit log where a change of rows alone does not say it. The only call of its SQL."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec

_NOTE: Final = "select audit_agent_note($1, $2, $3, $4, $5::jsonb)"


async def note(
    connection: Any, tenant_id: UUID, action: str, *, resource: str, resource_id: UUID, detail: dict[str, Any]
) -> None:
    """Tell the log of ``action`` (``subject.verb``, past tense) in ``connection``'s transaction. No secret in it."""
    await connection.execute(_NOTE, tenant_id, action, resource, resource_id, msgspec.json.encode(detail).decode())
