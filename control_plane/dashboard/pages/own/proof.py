"""Is it still them? The password in a form, or a session that has just begun."""

from __future__ import annotations

from typing import Any

from litestar import Request

from control_plane.dashboard.forms import Form
from control_plane.errors import ForbiddenError, unacceptable
from control_plane.http.caller import Caller
from control_plane.identity.reauthentication import require_recent
from control_plane.security.passwords import MAXIMUM_LENGTH

_WORDS = {
    "reauthentication_needed": "is needed here; if you have none, sign out and in again, then do this within five"
    " minutes",
    "wrong_password": "does not match",
}


async def still_them(request: Request[Any, Any, Any], caller: Caller, form: Form) -> None:
    """Return for the right password, or without one in the first five minutes of a session.

    Raises UnacceptableError about the field ``password``, TooManyAttemptsError.
    """
    password = form.get("password") or None
    if password is not None and len(password) > MAXIMUM_LENGTH:
        raise unacceptable("password", _WORDS["wrong_password"], code="wrong_password")
    try:
        await require_recent(caller.database, caller.principal, request.app.state.passwords, password)
    except ForbiddenError as error:
        if error.code not in _WORDS:
            raise
        raise unacceptable("password", _WORDS[error.code], code=error.code) from error
