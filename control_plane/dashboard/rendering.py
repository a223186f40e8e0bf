"""Answers of the dashboard: a page in its frame, or the way to the next one with a word to say there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment
from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect

from control_plane.dashboard.session import GUEST, Visitor, cookie_name, local_path, make_cookie
from control_plane.settings import Settings

_FLASH = "tw_flash"
_FLASH_S = 60

# The cookie holds a name of this table, never words: nobody can put words of their own on our pages.
_WORDS: dict[str, tuple[str, str]] = {
    "perhaps-new": ("info", "If this address is new here, the account is ready: sign in."),
    "check-mail": ("info", "A mail is on its way. Confirm your address with the code in it, then sign in."),
    "signed-out": ("success", "You are signed out."),
    "bot-trading": ("info", "The bot is being told. It counts as done when its own state shows it."),
    "bot-checking": ("info", "The bot is being checked. The result appears here by itself."),
    "bot-changed": ("success", "What happens when the bot ends was saved. It holds from now on."),
    "bot-removed": ("success", "The bot was removed."),
    "subscribed": ("success", "You are subscribed. The first figures appear here by themselves."),
    "subscription-cancelled": ("success", "The subscription was cancelled."),
    "template-saved": ("success", "The template was saved as a draft. Publish it when you are ready."),
    "template-published": ("success", "The template is in the marketplace now."),
    "template-unpublished": ("success", "The template is no longer in the marketplace. Subscriptions that run go on."),
    "code-sent": ("info", "If this address has an account that needs it, a mail with a code is on its way."),
    "verified": ("success", "Your e-mail address is confirmed."),
    "verified-already": ("info", "Your e-mail address is confirmed already."),
    "password-set": ("success", "The password is set, and every session has ended. Sign in with the new one."),
    "password-changed": ("success", "The password was changed. You are signed out everywhere else."),
    "profile-saved": ("success", "Your profile was saved."),
    "second-factor-off": ("success", "The second factor is off. You are signed out everywhere else."),
    "session-ended": ("success", "That session has ended."),
    "sessions-ended": ("success", "You are signed out everywhere else."),
    "identity-linked": ("success", "The identity is linked: you can sign in with it from now on."),
    "identity-unlinked": ("success", "The identity is no longer a way into your account."),
    "account-deleted": ("success", "Your account is deleted. Thank you for having been here."),
    "key-revoked": ("success", "The key was revoked. Programs that use it are refused from now on."),
    "tenant-made": ("success", "The tenant was made. You own it, and you work in it now."),
    "joined": ("success", "You are a member now, and you work in this tenant."),
    "tenant-renamed": ("success", "The tenant has its new name."),
    "reach-changed": ("success", "The rules were saved. The firewall takes them up by itself."),
    "tenant-suspended": ("success", "The tenant is suspended. Its bots are being stopped."),
    "tenant-resumed": ("success", "The tenant is resumed. Its bots start again as they were wished."),
    "tenant-deleted": ("success", "The tenant was deleted for good."),
    "tenant-left": ("success", "You left the tenant. Your keys there were revoked."),
    "owner-changed": ("success", "The tenant was handed over. You are an admin of it now."),
    "role-changed": ("success", "The role was changed. It holds from now on."),
    "member-removed": ("success", "The member was removed, and the keys they had made were revoked."),
    "invited": ("success", "The invitation is on its way by mail."),
    "channel-added": ("success", "They are told from now on. Send a test to see that it arrives."),
    "channel-changed": ("success", "The channel was changed."),
    "channel-removed": ("success", "The channel was removed. Nothing is told there any more."),
    "chat-code-sent": ("info", "A code is on its way to the chat. Enter it here."),
    "chat-verified": ("success", "The chat has proved itself, and is told from now on."),
    "test-sent": ("info", "A test is on its way. What becomes of it appears here."),
    "rule-changed": ("success", "The rules were saved."),
    "quiet-changed": ("success", "Quiet hours and reminders were saved."),
    "invitation-withdrawn": ("success", "The invitation was withdrawn. Its code is worth nothing now."),
}


def page(
    request: Request[Any, Any, Any], template: str, *, status_code: int = 200, fragment: bool = False, **context: Any
) -> Response[str]:
    """Render ``template`` with what every page needs. A ``fragment`` has no frame, so it leaves messages for a page."""
    settings: Settings = request.app.state.settings
    environment: Environment = request.app.state.pages
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    said = None if fragment else request.cookies.get(cookie_name(settings, _FLASH))
    message = _WORDS.get(said or "")
    frame = {
        "viewer": _viewer(visitor),
        "csrf_token": visitor.csrf_token if visitor else "",
        "current_path": current_path(request),
        "flash": [{"level": message[0], "text": message[1]}] if message else [],
    }
    cookies: list[Cookie] = []
    if said:
        cookies.append(make_cookie(settings, _FLASH, "", 0))
    if visitor is not None and visitor.is_new:
        cookies.append(make_cookie(settings, GUEST, visitor.secret, None))
    body = environment.get_template(template).render(frame | context)
    return Response(body, status_code=status_code, media_type=MediaType.HTML, cookies=cookies)


def _viewer(visitor: Visitor | None) -> dict[str, Any] | None:
    if visitor is None or visitor.caller is None:
        return None
    person = visitor.caller.principal
    return {
        "email": person.email,
        "full_name": person.full_name,
        "tenant_name": person.tenant_name or "no tenant",
        "role": person.role or "member",
        "unverified": not visitor.verified,
        "tenant": person.tenant,
        "tenants": person.tenants,
        "scopes": person.scopes,
        "suspended": person.tenant_status == "suspended",
    }


def go(
    request: Request[Any, Any, Any], path: str, *, say: str | None = None, cookies: Iterable[Cookie] = ()
) -> Redirect:
    """Lead to ``path`` of our own by GET; ``say`` names the sentence to show there."""
    settings: Settings = request.app.state.settings
    flash = [make_cookie(settings, _FLASH, say, _FLASH_S)] if say else []
    return Redirect(path, status_code=303, cookies=[*cookies, *flash])


def go_back(request: Request[Any, Any, Any], otherwise: str, *, say: str | None = None) -> Redirect:
    """Lead back to the page whose button was pressed, ``otherwise`` where the browser does not tell which it was."""
    parts = urlsplit(request.headers.get("hx-current-url") or request.headers.get("referer") or "")
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    here = parts.netloc == request.headers.get("host")
    return go(request, (local_path(path) if here else None) or otherwise, say=say)


def current_path(request: Request[Any, Any, Any]) -> str:
    """Path and query of this page. The path as it was routed, which never begins with two slashes."""
    query = request.url.query
    return f"{request.scope['path']}?{query}" if query else str(request.scope["path"])


def more_path(request: Request[Any, Any, Any], next_cursor: str | None) -> str | None:
    """Address of the next page of this list, None on the last one."""
    if next_cursor is None:
        return None
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.scope['path']}?{urlencode([*kept, ('cursor', next_cursor)])}"
