"""Foreign keys and unique indexes are checked without row-level security: they must be neither doors nor oracles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.api import Api
from tests.conftest import fresh_database
from tests.factories import Urls
from tests.security.test_tenant_isolation import bound, settings_of
from tests.world import Settled, Tenant, external_body, template_body

REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.ForeignKeyViolationError)
#: Unique without the tenant in front: only values that nobody can guess, or that no tenant can write.
UNGUESSABLE = {
    "users": {"uq_users_email"},
    "sessions": {"token_hash"},
    "api_keys": {"prefix"},
    "attempt_limits": {"subject"},
    # Written by functions alone, in the bound person's name and for who has just proved the subject to be theirs.
    "totp_factors": {"uq_totp_factors_user"},
    "recovery_codes": {"code_hash"},
    "auth_identities": {"uq_auth_identities_subject"},
    "spent_proofs": {"digest"},
    "invitations": {"token_hash"},
    "sign_in_failures": {"account"},
    "verification_codes": {"uq_verification_codes_address"},
}
WRITTEN_BY_AGENTS = {
    "pk_port_leases",
    "pk_poll_shards",
    "pk_account_leases",
    "uq_account_leases_instance",
    "uq_account_keys_only",
    "uq_platform_keys_version",
    "uq_key_rotations_running",
    "pk_key_rotation_failures",
    "uq_audit_keys_version",
    "uq_identity_providers_issuer",
}
#: Numbers of the server's own, gone again before anybody could meet one.
UNSEEN = {"pk_audit_pending"}


@pytest.fixture
async def urls(admin_url: str, settled: Settled) -> AsyncIterator[Urls]:
    """A database that holds two full tenants from the start."""
    async with fresh_database(admin_url, settled.database) as made:
        yield made


@pytest.fixture
async def world(api: Api, settled: Settled) -> tuple[Tenant, Tenant]:
    return settled.of(api)


@pytest.fixture
async def web(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls["api"])
    yield connection
    await connection.close()


async def insert(web: asyncpg.Connection, tenant: Tenant, table: str, **values: Any) -> None:
    """Insert as ``tenant``, and leave nothing behind."""
    row = {"id": uuid7(), "tenant_id": tenant.id, **values}
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    async with bound(web, settings_of(tenant)):
        await web.execute(f"insert into {table} ({', '.join(row)}) values ({places})", *row.values())


async def version_of(admin: asyncpg.Connection, template: UUID) -> UUID:
    found: UUID = await admin.fetchval("select id from template_versions where template_id = $1", template)
    return found


def bot(**values: Any) -> dict[str, Any]:
    return {"bot_type": "platform", "engine": "tradewise", "name": "probe", **values}


async def test_a_bot_cannot_name_a_template_version_that_is_not_published(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, other = world
    draft = await version_of(admin, other.draft)
    for claimed in (other.id, mine.id, None):
        with pytest.raises(REFUSED):
            await insert(web, mine, "bots", **bot(template_tenant_id=claimed, template_version_id=draft))
    # A shared template is followed, not run: its configuration must not reach a follower's container either.
    followed = await version_of(admin, other.shared_template)
    with pytest.raises(REFUSED):
        await insert(web, mine, "bots", **bot(template_tenant_id=other.id, template_version_id=followed))
    published = await version_of(admin, other.template)
    await insert(web, mine, "bots", **bot(template_tenant_id=other.id, template_version_id=published))


async def test_secrets_and_events_only_for_ones_own_bots(world: tuple[Tenant, Tenant], web: asyncpg.Connection) -> None:
    mine, other = world
    secret = {"kind": "credentials", "sealed": b"x", "key_version": 1, "suite": 1}
    for target in (other.external, uuid7()):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await insert(web, mine, "bot_secrets", bot_id=target, **secret)
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await insert(web, mine, "bot_events", bot_id=target, kind="x", cause="person", actor=actor(mine))


def actor(tenant: Tenant) -> str:
    return f"user:{tenant.person.user_id}"


async def test_history_cannot_be_written_in_another_name(world: tuple[Tenant, Tenant], web: asyncpg.Connection) -> None:
    mine, other = world
    event = {"bot_id": mine.external, "kind": "x"}
    await insert(web, mine, "bot_events", **event, cause="person", actor=actor(mine))
    for cause, name in (("agent", actor(mine)), ("person", actor(other)), ("person", "launcher"), ("person", None)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await insert(web, mine, "bot_events", **event, cause=cause, actor=name)


def subscription(tenant: Tenant, **values: Any) -> dict[str, Any]:
    return {
        "user_id": tenant.person.user_id,
        "hosting": "dedicated",
        "bot_tenant_id": tenant.id,
        "bot_id": tenant.hosted,
        "currency": "USDT",
        "allocation_amount": 1,
        **values,
    }


async def test_no_subscription_to_what_is_not_published(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, other = world
    draft = await version_of(admin, other.draft)
    names = {"creator_tenant_id": other.id, "template_id": other.draft, "template_version_id": draft}
    with pytest.raises(REFUSED):
        await insert(web, mine, "subscriptions", **subscription(mine, **names))


async def test_a_listing_of_ones_own_does_not_open_another_tenants_bot(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    """Who may write listings could otherwise name a stranger's bot in one, and follow its figures."""
    mine, other = world
    version = await version_of(admin, mine.shared_template)
    names = {"creator_tenant_id": mine.id, "template_id": mine.shared_template, "template_version_id": version}
    async with bound(web, settings_of(mine)):
        with pytest.raises(REFUSED):
            await web.execute(
                "update marketplace_listings set shared_bot_id = $1 where id = $2", other.hosted, mine.shared_template
            )
    async with bound(web, settings_of(mine)):
        with pytest.raises(REFUSED):
            await web.execute(
                "update marketplace_listings set template_version_id = $1 where id = $2",
                await version_of(admin, other.draft),
                mine.shared_template,
            )
    await admin.execute(
        "update marketplace_listings set shared_bot_id = $1 where id = $2", other.hosted, names["template_id"]
    )
    await admin.execute("delete from subscriptions where tenant_id = $1", mine.id)
    with pytest.raises(REFUSED):
        await insert(
            web,
            mine,
            "subscriptions",
            **subscription(mine, **names, hosting="shared", bot_tenant_id=other.id, bot_id=other.hosted),
        )


async def test_no_row_in_another_persons_name(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, other = world
    version = await version_of(admin, other.template)
    names = {"creator_tenant_id": other.id, "template_id": other.template, "template_version_id": version}
    stranger = subscription(mine, **names) | {"user_id": other.person.user_id}
    key = {"created_by": other.person.user_id, "name": "x", "prefix": "x", "key_hash": b"x", "scopes": []}
    for table, row in (("subscriptions", stranger), ("api_keys", key)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await insert(web, mine, table, **row)


async def test_definer_functions_answer_for_the_bound_tenant_alone(
    world: tuple[Tenant, Tenant], web: asyncpg.Connection
) -> None:
    mine, other = world
    index = "select count(*) from subscription_index($1, '2000-01-01', 'infinity', '1 second')"
    async with bound(web, settings_of(other)):
        assert await web.fetchval(index, mine.follow) == 0
        followed = {row["subscription_id"] for row in await web.fetch("select * from followed_unit_values()")}
        assert followed == {other.subscription, other.follow}
    async with bound(web, settings_of(mine)):
        assert await web.fetchval(index, mine.subscription) > 0
    async with bound(web, {}):
        assert await web.fetch("select * from followed_unit_values()") == []
        assert await web.fetch("select * from listing_performance($1)", mine.shared_template) == []
        assert await web.fetchval(index, mine.subscription) == 0


async def test_unique_indexes_begin_with_the_tenant(admin: asyncpg.Connection) -> None:
    """Else a conflict tells one tenant what another one has."""
    rows = await admin.fetch(
        "select c.relname as table, i.relname as index, array_agg(a.attname::text order by k.n) as columns"
        " from pg_index x join pg_class c on c.oid = x.indrelid join pg_class i on i.oid = x.indexrelid"
        " cross join unnest(x.indkey::int[]) with ordinality k (attnum, n)"
        " left join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum"
        " where x.indisunique and c.relnamespace = 'public'::regnamespace and not c.relispartition group by 1, 2"
    )
    for row in rows:
        named = {row["index"], *filter(None, row["columns"])}
        fine = (
            row["columns"] in (["id"], ["version_num"])  # random ids; the migration's own table
            or row["columns"][0] == "tenant_id"
            or named & UNGUESSABLE.get(row["table"], set())
            or named & (WRITTEN_BY_AGENTS | UNSEEN)
        )
        assert fine, dict(row)


async def test_tenants_may_have_the_same_names_addresses_and_keys(api: Api) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    for person in (ada, bob):
        head = {"Idempotency-Key": "same"}
        made = await person.call("POST", "/bots", json=external_body(), headers=head, status=201)
        await person.call("POST", "/templates", json=template_body(), headers={"Idempotency-Key": "too"}, status=201)
        assert [item["id"] for item in (await person.call("GET", "/bots"))["items"]] == [made["id"]]
