"""Registering a bot: the forms, and what became of it."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post

from control_plane.bots import service
from control_plane.bots.models import HOSTED_ENGINES
from control_plane.bots.schemas import CreateBot
from control_plane.dashboard import families
from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState, nested
from control_plane.dashboard.pages.bots import ENDINGS, BotId, Filter, shown_bot
from control_plane.dashboard.rendering import go, page
from control_plane.http.caller import CallerDependency
from control_plane.security.keyring import wait_for_public_key

_CREDENTIALS = ("credentials.username", "credentials.password", "credentials.token")
_DOCUMENTS = ("config", "engine_config")
_FIELDS = ("bot_type", "engine", "name", "description", "api_url", *_CREDENTIALS, "config", *ENDINGS)


@get("/bots/new")
async def new_bot_page(request: Request[Any, Any, Any], caller: CallerDependency, engine: Filter = "") -> Response[str]:
    """The form: one for what can run here too, and one for each other family."""
    caller.principal.require("bots:write")
    return _register_page(request, engine, FormState())


def _register_page(
    request: Request[Any, Any, Any], engine: str, form: FormState, status_code: int = 200
) -> Response[str]:
    family = families.form_of(engine) if engine not in HOSTED_ENGINES else None
    if family is not None:
        return page(request, "bots/new_of_family.html", status_code=status_code, form=form, family=family)
    return page(request, "bots/new.html", status_code=status_code, form=form, others=families.others())


@post("/bots")
async def register_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Register, then tell what became of it on a page of its own."""
    caller.principal.require("bots:write")
    # What is filled in or chosen in the form from the start; for a bot that runs elsewhere nobody meant to send it.
    fitting = form.without("config", *ENDINGS) if form.get("bot_type") == "external" else form
    family = families.form_of(form.get("engine"))
    # A form cannot send an object with nothing in it.
    nothing = (
        family is not None
        and family.needs_no_credential
        and not any(form.get(field.name) for field in family.credentials)
    )
    try:
        given: dict[str, Any] = {"credentials": {}} if nothing else {}
        asked = nested(fitting.fields).get("engine_config")
        if family is not None and isinstance(asked, dict):
            given["engine_config"] = family.typed(asked)
        data = fitting.read(CreateBot, documents=_DOCUMENTS, **given)
        key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
        async with caller.transaction() as session:
            bot_id = await service.create_bot(session, caller.principal, request.app.state.settings, key, data)
    except REFUSALS as error:
        shown = _FIELDS if family is None else (*_FIELDS, *family.fields)
        return _register_page(request, form.get("engine"), fitting.refused(error, shown=shown), error.status)
    return go(request, f"/bots/{bot_id}/registered")


@get("/bots/{bot_id:uuid}/registered")
async def registered_page(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> Response[str]:
    """What became of a registration; asks again until it is known."""
    return page(request, "bots/registered.html", bot=await shown_bot(request, caller, bot_id))


HANDLERS = [new_bot_page, register_action, registered_page]
