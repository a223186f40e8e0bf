"""What services tell the audit log where a change of rows alone does not say what was meant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_NOTE = text("select audit_note(:action, :resource, :resource_id, cast(:detail as jsonb))")
_PERSON_NOTE = text("select audit_person_note(:user, :action, cast(:detail as jsonb))")


async def note(
    session: AsyncSession,
    action: str,
    *,
    resource: str | None = None,
    resource_id: UUID | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Tell the bound tenant's log of ``action`` (``subject.verb``, past tense). ``detail`` must hold no secret."""
    values = {"action": action, "resource": resource, "resource_id": resource_id, "detail": _json(detail)}
    await session.execute(_NOTE, values)


async def note_person(
    session: AsyncSession, user_id: UUID, action: str, *, detail: dict[str, Any] | None = None
) -> None:
    """Tell the log of every tenant that a person is in of what they did, such as signing in. Works in any session."""
    await session.execute(_PERSON_NOTE, {"user": user_id, "action": action, "detail": _json(detail)})


def _json(detail: dict[str, Any] | None) -> str:
    return msgspec.json.encode(detail or {}).decode()
