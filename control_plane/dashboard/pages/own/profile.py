"""A person's profile and password, and the end of their account."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post

from control_plane.dashboard.entrance import TRIES, told
from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.session import SESSION, make_cookie
from control_plane.errors import AppError, UnacceptableError, unacceptable
from control_plane.http.caller import Caller, CallerDependency
from control_plane.identity import password
from control_plane.identity.factors import view as second_factor
from control_plane.identity.people import rename, tenants_of, user_view
from control_plane.identity.principal import TenantSuspendedError
from control_plane.identity.schemas import ChangePassword, PatchMe
from control_plane.security.passwords import MINIMUM_LENGTH
from control_plane.tenants.people import end_me
from control_plane.tenants.schemas import EndMe

ANY_TENANT = {"any_tenant": True}
"""Of a route: about the person alone, so that it is there for somebody who is in no tenant."""

_PASSWORDS = ("current_password", "new_password")


@get("/account", opt=ANY_TENANT)
async def account_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """Who one is here."""
    return await _account(request, caller)


async def _account(
    request: Request[Any, Any, Any],
    caller: Caller,
    *,
    profile: FormState | None = None,
    changed: FormState | None = None,
    error: AppError | None = None,
) -> Response[str]:
    async with caller.transaction() as session:
        user = await user_view(session, caller.principal.user_id)
        factor = await second_factor(session, caller.principal.user_id)
    shown = page(
        request,
        "account/profile.html",
        status_code=error.status if error else 200,
        user=user,
        factor=factor,
        profile=profile or FormState(values={"full_name": user.full_name or ""}),
        changed=changed or FormState(),
        password_min_length=MINIMUM_LENGTH,
    )
    return told(shown, error) if error else shown


@post("/account/profile", opt=ANY_TENANT)
async def profile_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Another name, or none."""
    try:
        data = form.read(PatchMe, full_name=form.get("full_name").strip() or None)
        async with caller.transaction() as session:
            await rename(session, caller.principal.user_id, data.full_name)
    except REFUSALS as error:
        return await _account(request, caller, profile=form.refused(error, shown=("full_name",)), error=error)
    return go(request, "/account", say="profile-saved")


@post("/account/password", opt=ANY_TENANT)
async def password_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Another password, for somebody who knows the present one."""
    state = request.app.state
    try:
        data = form.read(ChangePassword)
        await password.change_password(
            state.database,
            state.passwords,
            state.settings,
            caller.principal,
            current_password=data.current_password,
            new_password=data.new_password,
        )
    except TRIES as error:
        return await _account(request, caller, changed=form.refused(error, shown=_PASSWORDS), error=error)
    return go(request, "/account", say="password-changed")


@get("/account/delete", opt=ANY_TENANT)
async def delete_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """What ends with the account, and the form that ends it."""
    return await _farewell(request, caller, FormState())


async def _farewell(
    request: Request[Any, Any, Any], caller: Caller, form: FormState, error: AppError | None = None
) -> Response[str]:
    async with caller.transaction() as session:
        tenants = await tenants_of(session, caller.principal.user_id)
    return page(
        request,
        "account/delete.html",
        status_code=error.status if error else 200,
        form=form,
        tenants=tenants,
        confirm=_confirmation(caller),
        has_subscribers=error is not None and error.code == "has_subscribers",
    )


def _confirmation(caller: Caller) -> str:
    return caller.principal.email or str(caller.principal.user_id)


@post("/account/delete", opt=ANY_TENANT)
async def delete_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """The end of the account; the browser forgets its session."""
    try:
        data = EndMe(confirm=form.get("confirm").strip(), end_subscriptions=bool(form.get("end_subscriptions")))
        await end_me(caller.database, caller.principal, data)
    except (*REFUSALS, TenantSuspendedError) as error:
        plain: AppError = error
        if isinstance(error, UnacceptableError) and error.code == "not_confirmed":
            plain = unacceptable("confirm", f"must be {_confirmation(caller)}", code=error.code)
        return await _farewell(request, caller, form.refused(plain, shown=("confirm",)), plain)
    cookies = [make_cookie(request.app.state.settings, SESSION, "", 0)]
    return go(request, "/sign-in", say="account-deleted", cookies=cookies)


HANDLERS = [account_page, profile_action, password_action, delete_page, delete_action]
