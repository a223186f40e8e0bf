"""What our mails say: plain, short, and never a code in an address. Pure functions from facts to letters."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from control_plane.mail.letters import Letter

#: A letter to nobody is sealed, kept and opened like any other, and then thrown away: see docs/decisions/0014.
NOBODY: Final = ""

_NOT_YOU: Final = "If this was not you, do nothing: without the code nobody can go on. Never give the code to anyone.\n"


def verify_email(to: str, email: str, code: str, public_url: str | None) -> Letter:
    """A code that shows that an address is its owner's."""
    return Letter(
        kind="verify_email",
        to=to,
        subject="Your TradeWise code",
        body=(
            "Hello,\n\n"
            "this code shows TradeWise that this e-mail address is yours:\n\n"
            f"    {code}\n\n"
            "It is good once, within 24 hours."
            f"{_where(public_url, 'verify-email', email)}\n\n"
            f"{_NOT_YOU}"
        ),
    )


def reset_password(to: str, email: str, code: str, public_url: str | None) -> Letter:
    """A code that sets a new password."""
    return Letter(
        kind="reset_password",
        to=to,
        subject="Set a new TradeWise password",
        body=(
            "Hello,\n\n"
            "somebody, we hope you, asked for a new password for your TradeWise account. The code for it is:\n\n"
            f"    {code}\n\n"
            "It is good once, within one hour. Setting a new password signs you out everywhere."
            f"{_where(public_url, 'reset-password', email)}\n\n"
            f"{_NOT_YOU}Your password is unchanged.\n"
        ),
    )


def already_registered(to: str, public_url: str | None) -> Letter:
    """To somebody whose address was given at sign-up once more."""
    return Letter(
        kind="already_registered",
        to=to,
        subject="You have a TradeWise account already",
        body=(
            "Hello,\n\n"
            "somebody tried to sign up at TradeWise with this e-mail address, which has an account already.\n\n"
            f"If this was you, sign in{_at(public_url, 'sign-in')}. If you do not remember the password, set a new one"
            f"{_at(public_url, 'reset-password')}.\n\n"
            "If this was not you, do nothing: your account is as it was.\n"
        ),
    )


def password_changed(to: str, public_url: str | None) -> Letter:
    """To the owner, after the fact."""
    return Letter(
        kind="password_changed",
        to=to,
        subject="Your TradeWise password was changed",
        body=(
            "Hello,\n\n"
            "the password of your TradeWise account was changed just now, and every other session was signed out.\n\n"
            "If this was you, there is nothing to do. If it was not, set a new password at once"
            f"{_at(public_url, 'reset-password')}, then look through your sessions and API keys.\n"
        ),
    )


def _at(public_url: str | None, page: str) -> str:
    return f" at {public_url.rstrip('/')}/{page}" if public_url else ""


def _where(public_url: str | None, page: str, email: str) -> str:
    if not public_url:
        return ""
    return f" Enter it here:\n\n    {public_url.rstrip('/')}/{page}?email={quote(email, safe='@')}"
