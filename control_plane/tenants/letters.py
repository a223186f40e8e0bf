"""What an invitation says. Names in it were chosen by people whom the reader may not know."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from control_plane.mail.outbox import Letter

_LONGEST_NAME: Final = 60
#: Nothing that a mail program would make a link of.
_NO_LINKS: Final = str.maketrans({**dict.fromkeys("/\\:@<>", " "), ".": "\u2024"})


def invitation(
    *, to: str, tenant: str, inviter: str | None, role: str, token: str, expires_at: datetime, public_url: str | None
) -> Letter:
    """The mail that carries the token. It is the only place where the token is ever written."""
    place, who = plain(tenant), plain(inviter) if inviter else "A member"
    way = f"open {public_url.rstrip('/')}/invitations#{token}" if public_url else "accept the invitation with this code"
    body = (
        f'{who} invites you to "{place}" on TradeWise, as {role}.\n\n'
        f"To join, sign in (or sign up) with this address, {to}, and {way}.\n\n"
        f"Code: {token}\n\n"
        f"It works once, for this address alone, until {expires_at:%Y-%m-%d %H:%M} UTC.\n"
        "If you do not know who this is, do nothing: nobody joins anything without you.\n"
    )
    return Letter(kind="invitation", to=to, subject=f'Invitation to "{place}" on TradeWise', body=body)


def plain(name: str) -> str:
    """A name that somebody chose, on one line, short, and without what could pass for an address."""
    return " ".join(name.translate(_NO_LINKS).split())[:_LONGEST_NAME]
