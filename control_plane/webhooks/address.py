"""Addresses of webhooks: the rules of addresses that tenants give, and the path as it was given. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from control_plane.security.addresses import (
    MAX_URL_LENGTH,
    BotUrl,
    Network,
    UrlRefused,
    check_literal_host,
    parse_bot_url,
)

_PARTS: Final = re.compile(r"(?P<origin>[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)(?P<rest>.*)", re.DOTALL)
_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")
_DOTS: Final = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)


def parse_webhook_url(text: str) -> tuple[BotUrl, str]:
    """The origin in its canonical form, and the path with its leading slash, untouched. Raises `UrlRefused`.

    There is no query: what stands there is most often a password, and a message is proved by its signature.
    """
    if len(text) > MAX_URL_LENGTH:
        raise UrlRefused("url_too_long", f"Give a URL of at most {MAX_URL_LENGTH} characters.")
    match = _PARTS.fullmatch(text.strip(" "))
    if match is None:
        raise UrlRefused("url_invalid", "Give a full URL such as https://hooks.example.com/tradewise.")
    origin = parse_bot_url(match["origin"])
    path = match["rest"] or "/"
    if "#" in path:
        raise UrlRefused("url_fragment", "Leave the part from # on out of the URL.")
    if "?" in path:
        raise UrlRefused(
            "url_query", "Leave the part from ? on out of the URL: messages are proved by their signature."
        )
    if not _PATH.fullmatch(path) or any(_DOTS.fullmatch(segment) for segment in path.split("/")):
        raise UrlRefused("url_path", "Give a plain path, without . or .. and with other characters percent-encoded.")
    return origin, path


def checked_webhook_url(text: str, allow: Sequence[Network]) -> str:
    """``text`` in its normal form. Raises `UrlRefused` for what may not be called, as far as that shows without DNS.

    Plain http is for networks that the operator has opened: elsewhere anybody on the way reads of a tenant's troubles.
    """
    origin, path = parse_webhook_url(text)
    check_literal_host(origin, allow)
    literal = origin.literal
    near = literal is not None and any(literal in network for network in allow)
    if origin.scheme == "http" and not near and not (origin.host == "localhost" and allow):
        raise UrlRefused("url_scheme", "Give a URL that starts with https://.")
    return f"{origin.scheme}://{origin.authority}{path}"
