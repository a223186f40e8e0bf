"""``Idempotency-Key``: the first answer is stored in the same transaction as what it answers, and given again.

Two requests with one key at once: the second waits for the first's commit on the unique key, then reads its answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Request, Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.amounts import encode_other
from control_plane.errors import MalformedError, UnacceptableError, UnavailableError
from control_plane.http.caller import Caller

_KEY = re.compile(r"[\x21-\x7e]{1,200}")

_CLAIM = text(
    "insert into idempotency_records (id, principal, key, request_hash, status_code, answer)"
    " values (:id, :principal, :key, :hash, 0, '{}'::jsonb)"
    " on conflict (tenant_id, principal, key) do nothing returning id"
)
_EXPIRE = text(
    "delete from idempotency_records"
    " where principal = :principal and key = :key and created_at < now() - interval '24 hours'"
)
_STORED = text(
    "select request_hash, status_code, answer from idempotency_records where principal = :principal and key = :key"
)
_KEEP = text("update idempotency_records set status_code = :status, answer = cast(:answer as jsonb) where id = :id")


async def once(
    request: Request[Any, Any, Any],
    caller: Caller,
    status: int,
    work: Callable[[AsyncSession], Awaitable[Any]],
    *,
    stored: Callable[[Any], Any] = lambda answer: answer,
    work_first: bool = False,
) -> Response[Any]:
    """Run ``work`` in one transaction and answer ``status``; a repeat within 24 hours gets the first answer.

    ``stored`` turns the answer into what may be kept (an API key must not be). ``work_first`` is for work that makes
    the very tenant that its answer is kept in. Raises 422 where the key was used for another request.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        async with caller.transaction() as session:
            answer = await work(session)
        return Response(answer, status_code=status)
    if not _KEY.fullmatch(key):
        raise MalformedError(
            "Idempotency-Key must be 1 to 200 visible ASCII characters", code="invalid_idempotency_key"
        )
    who = {"principal": caller.principal.actor, "key": key}
    asked = f"{request.method} {request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
    digest = hashlib.sha256(f"{asked}\n".encode() + await request.body()).digest()
    async with caller.transaction() as session:
        answer = await work(session) if work_first else None
        await session.execute(_EXPIRE, who)
        identity = await session.scalar(_CLAIM, {"id": uuid7(), "hash": digest, **who})
        if identity is None:
            row = (await session.execute(_STORED, who)).one_or_none()
            if row is None:  # its day ended, and it was cleared away, between the two statements
                raise UnavailableError("try again: what this Idempotency-Key stood for has just expired")
            if bytes(row.request_hash) != digest:
                raise UnacceptableError(
                    "this Idempotency-Key was used for another request; use a new one", code="idempotency_key_reused"
                )
            return Response(row.answer, status_code=row.status_code, headers={"Idempotent-Replayed": "true"})
        if not work_first:
            answer = await work(session)
        kept = msgspec.json.encode(stored(answer), enc_hook=encode_other).decode()
        await session.execute(_KEEP, {"id": identity, "status": status, "answer": kept})
    return Response(answer, status_code=status)
