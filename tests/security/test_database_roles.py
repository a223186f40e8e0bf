"""The database roles: what each may do, read from the catalogue and tried out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from agents.keys.tables import SEALED
from control_plane.database.roles import LOGIN_ROLES
from tests.factories import Factory, Urls

Connect = Callable[[str], Any]
DENIED = asyncpg.InsufficientPrivilegeError
#: Nobody but their bearer and the agents may have these; a digest of them is no business of the web tier either.
UNREADABLE = [
    ("bot_secrets", "sealed"),
    ("template_versions", "config_sealed"),
    ("tenant_keys", "wrapped_private_key"),
    ("users", "password_hash"),
    ("sessions", "token_hash"),
    ("api_keys", "key_hash"),
    ("platform_keys", "wrapped_private_key"),
    ("mails", "sealed"),
    ("attempt_limits", "subject"),
    ("audit_keys", "wrapped_private_key"),
    ("account_keys", "wrapped_private_key"),
    ("account_leases", "fingerprint"),
    ("verification_codes", "address"),
    ("verification_codes", "code_hash"),
    ("sign_in_failures", "account"),
    ("sign_in_failures", "network"),
    ("totp_factors", "secret"),
    ("recovery_codes", "code_hash"),
    ("spent_proofs", "digest"),
    ("sign_in_exchanges", "state_hash"),
    ("sign_in_exchanges", "code_hash"),
    ("sign_in_exchanges", "sealed_proof"),
    ("sign_in_exchanges", "sealed_code"),
    ("invitations", "token_hash"),
    ("channel_secrets", "sealed"),
    ("alert_channels", "code_hash"),
]
DESIRED = ("desired", "generation", "api_url", "name", "deleted_at", "ping_requested_at", "bot_type", "tenant_id",
           "on_stop", "forced_generation")  # fmt: skip
OBSERVED = ("status", "reason", "reason_detail", "observed_generation", "exposed_host_port", "attempt", "status_since",
            "orders_unconfirmed", "orders_detail")  # fmt: skip


@pytest.fixture
async def connect(urls: Urls) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def opened(kind: str) -> asyncpg.Connection:
            connection = await asyncpg.connect(urls[kind])
            stack.push_async_callback(connection.close)
            return connection

        yield opened


@pytest.mark.parametrize(("table", "column"), UNREADABLE)
async def test_the_web_tier_cannot_read_secrets_nor_their_digests(connect: Connect, table: str, column: str) -> None:
    web = await connect("api")
    for statement in (f"select {column} from {table}", f"select * from {table}", f"table {table}"):
        with pytest.raises(DENIED, match="permission denied"):
            await web.fetch(statement)


async def test_the_scheduler_reaches_sealed_values_and_nothing_around_them(admin: asyncpg.Connection) -> None:
    """It moves values from one key version to the next, so it reads and writes just what that takes."""
    rows = await admin.fetch(
        "select c.relname::text as relation, a.attname::text as name,"
        " has_column_privilege('tradewise_agent_scheduler', c.oid, a.attnum, 'select') as reads,"
        " has_column_privilege('tradewise_agent_scheduler', c.oid, a.attnum, 'update') as writes,"
        " has_column_privilege('tradewise_agent_scheduler', c.oid, a.attnum, 'insert')"
        " or has_table_privilege('tradewise_agent_scheduler', c.oid, 'delete') as more"
        " from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
        " where c.oid = any(array['bot_secrets', 'template_versions', 'mails', 'channel_secrets']::regclass[])"
    )
    for table in SEALED:
        sealed = {table.value, table.key_version, table.suite}
        mine = [row for row in rows if row["relation"] == table.name]
        assert {row["name"] for row in mine if row["writes"]} == sealed
        assert {row["name"] for row in mine if row["reads"]} - {"id", "tenant_id"} == sealed
        assert not any(row["more"] for row in mine)


async def test_every_bytea_of_a_tenant_is_either_listed_or_public(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch(
        "select c.relname::text, a.attname::text from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.atttypid = 'bytea'::regtype"
        " and not c.relispartition"
    )
    public = {("tenant_keys", "public_key"), ("platform_keys", "public_key"), ("idempotency_records", "request_hash")}
    public |= {("audit_events", "prev_hash"), ("audit_keys", "public_key")}
    public |= {(table, "hash") for table in ("audit_events", "audit_chains", "audit_checkpoints", "audit_anchors")}
    public |= {(table, "signature") for table in ("audit_checkpoints", "audit_anchors")}
    assert {tuple(row) for row in rows} == public | (set(UNREADABLE) - {("users", "password_hash")})


async def test_no_function_gives_the_digest_of_a_key(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch(
        "select oid::regprocedure::text as name from pg_proc where pronamespace = 'public'::regnamespace"
        " and has_function_privilege('tradewise_api', oid, 'execute') and 'key_hash' = any(proargnames[pronargs + 1:])"
    )
    assert rows == []


async def test_definer_functions_belong_to_powerless_owners_and_fix_their_path(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch(
        "select p.oid::regprocedure::text as name, r.rolname::text as owner, r.rolsuper or r.rolbypassrls as mighty,"
        " coalesce(p.proconfig, '{}') as config from pg_proc p join pg_roles r on r.oid = p.proowner"
        " where p.pronamespace = 'public'::regnamespace and p.prosecdef"
    )
    assert len(rows) >= 8
    for row in rows:
        assert row["owner"] in {"tradewise_owner", "tradewise_auth", "tradewise_market", "tradewise_audit"}, row["name"]
        assert not row["mighty"], row["name"]
        paths = [item for item in row["config"] if item.startswith("search_path=")]
        # pg_temp last: else a temporary table of the caller's would be found before ours.
        assert paths in (["search_path=public, pg_temp"], ["search_path=pg_catalog, pg_temp"]), row["name"]


async def test_no_function_of_ours_is_open_to_everybody(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch(
        "select p.oid::regprocedure::text as name from pg_proc p"
        " cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
        " where p.pronamespace = 'public'::regnamespace and a.grantee = 0"
    )
    assert [row["name"] for row in rows] == []


async def test_roles_are_bound_and_belong_to_nobody(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch(
        "select rolname::text, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication from pg_roles"
        " where rolname like 'tradewise\\_%'"
    )
    assert {row["rolname"] for row in rows} == {
        *LOGIN_ROLES.values(),
        "tradewise_auth",
        "tradewise_market",
        "tradewise_audit",
    }
    for row in rows:
        above = {name for name in row.keys() if name != "rolname" and row[name]}  # noqa: SIM118
        # A dump must hold every tenant's rows, and row-level security is forced; this role can only read.
        assert above <= ({"rolbypassrls"} if row["rolname"] == "tradewise_backup" else set()), row["rolname"]
    members = await admin.fetch(
        "select m.rolname::text as member, g.rolname::text as of from pg_auth_members a"
        " join pg_roles m on m.oid = a.member join pg_roles g on g.oid = a.roleid where m.rolname like 'tradewise\\_%'"
    )
    assert {(row["member"], row["of"]) for row in members} == {
        ("tradewise_owner", "tradewise_auth"),
        ("tradewise_owner", "tradewise_market"),
        ("tradewise_owner", "tradewise_audit"),
    }


async def test_the_owner_of_the_tables_sees_no_tenants_row(
    connect: Connect, factory: Factory, admin: asyncpg.Connection
) -> None:
    """It may act as the roles whose policies open every row, but does not inherit what they may."""
    await factory.bot(await factory.owner(), credentials={"token": "x"})
    owner = await connect("owner")
    for table in ("users", "tenants", "memberships", "bots", "bot_secrets", "tenant_keys", "bot_health"):
        assert await admin.fetchval(f"select count(*) from {table}") > 0
        assert await owner.fetchval(f"select count(*) from {table}") == 0, table


@pytest.mark.parametrize("kind", [kind for kind in LOGIN_ROLES if kind != "owner"])
async def test_nobody_but_the_owner_makes_things_or_becomes_another(connect: Connect, kind: str) -> None:
    connection = await connect(kind)
    for statement in (
        "create table public.mine (id int)",
        "create temporary table mine (id int)",
        "create function public.mine() returns int language sql as 'select 1'",
        "alter table bots disable row level security",
        "drop policy api_select on bots",
        "truncate bots",
        "set role tradewise_owner",
        "set session authorization postgres",
        "copy bots to program 'true'",
        "select pg_read_file('/etc/passwd')",
    ):
        with pytest.raises(DENIED):
            await connection.execute(statement)


@pytest.mark.parametrize("kind", ["agent_launcher", "agent_poller"])
async def test_agents_write_nothing_that_people_wish(connect: Connect, kind: str) -> None:
    connection = await connect(kind)
    for column in DESIRED:
        with pytest.raises(DENIED):
            await connection.execute(f"update bots set {column} = {column}")
    kept = {"agent_launcher": (), "agent_poller": ("bot_secrets",)}[kind]
    for table in (*kept, "template_versions", "tenant_keys", "subscriptions", "users"):
        with pytest.raises(DENIED):
            await connection.execute(f"delete from {table}")
    with pytest.raises(DENIED):
        await connection.execute("delete from bots")


async def test_the_launcher_forgets_secrets_of_hosted_bots_that_were_taken_away_alone(
    connect: Connect, factory: Factory, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    await factory.bot(owner, bot_type="platform", credentials={"token": "x"})
    await factory.bot(owner, api_url="http://127.0.0.1:1", credentials={"token": "y"})
    taken = await factory.bot(owner, bot_type="platform", credentials={"token": "z"})
    await admin.execute("update bots set deleted_at = now() where id = $1", taken)
    launcher = await connect("agent_launcher")
    assert [row["bot_id"] for row in await launcher.fetch("delete from bot_secrets returning bot_id")] == [taken]


async def test_the_web_tier_writes_nothing_that_agents_observe(connect: Connect) -> None:
    web = await connect("api")
    for column in OBSERVED:
        with pytest.raises(DENIED):
            await web.execute(f"update bots set {column} = {column}")
    for statement in (
        "update bot_health set state = 'healthy'",
        "insert into performance_snapshots (tenant_id, bot_id, observed_at) select tenant_id, id, now() from bots",
        "update bot_events set kind = kind",
        "delete from bot_events",
        "delete from subscription_ledger",
        "update template_versions set parameters = parameters",
        "update marketplace_listings set subscribers_count = 1000",
        "insert into tenant_keys (id, version, suite, public_key, kek_id) values (gen_random_uuid(), 9, 1, 'x', 'x')",
    ):
        with pytest.raises(DENIED):
            await web.execute(statement)


async def test_each_agent_reaches_only_its_own_bots(connect: Connect, factory: Factory) -> None:
    owner = await factory.owner()
    external = await factory.bot(owner, api_url="http://127.0.0.1:1", credentials={"token": "x"})
    hosted = await factory.bot(owner, bot_type="platform", credentials={"token": "y"})
    for kind, reached in (("agent_launcher", hosted), ("agent_poller", external)):
        connection = await connect(kind)
        rows = await connection.fetch("update bots set status = 'error' returning id")
        assert [row["id"] for row in rows] == [reached]
    launcher = await connect("agent_launcher")
    # It launches what we host; what a tenant uses elsewhere is none of its business.
    assert [row["bot_id"] for row in await launcher.fetch("select bot_id from bot_secrets")] == [hosted]


@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        ("agent_scheduler", ("bots", "bot_secrets", "template_versions", "subscriptions", "users", "api_keys")),
        # Columns of bots, people and tenants that it needs for alerts, and of none of these all.
        (
            "agent_notifier",
            ("bots", "bot_secrets", "template_versions", "subscriptions", "users", "sessions", "tenants"),
        ),
        (
            "agent_poller",
            ("users", "sessions", "api_keys", "template_versions", "subscriptions", "idempotency_records"),
        ),
        ("agent_launcher", ("users", "sessions", "api_keys", "idempotency_records", "performance_snapshots")),
        ("reporting", ("users", "sessions", "api_keys", "bot_secrets", "template_versions", "tenant_keys", "mails")),
    ],
)
async def test_agents_read_only_what_they_need(connect: Connect, kind: str, tables: tuple[str, ...]) -> None:
    connection = await connect(kind)
    for table in tables:
        with pytest.raises(DENIED):
            await connection.fetch(f"select * from {table}")
