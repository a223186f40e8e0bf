"""Who asks for a page, and whether a form that comes in is one that we gave out.

The cookie holds the same opaque session token that programs send as a bearer token. The API never looks at cookies, and
pages never at bearer tokens: so a page of another site can neither use a person's cookie on the API nor, without the
token that is in our forms, on a page.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from litestar import Request
from litestar.datastructures import Cookie

from control_plane.errors import ConflictError, ForbiddenError, UnauthenticatedError
from control_plane.http.caller import Caller, located
from control_plane.identity.people import is_verified
from control_plane.identity.principal import NotAMemberError, Principal
from control_plane.identity.sign_in import principal_of
from control_plane.security.tokens import is_api_key
from control_plane.settings import Settings

SESSION, GUEST, TENANT = "tw_session", "tw_guest", "tw_tenant"
CSRF_FIELD = "csrf_token"
SHOWN_TENANT = "x-shown-tenant"
"""With every request that a page makes by itself: the tenant that it shows."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SAME_SITE = frozenset({"same-origin", "none"})  # what browsers say of our own pages, and of a person's own doing
_GUEST_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


class SignInNeededError(UnauthenticatedError):
    """A page that only signed-in people may see. Browsers are led to the sign-in page and back."""

    def __init__(self) -> None:
        super().__init__("your session has ended: sign in again")


class NoTenantError(ForbiddenError):
    """A page of a tenant, asked for by somebody who is in none. Browsers are led to where they can make or join one."""

    code = "not_a_member"

    def __init__(self) -> None:
        super().__init__("you are a member of no tenant: make one, or accept an invitation")


class OutdatedPageError(ConflictError):
    """A part of a page that shows another tenant than the one chosen since, in another tab. Browsers load it anew."""

    code = "other_tenant"

    def __init__(self) -> None:
        super().__init__("another tenant was chosen in the meantime: reload the page", headers={"HX-Refresh": "true"})


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: a signed-in person, or a guest whom only a random cookie tells from other guests."""

    secret: str
    caller: Caller | None = None
    verified: bool = True
    """Whether a signed-in person's address is confirmed, or they have none. Found out for whole pages alone."""
    is_new: bool = False
    """The guest has no cookie yet: the answer must set it."""

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Visitor(signed_in={self.caller is not None})"

    @property
    def csrf_token(self) -> str:
        """What every form carries. It follows from the cookie, which other sites can neither read nor set, and from the
        tenant: a form that was opened before another tenant was chosen does nothing in that one.
        """
        return self._token_in(self.caller.principal.tenant if self.caller else None)

    @property
    def csrf_tokens(self) -> tuple[str, ...]:
        """What is good for forms that mean no tenant: those of all that the person is in."""
        mine = [tenant.id for tenant in self.caller.principal.tenants] if self.caller else []
        return tuple(self._token_in(tenant) for tenant in (*mine, None))

    def _token_in(self, tenant: UUID | None) -> str:
        said = b"tradewise dashboard form" + (tenant.bytes if tenant else b"")
        return hmac.new(self.secret.encode(), said, hashlib.sha256).hexdigest()


def cookie_name(settings: Settings, plain: str) -> str:
    """The name as browsers keep it: with ``__Host-`` they refuse one from another host or over plain HTTP."""
    return f"__Host-{plain}" if settings.secure_cookies else plain


def make_cookie(settings: Settings, plain: str, value: str, max_age: int | None) -> Cookie:
    """A cookie that scripts cannot read and other sites' forms do not send. ``max_age`` in seconds, 0 deletes it."""
    return Cookie(
        key=cookie_name(settings, plain),
        value=value,
        path="/",
        max_age=max_age,
        httponly=True,
        samesite="lax",
        secure=settings.secure_cookies,
    )


async def receive(request: Request[Any, Any, Any]) -> None:
    """Runs before every page: find out who asks, and refuse forms that are not ours.

    Raises :class:`SignInNeededError` where a guest asks for what is not for guests, :class:`ForbiddenError` for a form
    of another site or one that is no longer good, and :class:`NoTenantError` for somebody who is in no tenant.
    """
    visitor = await _visitor_of(request)
    request.state.visitor = visitor
    if visitor.caller is None and not request.route_handler.opt.get("guest"):
        raise SignInNeededError
    options = request.route_handler.opt
    if visitor.caller is not None and not (options.get("guest") or options.get("any_tenant")):
        tenant = visitor.caller.principal.tenant
        if tenant is None:
            raise NoTenantError
        if request.headers.get(SHOWN_TENANT, str(tenant)) != str(tenant):
            raise OutdatedPageError
    if request.method not in _SAFE_METHODS:
        await _check_form(request, visitor)


async def still_signed_in(request: Request[Any, Any, Any], caller: Caller) -> bool:
    """Whether the cookie of a request that goes on and on still stands for ``caller``."""
    token = request.cookies.get(cookie_name(request.app.state.settings, SESSION))
    principal = await _person(request, token) if token else None
    return principal is not None and principal.tenant == caller.principal.tenant


async def _visitor_of(request: Request[Any, Any, Any]) -> Visitor:
    settings: Settings = request.app.state.settings
    token = request.cookies.get(cookie_name(settings, SESSION))
    principal = await _person(request, token) if token else None
    if token and principal is not None:
        caller = Caller(principal=located(principal, request), database=request.app.state.database)
        return Visitor(secret=token, caller=caller, verified=await _is_verified(request, caller))
    known = request.cookies.get(cookie_name(settings, GUEST), "")
    if _GUEST_FORM.fullmatch(known):
        return Visitor(secret=known)
    return Visitor(secret=secrets.token_urlsafe(32), is_new=True)


async def _person(request: Request[Any, Any, Any], token: str) -> Principal | None:
    # An API key in the cookie is no session: nobody signed in, and nobody could sign it out.
    if is_api_key(token):
        return None
    database, settings = request.app.state.database, request.app.state.settings
    try:
        return await principal_of(database, settings, token, chosen_tenant(request))
    except NotAMemberError:  # no longer, or somebody else chose it in this browser
        return await principal_of(database, settings, token)


def chosen_tenant(request: Request[Any, Any, Any]) -> UUID | None:
    """The tenant that was chosen in this browser; None where the cookie holds nothing of the kind."""
    try:
        return UUID(request.cookies.get(cookie_name(request.app.state.settings, TENANT), ""))
    except ValueError:
        return None


async def _is_verified(request: Request[Any, Any, Any], caller: Caller) -> bool:
    # Streams, data and parts of a page have no place for the hint: they do not pay for the question.
    if request.route_handler.opt.get("page") is False or "hx-request" in request.headers:
        return True
    async with caller.database.user(caller.principal.user_id) as session:
        return await is_verified(session, caller.principal.user_id)


async def _check_form(request: Request[Any, Any, Any], visitor: Visitor) -> None:
    if not _from_here(request):
        raise ForbiddenError(
            "this form was sent from another site, so nothing was done. Open the page here and try again",
            code="cross_origin",
        )
    form = await request.form()
    given = form.get(CSRF_FIELD)
    options = request.route_handler.opt
    anywhere = options.get("guest") or options.get("any_tenant")
    good = visitor.csrf_tokens if anywhere else (visitor.csrf_token,)
    if not isinstance(given, str) or not any(hmac.compare_digest(given.encode(), token.encode()) for token in good):
        raise ForbiddenError(
            "this form is no longer good, so nothing was done. Reload the page and try again", code="csrf_failed"
        )


def _from_here(request: Request[Any, Any, Any]) -> bool:
    """What the browser itself says about where the form was. Browsers that say nothing are held by the token alone."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in _SAME_SITE:
        return False
    if origin is None:
        return True
    public = urlsplit(request.app.state.settings.public_url or "")
    if public.netloc and origin == f"{public.scheme}://{public.netloc}":
        return True
    said = urlsplit(origin)
    return said.scheme in {"http", "https"} and said.netloc == request.headers.get("host")


def local_path(address: str | None) -> str | None:
    """``address`` where it is a path of our own, None where following it could lead to another site."""
    if not address or not address.startswith("/") or address.startswith("//") or "\\" in address:
        return None
    if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in address):
        return None  # browsers drop some of these, and what is left may begin with //
    return address
