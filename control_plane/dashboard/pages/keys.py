"""API keys: made, shown once, rotated, revoked."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from control_plane.api_keys import service
from control_plane.api_keys.schemas import DEFAULT_OVERLAP_S, LONGEST_OVERLAP_S, KeyView, NewKey, RotateKey
from control_plane.bots import queries
from control_plane.dashboard.forms import REFUSALS, Form, FormDependency, FormState
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.wording import scope_words
from control_plane.errors import unacceptable
from control_plane.http.caller import Caller, CallerDependency
from control_plane.identity.permissions import SCOPES

KeyId = FromPath[UUID]

_MOST_KEYS = 200
_MOST_BOTS = 100
_FIELDS = ("name", "scopes", "expires_at", "bot_ids", "allowed_addresses")
_LISTS = ("scopes", "bot_ids")
_OVERLAPS = (
    (str(DEFAULT_OVERLAP_S), "works for a day more"),
    ("3600", "works for an hour more"),
    (str(LONGEST_OVERLAP_S), "works for a week more"),
    ("0", "ends at once"),
)
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
        bots = await queries.bot_names(session, _MOST_BOTS)
    return page(
        request,
        "keys/list.html",
        status_code=status_code,
        keys=keys,
        now=datetime.now(UTC),
        bots=bots,
        overlaps=_OVERLAPS,
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
        state = form.refused(error, shown=_FIELDS, lists=_LISTS)
        return await _keys(request, caller, state, status_code=error.status)
    return await _keys(request, caller, FormState(), status_code=201, created=made)


def _new_key(form: Form) -> NewKey:
    """The body from the form, whose boxes share one name and whose last day is a whole day."""
    given: dict[str, Any] = {"scopes": form.all("scopes")}
    if bots := form.all("bot_ids"):
        given["bot_ids"] = bots
    if addresses := form.get("allowed_addresses").replace(",", " ").split():
        given["allowed_addresses"] = addresses
    if last_day := form.get("expires_at").strip():
        try:
            given["expires_at"] = datetime.combine(date.fromisoformat(last_day), _END_OF_DAY).isoformat()
        except ValueError:
            raise unacceptable("expires_at", "must be a day such as 2027-01-31") from None
    return form.read(NewKey, **given)


@post("/keys/{key_id:uuid}/rotate")
async def rotate_action(
    request: Request[Any, Any, Any], caller: CallerDependency, key_id: KeyId, form: FormDependency
) -> Response[str]:
    """Make its successor and show that in this one answer."""
    try:
        data = form.read(RotateKey)
        async with caller.transaction() as session:
            made = await service.rotate_key(session, caller.principal, key_id, data.overlap_seconds)
    except REFUSALS as error:
        return await _keys(request, caller, form.refused(error, shown=()), status_code=error.status)
    return await _keys(request, caller, FormState(), status_code=201, created=made)


@post("/keys/{key_id:uuid}/revoke")
async def revoke_action(request: Request[Any, Any, Any], caller: CallerDependency, key_id: KeyId) -> Response[Any]:
    """It stops working at once."""
    async with caller.transaction() as session:
        await service.revoke_key(session, caller.principal, key_id)
    return go(request, "/keys", say="key-revoked")


HANDLERS = [keys_page, create_action, rotate_action, revoke_action]
