"""Signing up: one answer and one kind of work, whether or not the address is known."""

from __future__ import annotations

import msgspec
from sqlalchemy import text
from uuid_utils.compat import uuid7

from control_plane.database.sessions import Database
from control_plane.identity.codes import issue, new_code
from control_plane.identity.limits import NOTICES_OF_ACCOUNT, SIGN_UPS_OF_ACCOUNT, SIGN_UPS_OF_NETWORK, account_of
from control_plane.identity.schemas import SignUp
from control_plane.mail import messages
from control_plane.mail.letters import Letter
from control_plane.mail.outbox import post, until_ready
from control_plane.security.limits import TooManyAttemptsError, network_of, take
from control_plane.security.passwords import Passwords
from control_plane.settings import Settings

_SIGN_UP = text("select auth_sign_up(:user, :email, :hash, :name, :tenant, :tenant_name, :membership)")


async def sign_up(
    database: Database, passwords: Passwords, settings: Settings, data: SignUp, *, address: str | None
) -> None:
    """Make the person and a tenant of their own, and mail a code; where the address is taken, mail its owner so.

    Raises :class:`TooManyAttemptsError` by what was asked, never by what is known.
    """
    account = account_of(data.email)
    await take(database, SIGN_UPS_OF_NETWORK, network_of(address))
    await take(database, SIGN_UPS_OF_ACCOUNT, account)
    may_notify = await _may_notify(database, account)
    digest = await passwords.hash(data.password)
    await until_ready(database)
    name = data.full_name or data.email.partition("@")[0]
    values = {
        "user": uuid7(),
        "email": data.email,
        "hash": digest,
        "name": data.full_name,
        "tenant": uuid7(),
        "tenant_name": f"{name}'s workspace",
        "membership": uuid7(),
    }
    code = new_code()
    async with database.anonymous(address=address) as session:
        is_new = await session.scalar(_SIGN_UP, values)
        # A code that an owner has asked for must not die because a stranger signs up: theirs goes to no address.
        await issue(session, "verify_email", data.email if is_new else f"{values['user']}@nowhere.invalid", code)
        await post(session, _letter(data.email, code, settings.public_url, is_new=is_new, may_notify=may_notify))


def _letter(email: str, code: str, public_url: str | None, *, is_new: bool, may_notify: bool) -> Letter:
    if is_new:
        return messages.verify_email(email, email, code, public_url)
    told = messages.already_registered(email, public_url)
    return told if may_notify else msgspec.structs.replace(told, to=messages.NOBODY)


async def _may_notify(database: Database, account: str) -> bool:
    try:
        await take(database, NOTICES_OF_ACCOUNT, account)
    except TooManyAttemptsError:
        return False
    return True
