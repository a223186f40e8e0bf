"""Tenants with sealed values, as a rotation finds them."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.secrets import open_bot_secret, open_template_config
from control_plane.security.sealing import Place, PublicKey, seal
from control_plane.security.vault import Vault
from tests.factories import Factory, Owner


class Readers(msgspec.Struct):
    """Those who read sealed values in earnest: each with its own grants."""

    poller: asyncpg.Pool
    launcher: asyncpg.Pool


class Safe(msgspec.Struct):
    """A tenant, and what it has sealed: ids and values of bots' secrets and of template versions."""

    owner: Owner
    bots: dict[UUID, str]
    versions: dict[UUID, str]

    async def opens(self, readers: Readers, vault: Vault) -> None:
        """Every value opens to what was sealed."""
        for bot, value in self.bots.items():
            secret = await open_bot_secret(readers.poller, vault, self.owner.tenant_id, bot, "credentials")
            assert secret is not None
            assert msgspec.json.decode(secret.reveal()) == {"token": value}
        for version, value in self.versions.items():
            opened = await open_template_config(readers.launcher, vault, self.owner.tenant_id, version)
            assert opened.reveal() == value.encode()


async def safe(factory: Factory, name: str, *, bots: int = 3, versions: int = 1) -> Safe:
    """A tenant with ``bots`` secrets and ``versions`` private configurations."""
    owner = await factory.owner(name)
    made = Safe(owner, {}, {})
    for number in range(bots):
        value = f"{name}-token-{number}"
        made.bots[await factory.bot(owner, api_url=f"http://{name}{number}.example", credentials={"token": value})] = (
            value
        )
    for number in range(versions):
        version, value = uuid7(), f"{name}-config-{number}"
        await template_version(factory, owner, version, number + 1, value.encode())
        made.versions[version] = value
    return made


async def template_version(factory: Factory, owner: Owner, version_id: UUID, number: int, value: bytes) -> None:
    """A template with one version, whose configuration is sealed."""
    template = uuid7()
    await factory.admin.execute(
        "insert into bot_templates (id, tenant_id, name, engine, strategy_type, risk_level, hosting, currency,"
        " minimum_allocation, created_by)"
        " values ($1, $2, 'T', 'tradewise', 'dca', 'low', 'dedicated', 'USDT', 100, $3)",
        template,
        owner.tenant_id,
        owner.user_id,
    )
    sealed = seal(
        value,
        await factory.public_key(owner.tenant_id),
        Place(owner.tenant_id, "template_versions", "config_sealed", version_id),
    )
    await factory.admin.execute(
        "insert into template_versions (id, tenant_id, template_id, version, parameters, config_sealed,"
        " config_key_version, config_suite, config_fields, config_digest)"
        " values ($1, $2, $3, $4, '{}', $5, $6, $7, '{}', 'digest')",
        version_id,
        owner.tenant_id,
        template,
        number,
        sealed.value,
        sealed.key_version,
        sealed.suite,
    )


async def platform_pair(admin: asyncpg.Connection, vault: Vault) -> tuple[UUID, PublicKey]:
    """The installation's id and its first public key, as the scheduler makes it."""
    installation: UUID = await admin.fetchval("select id from installation")
    pair = await vault.generate(installation, 1)
    await admin.execute(
        "insert into platform_keys (id, version, suite, public_key, wrapped_private_key, kek_id)"
        " values ($1, 1, $2, $3, $4, $5)",
        uuid7(),
        pair.suite,
        pair.public_key,
        pair.wrapped_private_key,
        pair.kek_id,
    )
    return installation, PublicKey(pair.public_key, 1, pair.suite)


async def age(admin: asyncpg.Connection) -> None:
    """Let an hour pass for every rotation and key, so that a rotation need not wait for its grace.

    The rotations first: else one that is worked on meanwhile would take its own pairs for older ones.
    """
    await admin.execute("update key_rotations set started_at = started_at - interval '2 hours'")
    for table in ("tenant_keys", "platform_keys"):
        await admin.execute(f"update {table} set created_at = created_at - interval '1 hour'")


async def kek_ids(admin: asyncpg.Connection) -> set[str]:
    """The key-encryption keys that wrap something."""
    rows = await admin.fetch(
        "select kek_id from tenant_keys where wrapped_private_key is not null"
        " union select kek_id from platform_keys where wrapped_private_key is not null"
    )
    return {row["kek_id"] for row in rows}
