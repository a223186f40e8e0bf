"""Which tables hold wrapped keys and sealed values. A new one is an entry here and grants in policies/security.sql.

The statements are put together from these entries when the module is loaded, never from a value.
"""

from __future__ import annotations

from typing import Final

import msgspec


class WrappedTable(msgspec.Struct, frozen=True):
    """A table with ``id``, ``wrapped_private_key``, ``kek_id``; ``owner`` and ``version`` bind a wrapped key."""

    name: str
    owner: str
    version: str
    #: Whose audit log a fault belongs in; null where nobody's.
    tenant: str = "null::uuid"

    @property
    def look(self) -> str:
        """Rows that are not under key $1, after id $2, without those that rotation $3 failed at; at most $4."""
        return f"""
            select w.id, {self.owner} as owner, {self.version} as version, {self.tenant} as of_tenant,
                w.wrapped_private_key as wrapped, w.kek_id
            from {self.name} w
            where w.wrapped_private_key is not null and w.kek_id <> $1 and w.id > $2 and not exists (
                select from key_rotation_failures f
                where f.rotation_id = $3 and f.relation = '{self.name}' and f.row_id = w.id
            )
            order by w.id limit $4
        """  # noqa: S608 - names from this file

    @property
    def move(self) -> str:
        """Compare and set: only what is still under the key that it was read under, and not destroyed since."""
        return f"""
            with moved as (
                update {self.name} w set wrapped_private_key = n.wrapped, kek_id = n.kek_id
                from unnest($2::uuid[], $3::text[], $4::bytea[], $5::text[]) as n (id, was, wrapped, kek_id)
                where w.id = n.id and w.kek_id = n.was and w.wrapped_private_key is not null
                returning 1
            )
            update key_rotations set done = done + (select count(*) from moved), beat_at = now() where id = $1
            returning state
        """  # noqa: S608 - names from this file

    @property
    def count(self) -> str:
        """How many private halves each key-encryption key wraps."""
        return f"""
            select kek_id, count(*) as pairs from {self.name} where wrapped_private_key is not null group by kek_id
        """  # noqa: S608 - names from this file


_INSTALLATION: Final = "(select i.id from installation i)"
WRAPPED: Final = (
    WrappedTable("tenant_keys", owner="w.tenant_id", version="w.version", tenant="w.tenant_id"),
    WrappedTable("platform_keys", owner=_INSTALLATION, version="w.version"),
    # Version 0 is no key pair's, so that a signing key of the audit log is never taken for one.
    WrappedTable("audit_keys", owner="w.id", version="0"),
    WrappedTable("account_keys", owner="w.id", version="0"),
)


class SealedTable(msgspec.Struct, frozen=True):
    """A table of sealed values: the columns that a rotation writes, and whether its keys are the platform's."""

    name: str
    value: str
    key_version: str
    suite: str
    platform: bool = False

    @property
    def _keys(self) -> str:
        if self.platform:
            return f"(select {_INSTALLATION} as tenant_id, p.* from platform_keys p)"  # noqa: S608 - a constant
        return "(select k.* from tenant_keys k join tenants t on t.id = k.tenant_id where t.status <> 'deleted')"

    @property
    def _rows(self) -> str:
        mine = "s" if self.platform else "s.tenant_id = k.tenant_id and s"
        return f"{mine}.{self.key_version} = k.version and s.{self.value} is not null"

    @property
    def _old(self) -> str:
        """Key versions that are alive and not the newest, in the scope of $1 (null: everybody)."""
        newest = "" if self.platform else "where n.tenant_id = k.tenant_id"
        return f"""
            from {self._keys} k cross join lateral (
                select n.version, n.suite, n.public_key from {"platform" if self.platform else "tenant"}_keys n {newest}
                order by n.version desc limit 1
            ) newest
            where k.destroyed_at is null and k.version < newest.version and ($1::uuid is null or k.tenant_id = $1)
        """  # noqa: S608 - names from this file

    @property
    def look(self) -> str:
        """Values under an older key from tenant $2 on, without those that rotation $3 failed at; at most $4."""
        return f"""
            select s.*, k.* from (
                select k.tenant_id, k.version, k.suite, k.public_key, k.wrapped_private_key, k.kek_id,
                    newest.version as new_version, newest.suite as new_suite, newest.public_key as new_public_key
                {self._old} and k.tenant_id >= $2
                order by k.tenant_id, k.version
            ) k cross join lateral (
                select s.id, s.{self.value} as value, s.{self.suite} as value_suite
                from {self.name} s where {self._rows} and not exists (
                    select from key_rotation_failures f
                    where f.rotation_id = $3 and f.relation = '{self.name}' and f.row_id = s.id
                )
                limit $4
            ) s
            limit $4
        """  # noqa: S608 - names from this file

    @property
    def move(self) -> str:
        """Compare and set, for all rows of a batch in one short statement; progress moves with them."""
        return f"""
            with moved as (
                update {self.name} s set {self.value} = n.value, {self.key_version} = n.version, {self.suite} = n.suite
                from unnest($2::uuid[], $3::int[], $4::bytea[], $5::int[], $6::smallint[])
                    as n (id, was, value, version, suite)
                where s.id = n.id and s.{self.key_version} = n.was
                returning 1
            )
            update key_rotations set done = done + (select count(*) from moved), beat_at = now() where id = $1
            returning state
        """  # noqa: S608 - names from this file

    @property
    def count(self) -> str:
        """How many values are under an older key, in the scope of $1."""
        return f"""
            select count(*) from (select k.tenant_id, k.version {self._old}) k join {self.name} s on {self._rows}
        """  # noqa: S608 - names from this file

    @property
    def count_all(self) -> str:
        """How many values a rotation that begins now would move, in the scope of $1."""
        return f"""
            select count(*) from {self._keys} k join {self.name} s on {self._rows}
            where k.destroyed_at is null and ($1::uuid is null or k.tenant_id = $1)
        """  # noqa: S608 - names from this file

    @property
    def versions(self) -> str:
        """How many values there are by the version of their key."""
        return f"""
            select {self.key_version} as version, count(*) as "values" from {self.name}
            where {self.value} is not null group by 1 order by 1
        """  # noqa: S608 - names from this file

    @property
    def in_use(self) -> str:
        """A condition on key ``k``: some value of this table needs it, or may, as far as rotation $1 knows."""
        return f"""exists (
            select from {self.name} s where {self._rows} and not exists (
                select from key_rotation_failures f
                where f.rotation_id = $1 and f.relation = '{self.name}' and f.row_id = s.id and f.lost
            )
        )"""  # noqa: S608 - names from this file


SEALED: Final = (
    SealedTable("bot_secrets", "sealed", "key_version", "suite"),
    SealedTable("template_versions", "config_sealed", "config_key_version", "config_suite"),
    SealedTable("mails", "sealed", "key_version", "suite", platform=True),
    SealedTable("channel_secrets", "sealed", "key_version", "suite"),
)
SEALED_BY_TENANTS: Final = tuple(table for table in SEALED if not table.platform)
SEALED_BY_PLATFORM: Final = tuple(table for table in SEALED if table.platform)
