"""Signing up, in and out."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.params import QueryParameter

from control_plane.dashboard.entrance import (
    FOR_GUESTS,
    NO_ENTRY,
    TRIES,
    enter,
    is_signed_in,
    sign_in_again,
    sign_in_data,
    sign_in_form,
    told,
)
from control_plane.dashboard.forms import FormDependency, FormState
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.session import SESSION, local_path, make_cookie
from control_plane.http.address import client_address
from control_plane.http.caller import CallerDependency
from control_plane.identity import sign_in
from control_plane.identity.schemas import SignUp
from control_plane.identity.sign_in import SignedIn
from control_plane.identity.sign_up import sign_up
from control_plane.security.passwords import MINIMUM_LENGTH

Next = Annotated[str | None, QueryParameter(name="next", max_length=2000)]


@get("/sign-up", opt=FOR_GUESTS)
async def sign_up_page(request: Request[Any, Any, Any], then: Next = None) -> Response[Any]:
    """The form, or the fleet for somebody who is signed in; ``next`` is where to go afterwards, as when signing in."""
    if is_signed_in(request):
        return go(request, local_path(then) or "/")
    return _sign_up_form(request, FormState(), local_path(then))


def _sign_up_form(
    request: Request[Any, Any, Any], form: FormState, then: str | None, status: int = 200
) -> Response[str]:
    return page(
        request,
        "account/sign_up.html",
        status_code=status,
        form=form,
        next=then or "",
        password_min_length=MINIMUM_LENGTH,
    )


@post("/sign-up", opt=FOR_GUESTS)
async def sign_up_action(request: Request[Any, Any, Any], form: FormDependency) -> Response[Any]:
    """Make the person, then try what they would do next: sign in with what they typed.

    That works for a new address, and where it does not the words fit everybody. It tells no more than the two steps
    tell who does them by hand, and both are done with the same work for every address.
    """
    then = local_path(form.get("next"))
    sign_in_path = f"/sign-in?next={quote(then, safe='')}" if then else "/sign-in"
    try:
        data = form.read(SignUp)
        state = request.app.state
        await sign_up(state.database, state.passwords, state.settings, data, address=client_address(request))
    except TRIES as error:
        refused = form.refused(error, shown=("full_name", "email", "password"))
        return told(_sign_up_form(request, refused, then, error.status), error)
    if state.settings.require_verified_email:
        return go(request, f"/verify-email?email={quote(data.email, safe='@')}", say="check-mail")
    try:
        signed_in = await _sign_in(request, data.email, data.password)
    except NO_ENTRY:
        return go(request, sign_in_path, say="perhaps-new")
    return enter(request, signed_in, then or "/")


@get("/sign-in", opt=FOR_GUESTS)
async def sign_in_page(request: Request[Any, Any, Any], then: Next = None) -> Response[Any]:
    """The form; ``next`` is where to go afterwards, if that is a path of ours."""
    if is_signed_in(request):
        return go(request, local_path(then) or "/")
    return sign_in_form(request, FormState(), local_path(then) or "")


@post("/sign-in", opt=FOR_GUESTS)
async def sign_in_action(request: Request[Any, Any, Any], form: FormDependency) -> Response[Any]:
    """Open a session and lead to where the person wanted to go."""
    then = local_path(form.get("next")) or ""
    try:
        data = sign_in_data(form)
        signed_in = await _sign_in(request, data.email, data.password, data.totp)
    except NO_ENTRY as error:
        return sign_in_again(request, form, then, error)
    return enter(request, signed_in, then or "/")


async def _sign_in(request: Request[Any, Any, Any], email: str, password: str, totp: str | None = None) -> SignedIn:
    return await sign_in.sign_in(
        request.app.state.database,
        request.app.state.passwords,
        request.app.state.settings,
        data_keys=request.app.state.data_keys,
        email=email,
        password=password,
        totp=totp,
        address=client_address(request),
        user_agent=request.headers.get("user-agent"),
    )


@post("/sign-out", opt={"any_tenant": True})
async def sign_out_action(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[Any]:
    """End the session here and in the browser."""
    await sign_in.sign_out(caller.database, caller.principal)
    return go(request, "/sign-in", say="signed-out", cookies=[make_cookie(request.app.state.settings, SESSION, "", 0)])


HANDLERS = [sign_up_page, sign_up_action, sign_in_page, sign_in_action, sign_out_action]
