"""API keys: made, shown once, revoked."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from control_plane.api_keys import service
from control_plane.api_keys.schemas import KeyView, NewKey
from control_plane.dashboard.forms import REFUSALS, Form, FormDependency, FormState
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.wording import scope_words
from control_plane.errors import unacceptable
from control_plane.http.caller import Caller, CallerDependency
from control_plane.identity.permissions import SCOPES

KeyId = FromPath[UUID]

_MOST_KEYS = 200
_FIELDS = ("name", "scopes", "expires_at")
_END_OF_DAY = time.fromisoformat("23:59:59Z")


@get("/keys")
async def keys_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """The tenant's keys, revoked ones included, and the form for a new one."""
    return await _keys(request, caller, FormState())


async def _keys(
    request: Request[Any, Any, Any],
    caller: Caller,
    form: FormState,
    *,
    status_code: int = 200,
    created: KeyView | None = None,
) -> Response[str]:
    held = caller.principal.scopes
    async with caller.transaction() as session:
        keys = await service.list_keys(session, caller.principal, None, _MOST_KEYS)
    return page(
        request,
        "keys/list.html",
        status_code=status_code,
        keys=keys,
        created=created,
        scopes=[{"name": name, "text": scope_words(name)} for name in SCOPES if name in held],
        may_write="keys:write" in held,
        form=form,
    )


@post("/keys")
async def create_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[str]:
    """Make a key and show it in this one answer."""
    try:
        data = _new_key(form)
        async with caller.transaction() as session:
            made = await service.create_key(session, caller.principal, data)
    except REFUSALS as error:
        state = form.refused(error, shown=_FIELDS, lists=("scopes",))
        return await _keys(request, caller, state, status_code=error.status)
    return await _keys(request, caller, FormState(), status_code=201, created=made)


def _new_key(form: Form) -> NewKey:
    """The body from the form, whose boxes share one name and whose last day is a whole day."""
    given: dict[str, Any] = {"scopes": form.all("scopes")}
    if last_day := form.get("expires_at").strip():
        try:
            given["expires_at"] = datetime.combine(date.fromisoformat(last_day), _END_OF_DAY).isoformat()
        except ValueError:
            raise unacceptable("expires_at", "must be a day such as 2027-01-31") from None
    return form.read(NewKey, **given)


@post("/keys/{key_id:uuid}/revoke")
async def revoke_action(request: Request[Any, Any, Any], caller: CallerDependency, key_id: KeyId) -> Response[Any]:
    """It stops working at once."""
    async with caller.transaction() as session:
        await service.revoke_key(session, caller.principal, key_id)
    return go(request, "/keys", say="key-revoked")


HANDLERS = [keys_page, create_action, revoke_action]
