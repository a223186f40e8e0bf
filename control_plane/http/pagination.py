"""Keyset pages over UUIDv7 ids, newest first. A cursor is opaque: the last id of the page before."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import msgspec
from litestar.params import QueryParameter

from control_plane.errors import FieldError, MalformedError

DEFAULT_LIMIT = 50
MAXIMUM_LIMIT = 200

T = TypeVar("T")
Limit = Annotated[
    int, QueryParameter(name="limit", ge=1, le=MAXIMUM_LIMIT, description="How many items, 200 at the most.")
]
Cursor = Annotated[str | None, QueryParameter(name="cursor", description="`next_cursor` of the page before.")]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list. ``next_cursor`` is null on the last one."""

    items: list[T]
    next_cursor: str | None


def decode_cursor(cursor: str | None) -> UUID | None:
    """The id a cursor stands for. Raises :class:`MalformedError` for one that we did not make."""
    if cursor is None:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor.encode("ascii") + b"=="))
    except (ValueError, binascii.Error):
        message = "is not a cursor of this list; leave it out to begin at the first page"
        raise MalformedError(
            f"cursor: {message}", code="invalid_cursor", errors=[FieldError("cursor", message)]
        ) from None


def encode_cursor(identity: UUID) -> str:
    """The cursor for everything after ``identity``."""
    return base64.urlsafe_b64encode(identity.bytes).decode("ascii").rstrip("=")


def page_of(rows: Sequence[T], limit: int, identity: Callable[[T], UUID]) -> Page[T]:
    """A page from ``limit + 1`` rows: the one too many only tells that there is more."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return Page(items=items, next_cursor=encode_cursor(identity(items[-1])) if more else None)


_POSITION_MARK = b"@"
_LAST_POSITION = 10_000


def decode_position(cursor: str | None) -> int:
    """How many items come before a page of a ranked list. Raises :class:`MalformedError`."""
    if cursor is None:
        return 0
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"==")
        position = int(raw.removeprefix(_POSITION_MARK)) if raw.startswith(_POSITION_MARK) else -1
    except (ValueError, binascii.Error):
        raise _bad_cursor() from None
    if not 0 <= position <= _LAST_POSITION:
        raise _bad_cursor()
    return position


def page_at(rows: Sequence[T], limit: int, offset: int) -> Page[T]:
    """A page of a ranked list, from ``limit + 1`` rows."""
    raw = _POSITION_MARK + str(offset + limit).encode()
    more = len(rows) > limit and offset + limit <= _LAST_POSITION
    return Page(
        items=list(rows[:limit]), next_cursor=base64.urlsafe_b64encode(raw).decode().rstrip("=") if more else None
    )


def _bad_cursor() -> MalformedError:
    message = "is not a cursor of this list; leave it out to begin at the first page"
    return MalformedError(f"cursor: {message}", code="invalid_cursor", errors=[FieldError("cursor", message)])
