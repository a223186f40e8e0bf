"""What a browser keeps while its person is at the OpenID provider: which sign-in it began, and what for."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any, Final, Literal

import msgspec
from litestar import Request
from litestar.datastructures import Cookie

from control_plane.dashboard.session import cookie_name, local_path, make_cookie
from control_plane.identity.oidc import LIFETIME
from control_plane.settings import Settings

SIGN_IN: Final = "sign-in"
LINK: Final = "link"

_COOKIE: Final = "tw_oidc"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in that this very browser began. Only its state is secret, and it is of no use without the code."""

    purpose: Literal["sign-in", "link"]
    state: str
    then: str = ""


def keep(settings: Settings, kept: Kept) -> Cookie:
    """The cookie that binds the sign-in to the browser. It comes along when the provider leads back (SameSite=Lax)."""
    value = base64.urlsafe_b64encode(msgspec.json.encode(kept)).decode().rstrip("=")
    return make_cookie(settings, _COOKIE, value, int(LIFETIME.total_seconds()))


def drop(settings: Settings) -> Cookie:
    """Forget it."""
    return make_cookie(settings, _COOKIE, "", 0)


def kept_for(request: Request[Any, Any, Any], state: str) -> Kept | None:
    """What this browser began with ``state``; None where somebody else did, or it is too long ago."""
    value = request.cookies.get(cookie_name(request.app.state.settings, _COOKIE), "")
    try:
        kept = msgspec.json.decode(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)), type=Kept)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None
    if not hmac.compare_digest(kept.state.encode(), state.encode()):
        return None
    return msgspec.structs.replace(kept, then=local_path(kept.then) or "")
