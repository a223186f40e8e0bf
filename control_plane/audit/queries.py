"""Reads of the audit log. Row-level security shows a transaction its own tenant's events alone."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, and_, false, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.audit.checkpoints import FAULTS, Signed, first_forged
from control_plane.audit.models import ACTOR_KINDS, AuditEvent
from control_plane.audit.schemas import ActorView, ChainFault, EventView, VerifyView
from control_plane.errors import A_TIME, FieldError, MalformedError
from control_plane.http.pagination import Page

_MARK: Final = b"#"
_VERIFY = text("select events, first_seq, last_seq, head_hash, fault_seq, fault from audit_verify()")
_SIGNED = text(
    "select 'checkpoint' as kind, tenant_id, seq, hash, at, key_version, signature from audit_checkpoints"
    " union all select 'anchor', tenant_id, seq, hash, at, key_version, signature from audit_anchors"
)
_KEYS = text("select version, public_key from audit_keys")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are asked for."""

    actor: str | None = None
    action: str | None = None
    resource: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_events(
    session: AsyncSession, wanted: Wanted, *, bots: Collection[UUID] | None, cursor: str | None, limit: int
) -> Page[EventView]:
    """Newest first. ``bots``: the only ones that the caller may know of. Raises :class:`MalformedError`."""
    event = AuditEvent
    before = decode_seq(cursor)
    where = [
        *_of_actor(wanted.actor),
        *_of_action(wanted.action),
        *_of_resource(wanted.resource),
        *([event.at >= _aware("from", wanted.since)] if wanted.since else []),
        *([event.at < _aware("to", wanted.until)] if wanted.until else []),
        *([event.seq < before] if before is not None else []),
        *([and_(event.resource == "bot", event.resource_id.in_(bots))] if bots is not None else []),
    ]
    statement = (
        select(*(column.label(name) for name, column in _COLUMNS.items()))
        .where(*where)
        .order_by(event.seq.desc())
        .limit(limit + 1)
    )
    rows = (await session.execute(statement)).all()
    items = [_event(row) for row in rows[:limit]]
    return Page(items=items, next_cursor=encode_seq(items[-1].seq) if len(rows) > limit else None)


async def verify_chain(session: AsyncSession) -> VerifyView:
    """Walk the bound tenant's chain, and see whether its signed heads hold."""
    walked = (await session.execute(_VERIFY)).one()
    signed = [
        Signed(row.kind, row.tenant_id, row.seq, bytes(row.hash), row.at, row.key_version, bytes(row.signature))
        for row in await session.execute(_SIGNED)
    ]
    keys = {row.version: bytes(row.public_key) for row in await session.execute(_KEYS)}
    forged = first_forged(signed, keys)
    seq, fault = walked.fault_seq, walked.fault
    if forged is not None and (seq is None or forged.seq < seq):
        seq, fault = forged.seq, "signature_invalid"
    return VerifyView(
        ok=fault is None,
        events=walked.events,
        first_seq=walked.first_seq,
        last_seq=walked.last_seq,
        head_hash=bytes(walked.head_hash).hex() if walked.head_hash is not None else None,
        checkpoints=len(signed),
        last_checkpoint_at=max((item.at for item in signed), default=None),
        fault=None if fault is None else ChainFault(seq=seq, kind=fault, detail=FAULTS[fault]),
    )


def encode_seq(seq: int) -> str:
    """The cursor for everything before ``seq``."""
    return base64.urlsafe_b64encode(_MARK + str(seq).encode()).decode().rstrip("=")


def decode_seq(cursor: str | None) -> int | None:
    """The number that a cursor stands for. Raises :class:`MalformedError` for one that we did not make."""
    if cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"==")
    except (ValueError, binascii.Error):
        raw = b""
    digits = raw.removeprefix(_MARK)
    if not raw.startswith(_MARK) or not re.fullmatch(rb"[0-9]{1,18}", digits):
        raise _malformed("cursor", "is not a cursor of this list; leave it out to begin at the first page", "cursor")
    return int(digits)


_COLUMNS: Final[Mapping[str, ColumnElement[Any]]] = {
    name: (func.host(column) if name == "address" else column)
    for name, column in ((column.key, column) for column in AuditEvent.__table__.columns)
    if name != "tenant_id"
}


def _event(row: Row[Any]) -> EventView:
    return EventView(
        seq=row.seq,
        id=row.id,
        at=row.at,
        actor=ActorView(kind=row.actor_kind, id=row.actor_id, user_id=row.user_id),
        address=row.address,
        request_id=row.request_id,
        action=row.action,
        resource=row.resource,
        resource_id=row.resource_id,
        outcome=row.outcome,
        changes=row.changes,
        detail=row.detail,
        prev_hash=bytes(row.prev_hash).hex(),
        hash=bytes(row.hash).hex(),
    )


def _of_actor(actor: str | None) -> Sequence[ColumnElement[bool]]:
    if actor is None:
        return ()
    kind, _, identity = actor.partition(":")
    if kind not in ACTOR_KINDS:
        raise _malformed("actor", f"begins with one of {', '.join(ACTOR_KINDS)}, as in user:<id>", "filter")
    return (AuditEvent.actor_kind == kind, *((AuditEvent.actor_id == identity,) if identity else ()))


def _of_action(action: str | None) -> Sequence[ColumnElement[bool]]:
    if action is None:
        return ()
    if action.endswith(".*"):
        return (AuditEvent.action.startswith(action[:-1], autoescape=True),)
    return (AuditEvent.action == action,)


def _of_resource(resource: str | None) -> Sequence[ColumnElement[bool]]:
    if resource is None:
        return ()
    name, _, identity = resource.partition(":")
    if not identity:
        return (AuditEvent.resource == name,)
    try:
        return (AuditEvent.resource == name, AuditEvent.resource_id == UUID(identity))
    except ValueError:
        return (false(),)


def _aware(field: str, time: datetime) -> datetime:
    if time.tzinfo is None:
        raise _malformed(field, A_TIME, "time")
    return time


def _malformed(field: str, message: str, what: str) -> MalformedError:
    return MalformedError(f"{field}: {message}", code=f"invalid_{what}", errors=[FieldError(field, message)])
