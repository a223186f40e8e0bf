"""What every way in has in common: the sign-in form shown again with what was wrong, and the session's cookie."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response

from control_plane.dashboard.forms import REFUSALS, Form, FormState, in_words
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.session import GUEST, SESSION, Visitor, make_cookie
from control_plane.errors import AppError
from control_plane.identity import oidc
from control_plane.identity.factors import TotpFailedError, TotpRequiredError
from control_plane.identity.schemas import SignIn
from control_plane.identity.sessions import EmailNotVerifiedError, SignedIn, SignInFailedError
from control_plane.security.limits import TooManyAttemptsError
from control_plane.settings import Settings

FOR_GUESTS = {"guest": True}
"""Of a route: guests may come; who is signed in may as well."""

TRIES = (*REFUSALS, TooManyAttemptsError)
"""What a form that proves something is refused with."""

NO_ENTRY = (*TRIES, SignInFailedError, EmailNotVerifiedError, TotpRequiredError, TotpFailedError)
"""What signing in by a password is refused with."""

_SIGN_IN_FIELDS = ("email", "password", "totp")


def visitor_of(request: Request[Any, Any, Any]) -> Visitor:
    """Who asks."""
    visitor: Visitor = request.state.visitor
    return visitor


def is_signed_in(request: Request[Any, Any, Any]) -> bool:
    """Whether somebody is signed in."""
    return visitor_of(request).caller is not None


def own_email(request: Request[Any, Any, Any]) -> str:
    """The address of whoever is signed in; "" for a guest, and for somebody who has none."""
    caller = visitor_of(request).caller
    return (caller.principal.email or "") if caller else ""


def told(answer: Response[str], error: AppError) -> Response[str]:
    """``answer`` with what the error says to programs as well: when to try again."""
    if "Retry-After" in error.headers:
        answer.headers["Retry-After"] = error.headers["Retry-After"]
    return answer


def refused(form: Form, error: AppError, *, shown: tuple[str, ...]) -> FormState:
    """The form to show again. What is about a second factor stands beside its field."""
    if isinstance(error, TotpRequiredError):
        return FormState(values={"email": form.get("email")})  # nothing was wrong: the page asks for the rest
    state = form.refused(error, shown=shown)
    if isinstance(error, TotpFailedError):
        return FormState(values=state.values, errors={"totp": in_words(error.detail)})
    return state


def sign_in_form(
    request: Request[Any, Any, Any], form: FormState, then: str, *, error: AppError | None = None, status: int = 200
) -> Response[str]:
    """The sign-in page. ``then`` is where to go afterwards; ``error`` is why it is shown again."""
    factor = isinstance(error, TotpRequiredError | TotpFailedError) or "totp" in form.errors
    settings: Settings = request.app.state.settings
    shown = page(
        request,
        "account/sign_in.html",
        status_code=error.status if error else status,
        form=form,
        next=then,
        factor=factor,
        unverified=isinstance(error, EmailNotVerifiedError),
        oidc_name=oidc_name(settings),
    )
    return told(shown, error) if error else shown


def oidc_name(settings: Settings) -> str | None:
    """What people call the OpenID provider; None where this installation has none."""
    return settings.oidc_name if oidc.is_configured(settings) else None


def sign_in_again(request: Request[Any, Any, Any], form: Form, then: str, error: AppError) -> Response[str]:
    """The sign-in page after ``error``."""
    return sign_in_form(request, refused(form, error, shown=_SIGN_IN_FIELDS), then, error=error)


def sign_in_data(form: Form) -> SignIn:
    """What the sign-in form holds. Raises UnacceptableError."""
    return form.without("next").read(SignIn)


def enter(request: Request[Any, Any, Any], signed_in: SignedIn, path: str) -> Response[Any]:
    """Give the browser its session and lead on."""
    settings: Settings = request.app.state.settings
    session = make_cookie(settings, SESSION, signed_in.access_token, int(settings.session_lifetime))
    return go(request, path, cookies=[session, make_cookie(settings, GUEST, "", 0)])
