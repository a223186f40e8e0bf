"""Routes of tenants, members and invitations.

Where the path names a tenant, that tenant is the one acted in: the guard (``tenant="path"``) has made the caller's
principal of it, with the caller's role there, and every transaction is bound to it. So no route here looks at the id.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, Router, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from uuid_utils.compat import uuid7

from control_plane.http.caller import CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.tenants import invitations, members, people, queries, service
from control_plane.tenants.schemas import (
    AcceptInvitation,
    EndMe,
    EndTenant,
    InvitationView,
    MemberView,
    NewInvitation,
    NewOwner,
    NewTenant,
    PatchMember,
    PatchTenant,
    TenantDetail,
)

_TENANT = "/tenants/{tenant_id:uuid}"


@get("/tenants", **operation("List my tenants", tag="tenants", tenant="any"))
async def list_tenants_route(
    caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[TenantDetail]:
    """Newest first, suspended ones included. An API key sees the one that it belongs to."""
    async with caller.transaction() as session:
        rows = await queries.my_tenants(session, caller.principal, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@post(
    "/tenants",
    status_code=201,
    **operation("Make a further tenant", tag="tenants", tenant="any", person=True, idempotent=True, errors=(422, 429)),
)
async def found_tenant_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[NewTenant]
) -> Response[TenantDetail]:
    """Whoever makes it is its owner. Name it in `X-Tenant-ID` to act in it."""
    principal, tenant_id = caller.principal, uuid7()
    await service.count_founding(caller.database, principal)
    there = msgspec.structs.replace(principal, tenant=tenant_id)

    async def found(session: Any) -> TenantDetail:
        await service.found(session, principal, tenant_id, data)
        return await queries.get_tenant(session, there)

    if principal.tenant is not None:
        return await once(request, caller, 201, found)
    # Who is in no tenant has no place to remember a first answer in but the tenant that is being made.
    return await once(request, msgspec.structs.replace(caller, principal=there), 201, found, work_first=True)


@get(_TENANT, **operation("Look at a tenant", tag="tenants", tenant="path", scope="tenant:read"))
async def get_tenant_route(caller: CallerDependency) -> TenantDetail:
    """With the caller's role in it, and whether and by whom it is suspended."""
    async with caller.transaction() as session:
        return await queries.get_tenant(session, caller.principal)


@patch(_TENANT, **operation("Rename a tenant", tag="tenants", tenant="path", scope="tenant:write"))
async def rename_tenant_route(caller: CallerDependency, data: JSONBody[PatchTenant]) -> TenantDetail:
    """The marketplace shows the new name at once."""
    async with caller.transaction() as session:
        return await service.rename(session, caller.principal, data)


@delete(
    _TENANT,
    status_code=204,
    **operation(
        "Delete a tenant",
        tag="tenants",
        tenant="path",
        scope="tenant:delete",
        person=True,
        even_suspended=True,
        errors=(409, 422),
    ),
)
async def delete_tenant_route(caller: CallerDependency, data: JSONBody[EndTenant]) -> None:
    """For good: bots are stopped and removed, memberships, keys and invitations end, and what was sealed can never be
    opened again.

    `confirm` must be the tenant's name. While others subscribe to its templates the answer is 409 `has_subscribers`,
    unless `end_subscriptions` is true: then their bots of these templates end in `error` with the reason
    `template_withdrawn`, and what follows a shared bot keeps its last figures.
    """
    async with caller.transaction() as session:
        await service.end(session, caller.principal, data)


@post(
    f"{_TENANT}/suspend",
    status_code=200,
    **operation(
        "Suspend a tenant", tag="tenants", tenant="path", scope="tenant:delete", person=True, even_suspended=True
    ),
)
async def suspend_tenant_route(caller: CallerDependency) -> TenantDetail:
    """Its bots stop and nobody calls its external ones; it can be read and not changed, and its API keys rest. What is
    wished of each bot stays, and holds again after `resume`.
    """
    async with caller.transaction() as session:
        return await service.suspend(session, caller.principal)


@post(
    f"{_TENANT}/resume",
    status_code=200,
    **operation(
        "Resume a tenant", tag="tenants", tenant="path", scope="tenant:delete", person=True, even_suspended=True
    ),
)
async def resume_tenant_route(caller: CallerDependency) -> TenantDetail:
    """Bots start again as they are wished. What the operator has suspended, only the operator resumes: 403."""
    async with caller.transaction() as session:
        return await service.resume(session, caller.principal)


@post(
    f"{_TENANT}/owner",
    status_code=200,
    **operation("Hand a tenant over", tag="tenants", tenant="path", scope="tenant:delete", person=True, errors=(422,)),
)
async def hand_over_route(caller: CallerDependency, data: JSONBody[NewOwner]) -> TenantDetail:
    """Another member becomes an owner, and the caller an admin."""
    async with caller.transaction() as session:
        await members.hand_over(session, caller.principal, data.user_id)
        return await queries.get_tenant(session, caller.principal)


@get(f"{_TENANT}/members", **operation("List members", tag="tenants", tenant="path", scope="members:read"))
async def list_members_route(
    caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[MemberView]:
    """Everybody who is in the tenant, with their role."""
    async with caller.transaction() as session:
        rows = await queries.list_members(session, caller.principal, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.user_id)


@patch(
    f"{_TENANT}/members/{{user_id:uuid}}",
    **operation("Change a member's role", tag="tenants", tenant="path", scope="members:write", errors=(409,)),
)
async def change_member_route(
    caller: CallerDependency, user_id: FromPath[UUID], data: JSONBody[PatchMember]
) -> MemberView:
    """Nobody grants a role above their own or touches somebody who has one, and an owner remains (409 `last_owner`)."""
    async with caller.transaction() as session:
        return await members.change_role(session, caller.principal, user_id, data.role)


@delete(
    f"{_TENANT}/members/{{user_id:uuid}}",
    status_code=204,
    **operation("Remove a member, or leave", tag="tenants", tenant="path", errors=(409,)),
)
async def remove_member_route(caller: CallerDependency, user_id: FromPath[UUID]) -> None:
    """The member's API keys of this tenant are revoked with it. Everybody may leave, but for the last owner; removing
    somebody else needs the scope `members:write`.
    """
    async with caller.transaction() as session:
        await members.remove(session, caller.principal, user_id)


@post(
    f"{_TENANT}/invitations",
    status_code=201,
    **operation(
        "Invite somebody by mail",
        tag="tenants",
        tenant="path",
        scope="members:write",
        idempotent=True,
        errors=(409, 429),
    ),
)
async def invite_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[NewInvitation]
) -> Response[InvitationView]:
    """The same answer whether or not the address is known here. A new invitation replaces the one before. It holds for
    seven days, once, and no longer than whoever gave it may grant that role.
    """
    await invitations.count_invitation(caller.database, caller.principal)
    settings = request.app.state.settings
    return await once(
        request, caller, 201, lambda session: invitations.invite(session, caller.principal, settings, data)
    )


@get(
    f"{_TENANT}/invitations",
    **operation("List open invitations", tag="tenants", tenant="path", scope="members:read"),
)
async def list_invitations_route(
    caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[InvitationView]:
    """Neither accepted nor taken back, newest first. Their codes are in the mails alone."""
    async with caller.transaction() as session:
        rows = await queries.list_invitations(session, caller.principal, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@delete(
    f"{_TENANT}/invitations/{{invitation_id:uuid}}",
    status_code=204,
    **operation("Take an invitation back", tag="tenants", tenant="path", scope="members:write"),
)
async def take_back_route(caller: CallerDependency, invitation_id: FromPath[UUID]) -> None:
    """Its code is worth nothing afterwards."""
    async with caller.transaction() as session:
        await invitations.take_back(session, caller.principal, invitation_id)


@post(
    "/invitations/accept",
    status_code=200,
    **operation("Accept an invitation", tag="tenants", tenant="any", person=True, errors=(404, 429)),
)
async def accept_route(caller: CallerDependency, data: JSONBody[AcceptInvitation]) -> TenantDetail:
    """The code that was mailed to the address of the account that is signed in; the address is verified by it."""
    return await invitations.accept(caller.database, caller.principal, data.token)


@delete(
    "/me",
    status_code=204,
    **operation("Delete my account", tag="me", tenant="any", person=True, errors=(409, 422)),
)
async def delete_me_route(caller: CallerDependency, data: JSONBody[EndMe]) -> None:
    """For good: sessions, memberships and API keys end, tenants that nobody else is in are deleted, and the address may
    sign up again.

    `confirm` must be the account's address. 409 `last_owner` while others are in a tenant that would be left without an
    owner, and `has_subscribers` as when a tenant is deleted.
    """
    await people.end_me(caller.database, caller.principal, data)


tenants_router = Router(
    path="/",
    route_handlers=[
        list_tenants_route,
        found_tenant_route,
        get_tenant_route,
        rename_tenant_route,
        delete_tenant_route,
        suspend_tenant_route,
        resume_tenant_route,
        hand_over_route,
        list_members_route,
        change_member_route,
        remove_member_route,
        invite_route,
        list_invitations_route,
        take_back_route,
        accept_route,
        delete_me_route,
    ],
)
