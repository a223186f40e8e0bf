"""Passwords for the login roles on a server that asks for them: made once, kept in the data folder (0600)."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from sqlalchemy import text

from control_plane.database.roles import LOGIN_ROLES
from control_plane.database.urls import url_for_role
from control_plane.database.visit import visiting
from control_plane.private_files import create_private_file


class NoLoginsError(RuntimeError):
    """No passwords were made in this data folder."""

    code = "no_logins"


async def give_logins(admin: str, data_dir: Path) -> dict[str, str]:
    """See that every login role has its password; a connection string for each kind of role."""
    passwords = _kept(_file(data_dir))
    async with visiting(admin) as connection, connection.begin():
        for role, password in passwords.items():
            # A utility statement takes no parameters: the server itself quotes the two into one.
            statement = await connection.scalar(
                text("select format('alter role %I password %L', cast(:role as text), cast(:password as text))"),
                {"role": role, "password": password},
            )
            await connection.exec_driver_sql(str(statement))
    return {kind: url_for_role(admin, role, passwords[role]) for kind, role in LOGIN_ROLES.items()}


def has_logins(data_dir: Path) -> bool:
    """Whether `tradewise up` has made passwords in this data folder."""
    return _file(data_dir).exists()


def login_url(admin: str, data_dir: Path, role: str) -> str:
    """The connection string of ``role`` as :func:`give_logins` made it. Raises :class:`NoLoginsError`."""
    if not has_logins(data_dir):
        raise NoLoginsError(f"no passwords for roles in {data_dir}: `tradewise up --data-dir {data_dir}` makes them")
    return url_for_role(admin, role, _kept(_file(data_dir))[role])


def _file(data_dir: Path) -> Path:
    return data_dir / "keys" / "roles.json"


def _kept(file: Path) -> dict[str, str]:
    if file.exists():
        kept: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return kept
    passwords = {role: secrets.token_urlsafe(24) for role in LOGIN_ROLES.values()}
    create_private_file(file, json.dumps(passwords).encode())
    return passwords
