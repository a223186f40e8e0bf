"""The audit log for people: what was done, by whom and from where, and whether its chain still holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final

from litestar import Request, Response, get, post
from litestar.params import QueryParameter

from control_plane.api_keys import service as api_keys
from control_plane.audit.queries import Wanted, encode_seq, list_events, verify_chain
from control_plane.audit.schemas import EventView, VerifyView
from control_plane.bots.queries import bot_names
from control_plane.dashboard.forms import FormState, in_words, sentence
from control_plane.dashboard.rendering import more_path, page
from control_plane.dashboard.telling import ACTIONS, ACTORS, RESOURCES, Names, entry
from control_plane.errors import MalformedError, unacceptable
from control_plane.http.caller import Caller, CallerDependency
from control_plane.http.pagination import Cursor, Page
from control_plane.tenants.queries import list_members

Filter = Annotated[str, QueryParameter(max_length=200)]
From = Annotated[str, QueryParameter(name="from", max_length=40)]
To = Annotated[str, QueryParameter(name="to", max_length=40)]

_PAGE: Final = 50
_MOST_NAMES: Final = 200
_FIELDS: Final = ("actor", "action", "resource", "from", "to")


@get("/audit")
async def audit_page(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    actor: Filter = "",
    action: Filter = "",
    resource: Filter = "",
    since: From = "",
    to: To = "",
    cursor: Cursor = None,
) -> Response[str]:
    """Newest first, narrowed by the filters. One that cannot be read is named beside its field."""
    values = dict(zip(_FIELDS, (actor, action, resource, since, to), strict=True))
    return await _audit(request, caller, values, cursor)


@post("/audit/verify")
async def verify_action(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """Walk the chain and say what was found. A form, so that no link of another site sets us to work."""
    caller.principal.require("audit:read")
    async with caller.transaction() as session:
        verdict = await verify_chain(session)
    return await _audit(request, caller, dict.fromkeys(_FIELDS, ""), None, verdict)


async def _audit(
    request: Request[Any, Any, Any],
    caller: Caller,
    values: dict[str, str],
    cursor: str | None,
    verdict: VerifyView | None = None,
) -> Response[str]:
    person = caller.principal
    person.require("audit:read")
    found, form = Page[EventView](items=[], next_cursor=None), FormState(values=values)
    async with caller.transaction() as session:
        try:
            wanted = _wanted(values)
            found = await list_events(session, wanted, bots=person.bots, cursor=cursor, limit=_PAGE)
        except MalformedError as error:
            form = _refused(values, error)
        names = Names(
            you=person.user_id,
            members={one.user_id: one for one in await list_members(session, person, None, _MOST_NAMES)},
            keys={one.id: one.name for one in await api_keys.list_keys(session, person, None, _MOST_NAMES)},
            bots=await bot_names(session, _MOST_NAMES),
        )
    people = [(f"user:{one.user_id}", names.person(one.user_id)) for one in names.members.values()]
    next_cursor = found.next_cursor
    return page(
        request,
        "audit/list.html",
        status_code=400 if form.errors or form.error else 200,
        events=[entry(event, names) for event in found.items],
        more=f"/audit?cursor={next_cursor}" if verdict and next_cursor else more_path(request, next_cursor),
        narrowed=cursor is not None or any(values.values()),
        form=form,
        actors=_with(values["actor"], [*ACTORS, *people]),
        actions=_with(values["action"], ACTIONS),
        resources=_with(values["resource"], RESOURCES),
        verdict=verdict,
        fault_path=f"/audit?cursor={encode_seq(verdict.fault.seq + 1)}" if verdict and verdict.fault else None,
    )


def _wanted(values: dict[str, str]) -> Wanted:
    """What the filters ask for. Raises :class:`MalformedError`."""
    last = _day("to", values["to"])
    return Wanted(
        actor=values["actor"] or None,
        action=values["action"] or None,
        resource=values["resource"] or None,
        since=_day("from", values["from"]),
        until=last + timedelta(days=1) if last else None,
    )


def _day(name: str, text: str) -> datetime | None:
    """The beginning of a day in UTC."""
    if not text.strip():
        return None
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        day = date.max
    if day.year > 9998:  # nor is there a day after it
        wrong = unacceptable(name, "must be a day such as 2027-01-31")
        raise MalformedError(wrong.detail, code="invalid_time", errors=wrong.errors) from None
    return datetime.combine(day, time(tzinfo=UTC))


def _refused(values: dict[str, str], error: MalformedError) -> FormState:
    errors = {item.field: in_words(item.message) for item in error.errors if item.field in _FIELDS}
    return FormState(values=values, errors=errors, error=None if errors else sentence(error.detail))


def _with(value: str, options: Any) -> list[tuple[str, str]]:
    """The choices of a filter, and what an address asks for besides them."""
    known = [("", "Any"), *options]
    return known if any(value == name for name, _ in known) else [*known, (value, value)]


HANDLERS = [audit_page, verify_action]
