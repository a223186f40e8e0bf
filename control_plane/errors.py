"""Errors that people see: an HTTP status, a stable code, words that name the remedy. Nothing else ever leaves."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

A_TIME = "must be a time with its zone, such as 2026-01-31T12:00:00Z"


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a body or query."""

    field: str
    message: str


class AppError(Exception):
    """The root of every error that a client is told. ``code`` is stable; ``detail`` is for people."""

    status = 500
    code = "internal"
    title = "Something went wrong"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = tuple(errors)
        self.headers = headers or {}


class MalformedError(AppError):
    """The request cannot be read as what it should be."""

    status, code, title = 400, "malformed", "The request is malformed"


class UnauthenticatedError(AppError):
    """No credential, or one that does not hold."""

    status, code, title = 401, "unauthenticated", "Sign in first"

    def __init__(self, detail: str = "send a session token or an API key as `Authorization: Bearer …`") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class ForbiddenError(AppError):
    """Known, but not allowed."""

    status, code, title = 403, "forbidden", "Not allowed"


class NotFoundError(AppError):
    """Absent, or another tenant's: the answer never tells which."""

    status, code, title = 404, "not_found", "Not found"

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no such {what}")


class ConflictError(AppError):
    """It clashes with what is there, or with the state the thing is in."""

    status, code, title = 409, "conflict", "Conflict"


class UnacceptableError(AppError):
    """Well formed, but not acceptable."""

    status, code, title = 422, "unacceptable", "Not acceptable"


class UnavailableError(AppError):
    """A part of the platform is away; trying again later is right."""

    status, code, title = 503, "unavailable", "Try again in a moment"

    def __init__(self, detail: str, *, code: str | None = None, retry_after_s: int = 2) -> None:
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after_s)})


def unacceptable(field: str, message: str, *, code: str | None = None) -> UnacceptableError:
    """A 422 about one field."""
    return UnacceptableError(f"{field}: {message}", code=code, errors=[FieldError(field, message)])
