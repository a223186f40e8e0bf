"""Reads the outbox as the notifier does: what was sealed for somebody, opened with this run's key."""

from __future__ import annotations

import re

import asyncpg
import msgspec

from agents.secrets import open_row
from control_plane.mail.letters import Letter
from control_plane.security.sealing import Place
from control_plane.security.vault import Vault

_ROWS = """
    select m.id, m.sealed as value, m.key_version, m.suite as sealed_suite, i.id as tenant_id, k.version, k.suite,
        k.public_key, k.wrapped_private_key, k.kek_id
    from mails m cross join installation i join platform_keys k on k.version = m.key_version
    where m.sealed is not null order by m.id
"""
_CODE = re.compile(r"^    ((?:[0-9A-Z]{4}-){5}[0-9A-Z]{4})$", re.MULTILINE)


class Mailbox:
    """Every mail that waits to be sent."""

    def __init__(self, admin: asyncpg.Connection, vault: Vault) -> None:
        self._admin = admin
        self._vault = vault

    async def letters(self) -> list[Letter]:
        """All of them, oldest first, those to nobody included."""
        found = []
        for row in await self._admin.fetch(_ROWS):
            opened = await open_row(self._vault, row, Place(row["tenant_id"], "mails", "sealed", row["id"]))
            found.append(msgspec.json.decode(opened.reveal(), type=Letter))
        return found

    async def of(self, email: str) -> list[Letter]:
        """Those to one address."""
        return [letter for letter in await self.letters() if letter.to == email]

    async def code(self, email: str, kind: str) -> str:
        """The newest code of a kind that was mailed to an address."""
        letter = [letter for letter in await self.of(email) if letter.kind == kind][-1]
        return code_in(letter.body)


def code_in(body: str) -> str:
    """The code that a mail shows."""
    found = _CODE.search(body)
    assert found is not None, body
    return found[1]
