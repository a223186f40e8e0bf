"""People in tenants, brought there as people are: by a mailed invitation that is accepted."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import msgspec

from control_plane.mail.outbox import Letter
from control_plane.security.sealing import Place, Sealed
from control_plane.security.vault import KeyPair, Vault
from tests.api import Api, Person


async def letters(admin: asyncpg.Connection, vault: Vault, to: str) -> list[Letter]:
    """What the outbox holds for an address, oldest first, opened as the notifier opens it."""
    found = []
    for row in await admin.fetch(
        "select m.id, m.sealed, m.key_version, m.suite as sealed_suite, k.version, k.suite, k.public_key,"
        " k.wrapped_private_key, k.kek_id, i.id as tenant_id from mails m"
        " join platform_keys k on k.version = m.key_version cross join installation i"
        " where m.sealed is not null order by m.id"
    ):
        pair = KeyPair(**{name: row[name] for name in KeyPair.__struct_fields__})
        sealed = Sealed(value=row["sealed"], key_version=row["key_version"], suite=row["sealed_suite"])
        opened = await vault.open(sealed, pair, Place(row["tenant_id"], "mails", "sealed", row["id"]))
        letter = msgspec.json.decode(opened.reveal(), type=Letter)
        if letter.to == to:
            found.append(letter)
    return found


async def invited(owner: Person, email: str, role: str, **options: Any) -> dict[str, Any]:
    """Invite an address to the owner's tenant."""
    path = f"/tenants/{owner.tenant_id}/invitations"
    answer: dict[str, Any] = await owner.call("POST", path, json={"email": email, "role": role}, **options)
    return answer


async def code_for(admin: asyncpg.Connection, vault: Vault, email: str) -> str:
    """The code in the newest invitation to an address."""
    body = (await letters(admin, vault, email))[-1].body
    match = re.search(r"^Code: (\S+)$", body, re.MULTILINE)
    assert match is not None, body
    return match[1]


async def joined(api: Api, admin: asyncpg.Connection, vault: Vault, owner: Person, role: str, name: str) -> Person:
    """A new person who is in the owner's tenant as ``role``; by default they act in their own one."""
    person = await api.person(name)
    await join(admin, vault, owner, person, role)
    return person


async def join(admin: asyncpg.Connection, vault: Vault, owner: Person, person: Person, role: str) -> None:
    """Bring a person into the owner's tenant."""
    await invited(owner, person.email, role, status=201)
    token = await code_for(admin, vault, person.email)
    tenant = await person.call("POST", "/invitations/accept", json={"token": token}, status=200)
    assert (tenant["id"], tenant["role"]) == (str(owner.tenant_id), role)


def there(owner: Person) -> dict[str, Any]:
    """Options of a call that acts in the owner's tenant."""
    return {"headers": {"X-Tenant-ID": str(owner.tenant_id)}}
