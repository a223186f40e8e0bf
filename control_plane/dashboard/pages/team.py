"""The tenant as a whole: who is in it and as what, who is invited; its name, its suspension, its owner and its end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState, in_words, sentence
from control_plane.dashboard.pages.tenants import chosen
from control_plane.dashboard.rendering import go, more_path, page
from control_plane.errors import AppError
from control_plane.http.caller import Caller, CallerDependency
from control_plane.http.pagination import Cursor, decode_cursor, page_of
from control_plane.identity.models import ROLES
from control_plane.security.limits import TooManyAttemptsError
from control_plane.tenants import invitations, members, queries, rules, service
from control_plane.tenants.schemas import EndTenant, MemberView, NewInvitation, NewOwner, PatchMember, PatchTenant

UserId = FromPath[UUID]
InvitationId = FromPath[UUID]

_PAGE: Final = 100
_NOTHING: Final = FormState()
_ROLES: Final = {
    "owner": "Owner: everything, and the tenant itself",
    "admin": "Admin: everything but suspending, deleting and handing over the tenant",
    "trader": "Trader: bots, templates and subscriptions",
    "viewer": "Viewer: looks, and changes nothing",
}


@get("/team")
async def team_page(request: Request[Any, Any, Any], caller: CallerDependency, cursor: Cursor = None) -> Response[str]:
    """Members, open invitations, and the tenant itself, with what the viewer may do about each."""
    return await _team(request, caller, {}, cursor=cursor)


async def _team(
    request: Request[Any, Any, Any],
    caller: Caller,
    forms: Mapping[str, FormState],
    *,
    status_code: int = 200,
    cursor: str | None = None,
    subscribers: bool = False,
) -> Response[str]:
    """The page. ``forms`` are those to show again after a refusal, by name; "page" holds what belongs to no form."""
    person = caller.principal
    person.require("tenant:read")
    async with caller.transaction() as session:
        tenant = await queries.get_tenant(session, person)
        rows = await queries.list_members(session, person, decode_cursor(cursor), _PAGE + 1)
        invited = await queries.list_invitations(session, person, None, invitations.MOST_OPEN * 2)
    found = page_of(rows, _PAGE, lambda item: item.user_id)
    # Of one page of many, nobody can tell how many owners there are: the service looks when it comes to that.
    whole = cursor is None and found.next_cursor is None
    owners = sum(member.role == "owner" for member in found.items) if whole else 2
    active, role = tenant.status == "active", tenant.role
    manages = active and "members:write" in person.scopes
    return page(
        request,
        "team/team.html",
        status_code=status_code,
        tenant=tenant,
        members=[_shown(member, role, person.user_id, owners, manages=manages) for member in found.items],
        more=more_path(request, found.next_cursor) if request.method == "GET" else None,
        invitations=[(one, manages and rules.reaches(role, one.role)) for one in invited],
        roles=_within(role) if manages else (),
        others=[(str(member.user_id), _name(member)) for member in found.items if member.user_id != person.user_id],
        now=datetime.now(UTC),
        may={
            "rename": active and "tenant:write" in person.scopes,
            "leave": active and rules.remove(role, role, owners=owners) is None,
            "own": "tenant:delete" in person.scopes and tenant.suspended_by != "operator",
        },
        forms={
            **dict.fromkeys(("page", "invite", "owner", "delete"), _NOTHING),
            "rename": FormState(values={"name": tenant.name}),
            **forms,
        },
        subscribers=subscribers,
    )


def _shown(member: MemberView, role: str, viewer: UUID, owners: int, *, manages: bool) -> dict[str, Any]:
    """A member, with the roles that the viewer may give them and whether they may be removed."""
    others = [
        pair
        for pair in _within(role)
        if pair[0] != member.role and rules.change_role(role, member.role, pair[0], owners=owners) is None
    ]
    removable = manages and member.user_id != viewer and rules.remove(role, member.role, owners=owners) is None
    return {
        "view": member,
        "name": _name(member),
        "you": member.user_id == viewer,
        "roles": others if manages else (),
        "removable": removable,
    }


def _within(role: str) -> tuple[tuple[str, str], ...]:
    """The roles that somebody of this role may give, the least first."""
    return tuple((name, _ROLES[name]) for name in reversed(ROLES) if rules.reaches(role, name))


def _name(member: MemberView) -> str:
    return member.full_name or member.email or "Somebody without a name"


def _whole(error: AppError) -> dict[str, FormState]:
    return {"page": FormState(error=in_words(error.detail))}


@post("/team/members/{user_id:uuid}/role")
async def change_role_action(
    request: Request[Any, Any, Any], caller: CallerDependency, user_id: UserId, form: FormDependency
) -> Response[Any]:
    """Give a member another role."""
    try:
        data = form.read(PatchMember)
        async with caller.transaction() as session:
            await members.change_role(session, caller.principal, user_id, data.role)
    except REFUSALS as error:
        return await _team(request, caller, _whole(error), status_code=error.status)
    return go(request, "/team", say="role-changed")


@post("/team/members/{user_id:uuid}/remove")
async def remove_action(request: Request[Any, Any, Any], caller: CallerDependency, user_id: UserId) -> Response[Any]:
    """End a membership; one's own as well."""
    return await _remove(request, caller, user_id)


@post("/team/leave")
async def leave_action(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[Any]:
    """Leave the tenant."""
    return await _remove(request, caller, caller.principal.user_id)


async def _remove(request: Request[Any, Any, Any], caller: Caller, user_id: UUID) -> Response[Any]:
    try:
        async with caller.transaction() as session:
            await members.remove(session, caller.principal, user_id)
    except REFUSALS as error:
        return await _team(request, caller, _whole(error), status_code=error.status)
    if user_id == caller.principal.user_id:
        return go(request, "/", say="tenant-left", cookies=[chosen(request, None)])
    return go(request, "/team", say="member-removed")


@post("/team/owner")
async def hand_over_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Make another member the owner in the viewer's place."""
    try:
        data = form.read(NewOwner)
        async with caller.transaction() as session:
            await members.hand_over(session, caller.principal, data.user_id)
    except REFUSALS as error:
        forms = {"owner": form.refused(error, shown=("user_id",))}
        return await _team(request, caller, forms, status_code=error.status)
    return go(request, "/team", say="owner-changed")


@post("/team/invitations")
async def invite_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Offer a role to an address, in the place of an earlier offer."""
    # Before anything is counted: who may not invite uses up nobody's share.
    caller.principal.require("members:write")
    try:
        data = form.read(NewInvitation)
        await invitations.count_invitation(caller.database, caller.principal)
        async with caller.transaction() as session:
            await invitations.invite(session, caller.principal, request.app.state.settings, data)
    except (*REFUSALS, TooManyAttemptsError) as error:
        forms = {"invite": form.refused(error, shown=("email", "role"))}
        return await _team(request, caller, forms, status_code=error.status)
    return go(request, "/team", say="invited")


@post("/team/invitations/{invitation_id:uuid}/withdraw")
async def withdraw_action(
    request: Request[Any, Any, Any], caller: CallerDependency, invitation_id: InvitationId
) -> Response[Any]:
    """Make an invitation worthless."""
    async with caller.transaction() as session:
        await invitations.take_back(session, caller.principal, invitation_id)
    return go(request, "/team", say="invitation-withdrawn")


@post("/team/name")
async def rename_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Another name for the tenant."""
    try:
        data = form.read(PatchTenant)
        async with caller.transaction() as session:
            await service.rename(session, caller.principal, data)
    except REFUSALS as error:
        forms = {"rename": form.refused(error, shown=("name",))}
        return await _team(request, caller, forms, status_code=error.status)
    return go(request, "/team", say="tenant-renamed")


@post("/team/suspend")
async def suspend_action(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[Any]:
    """Stop what the tenant runs until it is resumed."""
    async with caller.transaction() as session:
        await service.suspend(session, caller.principal)
    return go(request, "/team", say="tenant-suspended")


@post("/team/resume")
async def resume_action(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[Any]:
    """End an owner's suspension."""
    async with caller.transaction() as session:
        await service.resume(session, caller.principal)
    return go(request, "/team", say="tenant-resumed")


@post("/team/delete")
async def delete_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Delete the tenant for good, once its name was typed. Where others subscribe to it, that must be meant as well."""
    try:
        # The name as it was typed: one that ends in a space is a name too.
        data = form.read(EndTenant, confirm=form.get("confirm"))
        async with caller.transaction() as session:
            await service.end(session, caller.principal, data)
    except REFUSALS as error:
        rests = error.code == "has_subscribers"
        state = form.refused(error, shown=("confirm", "end_subscriptions"))
        if rests:
            said = f"{sentence(error.detail.partition(':')[0])} Tick the box if they are to end with it."
            state = FormState(values=state.values, errors={"end_subscriptions": said})
        again = rests or bool(form.get("end_subscriptions"))
        return await _team(request, caller, {"delete": state}, status_code=error.status, subscribers=again)
    return go(request, "/", say="tenant-deleted", cookies=[chosen(request, None)])


HANDLERS = [
    team_page,
    change_role_action,
    remove_action,
    leave_action,
    hand_over_action,
    invite_action,
    withdraw_action,
    rename_action,
    suspend_action,
    resume_action,
    delete_action,
]
