"""Signing up, in and out."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.params import QueryParameter

from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.session import GUEST, SESSION, Visitor, local_path, make_cookie
from control_plane.errors import AppError
from control_plane.http.address import client_address
from control_plane.http.caller import CallerDependency
from control_plane.identity import sign_in
from control_plane.identity.factors import TotpFailedError, TotpRequiredError
from control_plane.identity.schemas import SignIn, SignUp
from control_plane.identity.sessions import EmailNotVerifiedError
from control_plane.identity.sign_in import SignedIn, SignInFailedError
from control_plane.identity.sign_up import sign_up
from control_plane.security.limits import TooManyAttemptsError
from control_plane.security.passwords import MINIMUM_LENGTH

_FOR_GUESTS = {"guest": True}
_NOT_NOW = (SignInFailedError, EmailNotVerifiedError, TooManyAttemptsError)
Next = Annotated[str | None, QueryParameter(name="next", max_length=2000)]


def _is_signed_in(request: Request[Any, Any, Any]) -> bool:
    visitor: Visitor = request.state.visitor
    return visitor.caller is not None


@get("/sign-up", opt=_FOR_GUESTS)
async def sign_up_page(request: Request[Any, Any, Any], then: Next = None) -> Response[Any]:
    """The form, or the fleet for somebody who is signed in; ``next`` is where to go afterwards, as when signing in."""
    if _is_signed_in(request):
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


@post("/sign-up", opt=_FOR_GUESTS)
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
    except (*REFUSALS, TooManyAttemptsError) as error:
        refused = form.refused(error, shown=("full_name", "email", "password"))
        return _told(_sign_up_form(request, refused, then, error.status), error)
    if state.settings.require_verified_email:
        return go(request, sign_in_path, say="check-mail")
    try:
        signed_in = await _sign_in(request, data.email, data.password)
    except (*_NOT_NOW, TotpRequiredError):
        return go(request, sign_in_path, say="perhaps-new")
    return _enter(request, signed_in, then or "/")


@get("/sign-in", opt=_FOR_GUESTS)
async def sign_in_page(request: Request[Any, Any, Any], then: Next = None) -> Response[Any]:
    """The form; ``next`` is where to go afterwards, if that is a path of ours."""
    if _is_signed_in(request):
        return go(request, local_path(then) or "/")
    return page(request, "account/sign_in.html", form=FormState(), next=local_path(then) or "", factor=False)


@post("/sign-in", opt=_FOR_GUESTS)
async def sign_in_action(request: Request[Any, Any, Any], form: FormDependency) -> Response[Any]:
    """Open a session and lead to where the person wanted to go."""
    then = local_path(form.get("next"))
    shown = ("email", "password", "totp")
    try:
        data = form.read(SignIn)
        signed_in = await _sign_in(request, data.email, data.password, data.totp)
    except (*REFUSALS, *_NOT_NOW, TotpRequiredError, TotpFailedError) as error:
        state = form.refused(error, shown=shown)
        factor = isinstance(error, TotpRequiredError | TotpFailedError) or "totp" in state.errors
        shown_again = page(
            request, "account/sign_in.html", status_code=error.status, form=state, next=then or "", factor=factor
        )
        return _told(shown_again, error)
    return _enter(request, signed_in, then or "/")


def _told(answer: Response[str], error: AppError) -> Response[str]:
    """``answer`` with what the error says to programs as well: when to try again."""
    if "Retry-After" in error.headers:
        answer.headers["Retry-After"] = error.headers["Retry-After"]
    return answer


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


def _enter(request: Request[Any, Any, Any], signed_in: SignedIn, path: str) -> Response[Any]:
    settings = request.app.state.settings
    session = make_cookie(settings, SESSION, signed_in.access_token, int(settings.session_lifetime))
    return go(request, path, cookies=[session, make_cookie(settings, GUEST, "", 0)])


@post("/sign-out", opt={"any_tenant": True})
async def sign_out_action(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[Any]:
    """End the session here and in the browser."""
    await sign_in.sign_out(caller.database, caller.principal)
    return go(request, "/sign-in", say="signed-out", cookies=[make_cookie(request.app.state.settings, SESSION, "", 0)])


HANDLERS = [sign_up_page, sign_up_action, sign_in_page, sign_in_action, sign_out_action]
