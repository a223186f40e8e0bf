"""The catalogue has no fault, and each lint finds the fault that it is for."""

from __future__ import annotations

import time

import asyncpg
import pytest

from control_plane.database import catalog
from control_plane.database.visit import visiting
from tests.factories import Urls
from tests.security.lints import LINTS, query, told

_TABLE = "create table stray (id uuid primary key, tenant_id uuid not null)"
_OPEN = (
    "enable row level security; alter table stray force row level security;"
    " grant select, update on stray to tradewise_api"
)
_MINE = "tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)"


def policy(using: str, check: str | None = None, command: str = "update") -> str:
    """A new table with one policy of the web tier's."""
    checked = f" with check ({check or using})" if command == "update" else ""
    made = f"create policy p on stray for {command} to tradewise_api using ({using}){checked}"
    return f"{_TABLE}; alter table stray {_OPEN}; {made}"


#: What breaks the catalogue, by the lint that must find it and what its line must name.
BROKEN: dict[str, list[tuple[str, str]]] = {
    "row_security_is_on_everywhere": [
        (_TABLE, "stray"),
        ("create table stray (id int primary key)", "stray"),
        (
            "do $$ begin execute (select format('alter table %s disable row level security', inhrelid::regclass)"
            " from pg_inherits where inhparent = 'performance_snapshots'::regclass limit 1); end $$",
            "performance_",
        ),
    ],
    "row_security_is_forced": [("alter table bots no force row level security", "bots")],
    "a_tenants_row_has_a_tenant": [("create table stray (id uuid primary key, tenant_id uuid)", "stray")],
    "every_table_has_a_primary_key": [("create table stray (tenant_id uuid)", "stray")],
    "a_policy_for_every_grant": [
        ("drop policy api_update on bots", "tradewise_api UPDATE on bots"),
        ("grant delete on subscriptions to tradewise_api", "DELETE on subscriptions"),
        ("grant update (name) on bots to tradewise_agent_notifier", "tradewise_agent_notifier UPDATE on bots"),
    ],
    "a_grant_for_every_policy": [("revoke delete on bot_secrets from tradewise_api", "bot_secrets")],
    "one_permissive_policy_a_command_and_role": [
        (f"create policy extra on bots for select to tradewise_api using ({_MINE})", "extra"),
        (f"create policy extra on bots for all to tradewise_api using ({_MINE}) with check ({_MINE})", "extra"),
    ],
    "policies_name_their_role": [(f"create policy extra on bots for select using ({_MINE})", "extra on bots")],
    "policies_say_what_is_seen_and_what_is_written": [
        (f"create policy extra on bots for update to tradewise_api using ({_MINE})", "extra on bots"),
        (f"create policy extra on bots for all to tradewise_api using ({_MINE})", "extra on bots"),
    ],
    "settings_are_read_once_and_empty_is_nobody": [
        (policy("tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid"), "p on stray"),
        (policy("tenant_id = (select current_setting('app.tenant_id', true)::uuid)"), "p on stray"),
        (policy("tenant_id = (select nullif(current_setting('app.tenant_id'), '')::uuid)"), "p on stray"),
        (policy("tenant_id = (select coalesce(current_setting('app.tenant_id', true), '')::uuid)"), "p on stray"),
    ],
    "no_policy_opens_when_nothing_is_set": [
        (policy(f"{_MINE} or (select nullif(current_setting('app.tenant_id', true), '')::uuid) is null"), "p on stray"),
        (
            policy(
                "tenant_id = coalesce((select nullif(current_setting('app.tenant_id', true), '')::uuid), tenant_id)"
            ),
            "p on stray",
        ),
        (policy(f"{_MINE} or (select nullif(current_setting('app.actor', true), '')) = 'system'"), "p on stray"),
        (policy(f"not ({_MINE})"), "p on stray"),
    ],
    "only_known_settings_decide": [
        (policy(f"{_MINE} or (select nullif(current_setting('app.bypass', true), '')) is not null"), "app.bypass"),
    ],
    "the_web_tier_has_no_open_policy": [
        (policy("true"), "p on stray"),
        (policy("id is not null"), "p on stray"),
    ],
    "a_tenants_rows_are_written_by_that_tenant": [
        (policy(_MINE, "true"), "p on stray"),
        (policy(_MINE, _MINE.replace("tenant_id =", "id =")), "p on stray"),
    ],
    "no_column_is_cast_in_a_comparison_with_a_setting": [
        (policy("tenant_id::text = (select nullif(current_setting('app.tenant_id', true), ''))"), "p on stray"),
    ],
    "foreign_keys_between_tenants_tables_lead_with_the_tenant": [
        (
            f"{_TABLE}; alter table stray add bot_id uuid, add constraint loose foreign key (bot_id)"
            " references bots (id)",
            "loose on stray",
        ),
        (
            f"{_TABLE}; alter table stray add bot_id uuid, add constraint turned foreign key (bot_id, tenant_id)"
            " references bots (id, tenant_id)",
            "turned on stray",
        ),
    ],
    "no_key_takes_a_row_its_tenant": [
        (
            f"{_TABLE}; alter table stray add bot_id uuid, add constraint losing foreign key (tenant_id, bot_id)"
            " references bots (tenant_id, id) on delete set null",
            "losing on stray",
        ),
        (
            f"{_TABLE}; alter table stray add bot_id uuid, add constraint losing foreign key (tenant_id, bot_id)"
            " references bots (tenant_id, id) on delete set null (tenant_id)",
            "losing on stray",
        ),
    ],
    "every_foreign_key_has_an_index": [
        (
            f"{_TABLE}; alter table stray add bot_id uuid, add constraint slow foreign key (tenant_id, bot_id)"
            " references bots (tenant_id, id); create index on stray (tenant_id)",
            "slow on stray",
        ),
        (
            f"{_TABLE}; alter table stray add constraint slow foreign key (tenant_id) references tenants (id);"
            " create index on stray (tenant_id) where id is null",
            "slow on stray",
        ),
        ("drop index ix_subscriptions_bot", "fk_subscriptions_bot_id"),
    ],
    "unique_constraints_lead_with_the_tenant": [
        ("create unique index telling on bots (name)", "telling on bots"),
        ("create unique index telling on bots (lower(name), tenant_id)", "telling on bots"),
        ("create unique index telling on bots (id, tenant_id)", "telling on bots"),
    ],
    "no_index_twice": [("create index again on bots (tenant_id, status)", "again")],
    "no_index_is_broken": [
        ("update pg_index set indisvalid = false where indexrelid = 'ix_bots_template'::regclass", "ix_bots_template"),
    ],
    "definer_functions_fix_their_path": [
        ("create function loose() returns int language sql security definer as 'select 1'", "loose()"),
        (
            "create function loose() returns int language sql security definer set search_path = pg_temp, public"
            " as 'select 1'",
            "loose()",
        ),
    ],
    "procedural_functions_fix_their_path": [
        ("create function loose() returns int language plpgsql as 'begin return 1; end'", "loose()"),
    ],
    "definer_functions_belong_to_the_powerless": [
        ("create function loose() returns int language sql security definer as 'select 1'", "loose() belongs to"),
        ("alter role tradewise_market login", "belongs to tradewise_market"),
    ],
    "no_function_is_everybodys": [("grant execute on function auth_account(text) to public", "auth_account(text)")],
    "new_functions_are_nobodys": [
        ("alter default privileges for role tradewise_owner grant execute on functions to public", "tradewise_owner"),
    ],
    "no_definer_function_takes_a_tenant": [
        (
            "create function peek(of_tenant_id uuid) returns int language sql security definer as 'select 1';"
            " grant execute on function peek(uuid) to tradewise_api",
            "peek(of_tenant_id)",
        ),
    ],
    "no_function_claims_to_be_leakproof": [
        ("create function peek(text) returns boolean language sql leakproof as 'select true'", "peek(text)"),
    ],
    "only_trusted_languages": [
        ("create function peek(text) returns integer language internal as 'textlen'", "peek(text)"),
        ("create language risky handler plpgsql_call_handler", "risky"),
    ],
    "views_read_as_whoever_asks": [
        ("create view peek as select * from bots", "peek"),
        ("create view reports.peek as select * from bots", "reports.peek"),
        ("create schema other; create view other.peek with (security_invoker = false) as select 1", "other.peek"),
    ],
    "no_relation_without_policies": [("create materialized view peek as select * from bots", "peek")],
    "no_rules": [("create rule quiet as on delete to bots do instead nothing", "quiet on bots")],
    "no_extension_but_the_language": [("update pg_extension set extversion = '0.9'", "plpgsql")],
    "no_publications": [("create publication leaving for table bots", "leaving")],
    "no_large_objects": [("select lo_create(4711)", "4711")],
    "no_foreign_servers": [
        ("create foreign data wrapper w; create server elsewhere foreign data wrapper w", "elsewhere"),
    ],
    "no_tables_elsewhere": [("create table reports.stray (id int)", "reports.stray")],
    "secrets_are_read_by_agents_alone": [
        ("grant select (sealed) on bot_secrets to tradewise_api", "bot_secrets.sealed by tradewise_api"),
        ("grant select on users to tradewise_reporting", "users.password_hash by tradewise_reporting"),
    ],
    "no_role_holds_more_than_rows": [
        ("grant truncate on bots to tradewise_agent_scheduler", "TRUNCATE on bots"),
        ("grant references on bots to tradewise_api", "REFERENCES on bots"),
        ("grant trigger on bots to tradewise_api", "TRIGGER on bots"),
        ("grant select on bots to tradewise_api with grant option", "SELECT on bots"),
    ],
    "everybody_has_nothing": [
        ("grant select on tenants to public", "SELECT on tenants"),
        ("grant create on schema public to public", "CREATE on schema public"),
        (
            "do $$ begin execute format('grant temporary on database %I to public', current_database()); end $$",
            "TEMPORARY on the database",
        ),
    ],
    "nobody_makes_things": [
        ("grant create on schema reports to tradewise_reporting", "tradewise_reporting"),
        (
            "do $$ begin execute format('grant temporary on database %I to tradewise_api', current_database()); end $$",
            "tradewise_api",
        ),
    ],
    "those_who_log_in_own_nothing": [
        ("alter table mails owner to tradewise_api", "tradewise_api owns"),
        ("alter table mails owner to tradewise_auth", "tradewise_auth owns"),
        ("alter function schema_state() owner to tradewise_agent_poller", "tradewise_agent_poller owns"),
    ],
    "those_who_log_in_are_members_of_nothing": [
        ("grant tradewise_market to tradewise_api", "tradewise_api of tradewise_market"),
        ("grant pg_read_all_data to tradewise_reporting", "tradewise_reporting of pg_read_all_data"),
    ],
    "nobody_begins_as_a_tenant": [
        ("alter role tradewise_api set app.tenant_id = 'x'", "app.tenant_id"),
        (
            "do $$ begin execute format('alter database %I set app.user_id = %L', current_database(), 'x'); end $$",
            "app.user_id",
        ),
    ],
    "those_who_serve_are_bounded": [
        ("alter role tradewise_api reset lock_timeout", "tradewise_api has no lock_timeout"),
        (
            "alter role tradewise_agent_poller set statement_timeout = 0",
            "tradewise_agent_poller has no statement_timeout",
        ),
    ],
    "the_dump_holds_every_table": [
        (_TABLE, "stray"),
        ("drop policy backup_select on bots", "bots"),
        ("revoke select on mails from tradewise_backup", "mails"),
    ],
    "the_dump_writes_nothing": [("grant update (name) on bots to tradewise_backup", "UPDATE on bots")],
}
CASES = [(name, change, line) for name, cases in BROKEN.items() for change, line in cases]


async def found(connection: asyncpg.Connection, name: str) -> list[str]:
    return told(name, [row[0] for row in await connection.fetch(query(name))])


async def test_no_lint_finds_a_fault(admin: asyncpg.Connection) -> None:
    faults = {name: lines for name in LINTS if (lines := await found(admin, name))}
    assert faults == {}


def test_every_lint_is_tried() -> None:
    assert BROKEN.keys() == LINTS.keys()


@pytest.mark.parametrize(("name", "change", "line"), CASES, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(CASES)])
async def test_each_lint_finds_its_fault(admin: asyncpg.Connection, name: str, change: str, line: str) -> None:
    transaction = admin.transaction()
    await transaction.start()  # roles are the whole server's: what is broken here must not be seen by other tests
    try:
        await admin.execute("set local allow_system_table_mods = on")
        await admin.execute(change)
        lines = await found(admin, name)
    finally:
        await transaction.rollback()
    assert any(line in item for item in lines), lines


#: What every process refuses to start on, by what it says.
FAULTS = [
    ("alter table bots no force row level security", "bots holds a tenant_id but row-level security is not forced"),
    ("alter table marketplace_listings disable row level security", "marketplace_listings holds a tenant_id"),
    (
        "alter table tenants disable row level security",
        "tenants is open to tradewise_api but row-level security is off",
    ),
    ("alter table mails no force row level security", "mails is open to tradewise_agent_notifier"),
    ("create policy p on bots for select using (true)", "policy p on bots is for everybody"),
    ("alter role tradewise_agent_poller bypassrls", "role tradewise_agent_poller bypasses"),
    ("alter role tradewise_reporting superuser", "role tradewise_reporting bypasses"),
    ("grant insert on bots to tradewise_backup", "role tradewise_backup may insert bots"),
    ("grant update (name) on bots to tradewise_backup", "role tradewise_backup may update bots"),
    ("alter table mails owner to tradewise_reporting", "mails is owned by tradewise_reporting"),
    ("grant tradewise_auth to tradewise_api", "role tradewise_api is a member of tradewise_auth"),
    ("grant pg_write_all_data to tradewise_backup", "role tradewise_backup is a member of pg_write_all_data"),
    ("grant truncate on bots to tradewise_backup", "bots may be emptied by tradewise_backup"),
    ("grant trigger on bots to tradewise_api", "TRIGGER on bots is granted to tradewise_api"),
    ("grant select (name) on bots to public", "SELECT on bots is granted to everybody"),
    ("create view reports.peek as select * from bots", "view peek reads with its owner's rights"),
    (
        "create materialized view peek as select * from bots; grant select on peek to tradewise_api",
        "peek is a materialized view and open to tradewise_api",
    ),
    ("create rule quiet as on delete to bots do instead nothing", "bots has the rule quiet"),
    ("create function f() returns int language sql leakproof as 'select 1'", "function f() claims to be leakproof"),
    ("create function f(text) returns int language internal as 'textlen'", "function f(text) is in a language"),
    (
        "create function f() returns int language sql as 'select 1'; grant execute on function f() to public",
        "function f() is open to everybody",
    ),
    ("create function f() returns int language sql security definer as 'select 1'", "function f() runs as postgres"),
    ("alter function schema_state() reset search_path", "function schema_state() runs as its owner without"),
    ("alter function schema_state() set search_path = pg_temp, public", "function schema_state() runs as its owner"),
    ("alter role tradewise_api set app.tenant_id = 'x'", "app.tenant_id is set by default for tradewise_api"),
    ("grant tradewise_market to tradewise_owner with inherit true", "role tradewise_owner inherits tradewise_market"),
    ("grant create on schema public to tradewise_auth", "role tradewise_auth may create in schema public"),
    (
        "do $$ begin execute format('grant temporary on database %I to tradewise_api', current_database()); end $$",
        "TEMPORARY on the database is granted to tradewise_api",
    ),
    (
        "do $$ begin execute (select format('grant select on %s to tradewise_api', inhrelid::regclass) from pg_inherits"
        " where inhparent = 'performance_snapshots'::regclass limit 1); end $$",
        "is open to tradewise_api directly",
    ),
]


@pytest.mark.parametrize(("change", "told"), FAULTS)
async def test_what_must_never_be_is_told_at_every_start(urls: Urls, change: str, told: str) -> None:
    async with visiting(urls.admin) as connection:
        assert await catalog.faults(connection) == []
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(change)  # several statements at once, in the transaction that the first question began
        lines = await catalog.faults(connection)
        await connection.rollback()
    assert any(told in line for line in lines), lines


async def test_asking_costs_a_start_next_to_nothing(urls: Urls) -> None:
    async with visiting(urls["api"]) as connection:
        await catalog.faults(connection)
        took = []
        for _ in range(5):
            started = time.perf_counter()
            assert await catalog.faults(connection) == []
            took.append(time.perf_counter() - started)
    assert min(took) < 0.1, took
