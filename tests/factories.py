"""Rows for tests, made as the superuser and committed for real."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from control_plane.security.sealing import Place, PublicKey, seal
from control_plane.security.vault import Vault


class Urls(msgspec.Struct, frozen=True):
    """Connection strings to one test's database."""

    admin: str
    roles: dict[str, str]

    def __getitem__(self, kind: str) -> str:
        return self.roles[kind]


class Owner(msgspec.Struct, frozen=True):
    """A tenant and the person who owns it."""

    tenant_id: UUID
    user_id: UUID
    email: str


class Factory:
    """Inserts what a test needs to be there before it begins."""

    def __init__(self, admin: asyncpg.Connection, vault: Vault) -> None:
        self.admin = admin
        self.vault = vault

    async def owner(self, name: str = "Ada") -> Owner:
        """A person with a tenant of their own and its key pair. The password hash matches nothing."""
        user, tenant = uuid7(), uuid7()
        email = f"{name.lower()}-{user.hex[-8:]}@example.com"
        await self.admin.execute(
            "insert into users (id, email, password_hash, full_name) values ($1, $2, 'none', $3)", user, email, name
        )
        await self.admin.execute("insert into tenants (id, name) values ($1, $2)", tenant, f"{name}'s bots")
        await self.admin.execute(
            "insert into memberships (id, tenant_id, user_id, role) values ($1, $2, $3, 'owner')", uuid7(), tenant, user
        )
        pair = await self.vault.generate(tenant, 1)
        await self.admin.execute(
            "insert into tenant_keys (id, tenant_id, version, suite, public_key, wrapped_private_key, kek_id)"
            " values ($1, $2, $3, $4, $5, $6, $7)",
            uuid7(),
            tenant,
            pair.version,
            pair.suite,
            pair.public_key,
            pair.wrapped_private_key,
            pair.kek_id,
        )
        return Owner(tenant_id=tenant, user_id=user, email=email)

    async def public_key(self, tenant_id: UUID) -> PublicKey:
        """The tenant's newest public key."""
        row = await self.admin.fetchrow(
            "select public_key, version, suite from tenant_keys where tenant_id = $1 order by version desc", tenant_id
        )
        return PublicKey(raw=row["public_key"], version=row["version"], suite=row["suite"])

    async def bot(
        self,
        owner: Owner,
        *,
        bot_type: str = "external",
        engine: str = "tradewise",
        desired: str = "running",
        generation: int = 1,
        credentials: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> UUID:
        """A bot with its health row and, where given, its sealed credentials and configuration."""
        bot = uuid7()
        values = {
            "id": bot,
            "tenant_id": owner.tenant_id,
            "bot_type": bot_type,
            "engine": engine,
            "name": f"bot {bot.hex[-6:]}",
            "desired": desired,
            "generation": generation,
            **columns,
        }
        names = ", ".join(values)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        async with self.admin.transaction():
            await self.admin.execute(f"insert into bots ({names}) values ({places})", *values.values())
            await self.admin.execute("insert into bot_health (id, tenant_id) values ($1, $2)", bot, owner.tenant_id)
            if credentials is not None:
                await self.secret(owner, bot, "credentials", credentials)
            if config is not None:
                await self.secret(owner, bot, "config", config)
        return bot

    async def secret(self, owner: Owner, bot_id: UUID, kind: str, value: Mapping[str, Any]) -> None:
        """Seal ``value`` as the web tier would, and store it."""
        row_id = uuid7()
        key = await self.public_key(owner.tenant_id)
        place = Place(owner.tenant_id, "bot_secrets", "sealed", row_id)
        sealed = seal(json.dumps(value).encode(), key, place)
        await self.admin.execute(
            "insert into bot_secrets (id, tenant_id, bot_id, kind, sealed, key_version, suite)"
            " values ($1, $2, $3, $4, $5, $6, $7)",
            row_id,
            owner.tenant_id,
            bot_id,
            kind,
            sealed.value,
            sealed.key_version,
            sealed.suite,
        )
