"""Every error becomes ``application/problem+json`` (RFC 9457). No stack trace, SQL or value leaves."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import structlog
from asyncpg import PostgresError
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException
from litestar.params import ParameterKwarg
from litestar.types import ExceptionHandlersMap
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from control_plane.errors import A_TIME, AppError, FieldError

MEDIA_TYPE = "application/problem+json"

_log = structlog.get_logger(__name__)

_CODES = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
}
_BODY = "data"  # what the framework calls the body; clients know their own fields only
_PATH_IN_MESSAGE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")
_NO_TIME = "Invalid RFC3339 encoded datetime"
_MISSING_FIELD = re.compile(r"missing required field `(?P<name>[^`]*)`")
# SQLSTATE classes that mean "the server is away or going away": trying again is right.
_AWAY = ("08", "53", "57P")
_LOCKED = {"55P03", "40001", "40P01", "57014"}
_CLIENT_LEFT = "client disconnected prematurely"  # the framework's only word for it; test_wire.py holds it to that


def problem(
    request: Request[Any, Any, Any],
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: tuple[FieldError, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response[Any]:
    """One answer in the shape of RFC 9457. ``type`` is a relative reference that carries the stable code."""
    content: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "code": code,
    }
    if errors:
        content["errors"] = [{"field": item.field, "message": item.message} for item in errors]
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def app_error(request: Request[Any, Any, Any], error: AppError) -> Response[Any]:
    """Our own errors already know what to say."""
    return problem(
        request,
        status=error.status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        errors=error.errors,
        headers=error.headers,
    )


def validation_error(request: Request[Any, Any, Any], error: ValidationException) -> Response[Any]:
    """A body, path or query that does not fit its type: 400 with the fields named."""
    errors = tuple(_field_errors(request, error))
    detail = "; ".join(f"{item.field}: {item.message}" if item.field else item.message for item in errors)
    return problem(
        request,
        status=400,
        code="invalid_fields",
        title="The request is malformed",
        detail=detail or "the request does not fit its description",
        errors=errors,
    )


def _field_errors(request: Request[Any, Any, Any], error: ValidationException) -> list[FieldError]:
    found: list[FieldError] = []
    for item in error.extra if isinstance(error.extra, list) else []:
        message = str(item.get("message", "")) if isinstance(item, dict) else str(item)
        key = str(item.get("key", "")) if isinstance(item, dict) else ""
        if isinstance(item, dict) and item.get("source") != "body":
            key = _as_sent(request, key)
            if message.startswith(_NO_TIME) and " " in request.query_params.get(key, ""):
                # The + of +02:00 means a space in a query.
                message = f"{A_TIME}; a + is written %2B in a query"
        found.append(field_error(message, "" if key == _BODY else key))
    return found


def _as_sent(request: Request[Any, Any, Any], key: str) -> str:
    """The name that clients know a parameter by, of the name that its route calls it."""
    name, dot, rest = key.partition(".")
    handler: Any = request.scope.get("route_handler")  # None where no route was found
    definition = handler.parsed_fn_signature.parameters.get(name) if handler is not None else None
    told = definition.kwarg_definition if definition is not None else None
    return f"{told.name}{dot}{rest}" if isinstance(told, ParameterKwarg) and told.name else key


def field_error(message: str, key: str = "") -> FieldError:
    """What msgspec or the framework says of a value that does not fit, as one field's error."""
    at = _PATH_IN_MESSAGE.search(message)
    words = message[: at.start()] if at else message
    named = _UNKNOWN_FIELD.search(words) or _MISSING_FIELD.search(words)
    path = ".".join(part for part in (key if not at else at["path"], named["name"] if named else "") if part)
    if named and _UNKNOWN_FIELD.search(words):
        words = "is not a field here; remove it"
    elif named:
        words = "is required"
    elif words.startswith(_NO_TIME):
        words = A_TIME
    return FieldError(field=path, message=words[:1].lower() + words[1:])


def http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """The framework's own errors: the status counts, the words are ours."""
    if isinstance(error, InternalServerException) and error.detail == _CLIENT_LEFT:
        # Nobody hears this. It is no fault of ours, in the log or in the figures that operators are woken by.
        detail = "the body ended before it was complete"
        return problem(request, status=400, code="malformed", title="The request is malformed", detail=detail)
    if error.status_code >= 500:
        return unexpected(request, error)
    phrase = HTTPStatus(error.status_code).phrase
    detail = error.detail if error.status_code in {400, 413, 415} else phrase
    if error.status_code == 404:
        detail = "there is nothing at this address"
    return problem(
        request,
        status=error.status_code,
        code=_CODES.get(error.status_code, "http_error"),
        title=phrase,
        detail=detail,
        headers=dict(error.headers or {}),
    )


def database_error(request: Request[Any, Any, Any], error: DBAPIError) -> Response[Any]:
    """Conflicts that services did not foresee, and a database that is away. Driver texts never leave."""
    state = str(getattr(error.orig, "sqlstate", "") or "")
    # The driver refuses a value that it cannot encode by an error of the same class as a lost connection.
    unfit = isinstance(getattr(error.orig, "__cause__", None), ValueError)
    if unfit or state.startswith("22"):
        return problem(
            request,
            status=400,
            code="invalid_value",
            title="The request is malformed",
            detail="a value cannot be stored: a text with a NUL character, or a number or a time out of range",
        )
    away = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    if away or state.startswith(_AWAY) or state in _LOCKED:
        return unavailable(request, error)
    if state == "23514" and "no partition of relation" in str(error.orig):
        # Nobody made the month that this would go into: nothing that a client could do differently.
        return unavailable(request, error)
    if state.startswith("23"):
        return problem(
            request, status=409, code="conflict", title="Conflict", detail="this clashes with something that is there"
        )
    return unexpected(request, error)


def unreadable(request: Request[Any, Any, Any], error: UnicodeDecodeError | RecursionError) -> Response[Any]:
    """A body that the JSON decoder gives up on with errors of its own: not UTF-8, or brackets without end."""
    words = "is nested too deeply" if isinstance(error, RecursionError) else "is not UTF-8"
    return problem(request, status=400, code="malformed", title="The request is malformed", detail=f"the body {words}")


def unavailable(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The database is away, busy or going away."""
    _log.warning("database_away", path=request.url.path, error=type(error).__name__)
    return problem(
        request,
        status=503,
        code="database_unavailable",
        title="Try again in a moment",
        # A connection may be lost amid a COMMIT, so nothing is said of what was or was not done.
        detail="the database did not answer: try again, with the same Idempotency-Key if you sent one",
        headers={"Retry-After": "2"},
    )


def unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A fault of ours: logged whole, told in one sentence."""
    _log.error("unexpected_error", path=request.url.path, exc_info=error)
    return problem(
        request,
        status=500,
        code="internal",
        title="Something went wrong",
        detail="the request could not be served; the fault is ours and has been logged",
    )


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    AppError: app_error,
    ValidationException: validation_error,
    HTTPException: http_error,
    UnicodeDecodeError: unreadable,
    RecursionError: unreadable,
    DBAPIError: database_error,
    PoolTimeoutError: unavailable,
    # Connecting fails with the driver's and the system's own errors. This process opens no other connection.
    PostgresError: unavailable,
    OSError: unavailable,
    Exception: unexpected,
}
