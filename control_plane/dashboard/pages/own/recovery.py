"""Codes by mail: to confirm an address, and to set a new password. Every answer is the same for every address."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.params import QueryParameter

from control_plane.dashboard.entrance import FOR_GUESTS, TRIES, is_signed_in, own_email, told, visitor_of
from control_plane.dashboard.forms import FormDependency, FormState
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.session import SESSION, make_cookie
from control_plane.http.address import client_address
from control_plane.identity import codes
from control_plane.identity.schemas import EmailOnly, ResetPassword, VerifyEmail
from control_plane.security.passwords import MINIMUM_LENGTH

Address = Annotated[str | None, QueryParameter(name="email", max_length=254)]


def _first(request: Request[Any, Any, Any], email: str | None) -> FormState:
    """An empty form for the address of the link, or one's own."""
    return FormState(values={"email": email or own_email(request)})


def _at(path: str, email: str) -> str:
    return f"{path}?email={quote(email, safe='@')}"


@get("/verify-email", opt=FOR_GUESTS)
async def verify_email_page(request: Request[Any, Any, Any], email: Address = None) -> Response[Any]:
    """Where the code of a mail is typed in. Somebody who is signed in and has nothing to confirm is told so."""
    mine = own_email(request)
    if is_signed_in(request) and visitor_of(request).verified and (email or mine).lower() == mine.lower():
        return go(request, "/account", say="verified-already")
    return _verify_form(request, _first(request, email))


def _verify_form(request: Request[Any, Any, Any], form: FormState, status: int = 200) -> Response[str]:
    return page(request, "account/verify_email.html", status_code=status, form=form)


@post("/verify-email", opt=FOR_GUESTS)
async def verify_email_action(request: Request[Any, Any, Any], form: FormDependency) -> Response[Any]:
    """Confirm the address by its code."""
    try:
        data = form.read(VerifyEmail)
        await codes.verify_email(
            request.app.state.database, email=data.email, code=data.code, address=client_address(request)
        )
    except TRIES as error:
        refused = form.refused(error, shown=("email", "code"))
        return told(_verify_form(request, refused, error.status), error)
    if is_signed_in(request):
        return go(request, "/account", say="verified")
    return go(request, "/sign-in", say="verified")


@post("/verify-email/resend", opt=FOR_GUESTS)
async def resend_action(request: Request[Any, Any, Any], form: FormDependency) -> Response[Any]:
    """Mail a fresh code; an earlier one is good no longer."""
    try:
        data = form.without("code").read(EmailOnly)
        await _send(request, "verify_email", data.email)
    except TRIES as error:
        refused = form.without("code").refused(error, shown=("email", "code"))
        return told(_verify_form(request, refused, error.status), error)
    return go(request, _at("/verify-email", data.email), say="code-sent")


@get("/forgot-password", opt=FOR_GUESTS)
async def forgot_page(request: Request[Any, Any, Any], email: Address = None) -> Response[str]:
    """Which address the code is to go to."""
    return _forgot_form(request, _first(request, email))


def _forgot_form(request: Request[Any, Any, Any], form: FormState, status: int = 200) -> Response[str]:
    return page(request, "account/forgot_password.html", status_code=status, form=form)


@post("/forgot-password", opt=FOR_GUESTS)
async def forgot_action(request: Request[Any, Any, Any], form: FormDependency) -> Response[Any]:
    """Mail a code and lead to where it is typed in."""
    try:
        data = form.read(EmailOnly)
        await _send(request, "reset_password", data.email)
    except TRIES as error:
        return told(_forgot_form(request, form.refused(error, shown=("email",)), error.status), error)
    return go(request, _at("/reset-password", data.email), say="code-sent")


async def _send(request: Request[Any, Any, Any], purpose: codes.Purpose, email: str) -> None:
    state = request.app.state
    await codes.send_code(state.database, state.settings, purpose, email, client_address(request))


@get("/reset-password", opt=FOR_GUESTS)
async def reset_page(request: Request[Any, Any, Any], email: Address = None) -> Response[str]:
    """Where the code of a mail is typed in, with the password to be."""
    return _reset_form(request, _first(request, email))


def _reset_form(request: Request[Any, Any, Any], form: FormState, status: int = 200) -> Response[str]:
    return page(
        request, "account/reset_password.html", status_code=status, form=form, password_min_length=MINIMUM_LENGTH
    )


@post("/reset-password", opt=FOR_GUESTS)
async def reset_action(request: Request[Any, Any, Any], form: FormDependency) -> Response[Any]:
    """Set the password. Every session of the person has ended then, and the browser forgets its own."""
    state = request.app.state
    try:
        data = form.read(ResetPassword)
        await codes.reset_password(
            state.database,
            state.passwords,
            state.settings,
            email=data.email,
            code=data.code,
            new_password=data.new_password,
            address=client_address(request),
        )
    except TRIES as error:
        refused = form.refused(error, shown=("email", "code", "new_password"))
        return told(_reset_form(request, refused, error.status), error)
    return go(request, "/sign-in", say="password-set", cookies=[make_cookie(state.settings, SESSION, "", 0)])


HANDLERS = [
    verify_email_page,
    verify_email_action,
    resend_action,
    forgot_page,
    forgot_action,
    reset_page,
    reset_action,
]
