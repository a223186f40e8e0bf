"""Lints over the system catalogue, in the manner of the public linters for PostgreSQL.

Each is a query that tells one line for each fault. They name no table of ours unless it is an exception with its
reason, so whatever a migration or a policy file adds is covered without anybody thinking of it. What must hold at every
start of every process, drift included, is in ``control_plane/database/catalog.py``; the rest is here.
"""

from __future__ import annotations

from typing import Final

#: Unique without the tenant in front: values that nobody can guess, or that no tenant can write.
UNIQUE_EVERYWHERE: Final = {
    "uq_users_email": "a person may be in many tenants; sign-up and invitations tell nobody whether it is known",
    "uq_sessions_token_hash": "a digest of 256 random bits",
    "uq_api_keys_prefix": "random, made by us",
    "pk_port_leases": "written by the launcher",
    "pk_poll_shards": "written by the poller",
    "pk_account_leases": "a keyed digest, written by the launcher",
    "uq_account_leases_instance": "written by the launcher",
    "uq_account_keys_only": "written by the launcher",
    "uq_platform_keys_version": "written by the scheduler",
    "pk_attempt_limits": "subjects are keyed digests, written by one function",
    "alembic_version_pkc": "written by migrations",
    "uq_audit_keys_version": "written by the scheduler",
    "uq_key_rotations_running": "written by the scheduler",
    "pk_key_rotation_failures": "written by the scheduler",
    "uq_identity_providers_issuer": "written by the notifier",
    "pk_audit_pending": "numbers of the server's own, gone again before anybody could meet one",
    "pk_sign_in_failures": "digests, written by functions that answer alike for everybody",
    "uq_verification_codes_address": "digests, written by functions that answer alike for everybody",
    "pk_spent_proofs": "a digest of what only its bearer holds",
    "uq_invitations_token_hash": "a digest of 256 random bits",
    "uq_recovery_codes_user_code": "of the bound person, written by a function",
    "uq_totp_factors_user": "of the bound person, written by a function",
    "uq_auth_identities_subject": "written by functions, for who has just proved the subject to be theirs",
}
#: Definer functions that take a tenant's id from the web tier, and why that is no way into another tenant.
NAMES_A_TENANT: Final = {
    "auth_sign_up": "the id of the tenant that it makes",
    "auth_sign_up_by": "the id of the tenant that it makes",
    "found_tenant": "the id of the tenant that it makes",
}
#: Columns that are named like a secret's and hold none.
NO_SECRETS: Final = {"audit_events.prev_hash": "a link of the caller's own audit chain"}

_WITH: Final = """
with tables as (
    select c.oid, c.relname::text as name, c.relkind, c.relispartition, c.relrowsecurity, c.relforcerowsecurity
    from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
), owned as (
    select t.*, a.attname::text as tenant, a.attnotnull as never_null from tables t
        join pg_attribute a on a.attrelid = t.oid
        and a.attname = case when exists (select from pg_attribute x where x.attrelid = t.oid
            and x.attname = 'tenant_id'
            and not x.attisdropped) then 'tenant_id' else 'creator_tenant_id' end
), policies as (
    select t.name as table_name, p.polname::text as name, p.polcmd as command, p.polpermissive as permissive,
        r as role_id,
        coalesce(g.rolname, 'public')::text as role_name, pg_get_expr(p.polqual, p.polrelid) as visible,
        pg_get_expr(p.polwithcheck, p.polrelid) as checked, p.polrelid
    from pg_policy p join tables t on t.oid = p.polrelid cross join lateral unnest(p.polroles) r
    left join pg_roles g on g.oid = r
), expressions as (
    select table_name, name, role_name, permissive,
        regexp_replace(regexp_replace(e, '\\( SELECT \\(NULLIF\\(current_setting\\(''(app\\.bots)''::text, true\\), '
            '''''::text\\) IS NULL\\)\\)', '(<\\1> IS NULL)', 'g'),
            '\\( SELECT \\(?NULLIF\\(current_setting\\(''(app\\.\\w+)''::text, true\\), ''''::text\\)\\)?'
            '(::\\w+(\\[\\])?)? AS "nullif"\\)', '<\\1>', 'g') as e
    from policies cross join lateral (values (visible), (checked)) as x (e) where e is not null
), commands as (
    select letter::"char", privilege from (values ('r', 'SELECT'), ('a', 'INSERT'), ('w', 'UPDATE'), ('d', 'DELETE'))
        as x (letter, privilege)
), granted as (
    select t.oid, t.name as table_name, r.oid as role_id, r.rolname::text as role_name, c.letter, c.privilege
    from tables t cross join pg_roles r cross join commands c
    where r.rolname like 'tradewise\\_%' and r.rolname <> 'tradewise_owner' and (
        exists (select from pg_class k cross join lateral aclexplode(k.relacl) a
            where k.oid = t.oid and a.grantee = r.oid and a.privilege_type = c.privilege)
        or exists (select from pg_attribute k cross join lateral aclexplode(k.attacl) a
            where k.attrelid = t.oid and a.grantee = r.oid and a.privilege_type = c.privilege))
), keys as (
    select k.conname::text as name, t.name as table_name, t.oid, f.name as target, f.oid as target_oid, k.confdeltype,
        k.conkey::int[] as columns, k.confkey::int[] as target_columns, k.confdelsetcols::int[] as nulled,
        (select array_agg(a.attname::text order by n.i) from unnest(k.conkey) with ordinality n (attnum, i)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = n.attnum) as names,
        (select array_agg(a.attname::text order by n.i) from unnest(k.confkey) with ordinality n (attnum, i)
            join pg_attribute a on a.attrelid = k.confrelid and a.attnum = n.attnum) as target_names
    from pg_constraint k join tables t on t.oid = k.conrelid join tables f on f.oid = k.confrelid where k.contype = 'f'
), indexes as (
    select x.indexrelid, i.relname::text as name, t.name as table_name, t.oid, t.relispartition, x.indisunique,
        x.indisvalid,
        x.indisprimary, x.indkey::int[] as columns, x.indpred,
        (select a.attname::text from pg_attribute a where a.attrelid = t.oid and a.attnum = x.indkey[0]) as first,
        pg_get_indexdef(x.indexrelid) as definition
    from pg_index x join pg_class i on i.oid = x.indexrelid join tables t on t.oid = x.indrelid
), functions as (
    select p.oid, p.oid::regprocedure::text as signature, p.proname::text as name, p.prosecdef, p.prolang,
        p.proowner, p.proacl,
        p.proleakproof, p.proconfig, p.proargnames, p.pronargs
    from pg_proc p where p.pronamespace in (select n.oid from pg_namespace n where n.nspname in ('public', 'reports'))
        and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
)
"""
_FIXED: Final = "array(select c from unnest(coalesce(proconfig, '{}')) c where c like 'search_path=%')"

#: The name of each lint, and what finds its faults.
LINTS: Final[dict[str, str]] = {
    # Tables (0007, 0008, 0013, 0004)
    "row_security_is_on_everywhere": "select name from tables where not relrowsecurity",
    "row_security_is_forced": """
        select name from tables where not relforcerowsecurity and name not in ('alembic_version', 'schema_snapshot')""",
    "a_tenants_row_has_a_tenant": "select name from owned where not never_null",
    "every_table_has_a_primary_key": """
        select name from tables t where not exists (select from pg_constraint k where k.conrelid = t.oid
            and k.contype = 'p')""",
    "a_policy_for_every_grant": """
        select format('%s %s on %s', role_name, privilege, table_name) from granted g
        where not exists (select from policies p where p.polrelid = g.oid and p.role_id = g.role_id
            and p.permissive and p.command in (g.letter, '*'))""",
    "a_grant_for_every_policy": """
        select format('%s on %s for %s', p.name, p.table_name, p.role_name) from policies p
        where not exists (select from granted g where g.oid = p.polrelid and g.role_id = p.role_id
                and p.command in (g.letter, '*'))
            and not exists (select from pg_inherits i where i.inhrelid = p.polrelid)""",
    # Policies (0003, 0006, 0024)
    "one_permissive_policy_a_command_and_role": """
        select format('%s %s on %s: %s', p.role_name, c.privilege, p.table_name, string_agg(p.name, ', '))
        from policies p join commands c on p.command in (c.letter, '*') where p.permissive
        group by p.role_name, c.privilege, p.table_name having count(*) > 1""",
    "policies_name_their_role": "select format('%s on %s', name, table_name) from policies where role_id = 0",
    "policies_say_what_is_seen_and_what_is_written": """
        select format('%s on %s', name, table_name) from policies
        where (command in ('r', 'w', 'd', '*') and visible is null) or (command in ('a', 'w', '*')
            and checked is null)""",
    "settings_are_read_once_and_empty_is_nobody": """
        select format('%s on %s: %s', name, table_name, e) from expressions where e ~ 'current_setting'""",
    "no_policy_opens_when_nothing_is_set": """
        select format('%s on %s: %s', name, table_name, e) from expressions
        where e ~* '<app\\.(tenant_id|user_id|actor)> is (not )?null' or e ~* 'coalesce\\(<app\\.'
            or e ~* 'coalesce\\([^()]*<app\\.' or e ~* '<app\\.\\w+> (=|<>|in) \\(?'''
                or e ~* '\\mnot \\([^()]*<app\\.'""",
    "only_known_settings_decide": """
        select format('%s on %s: %s', x.name, x.table_name, s[1]) from expressions x
        cross join lateral regexp_matches(x.e, '<(app\\.\\w+)>', 'g') s
        where s[1] not in ('app.tenant_id', 'app.user_id', 'app.actor', 'app.bots')""",
    "the_web_tier_has_no_open_policy": """
        select format('%s on %s: %s', name, table_name, e) from expressions
        where permissive and role_name = 'tradewise_api' and e !~ '<app\\.(tenant_id|user_id)>'""",
    "a_tenants_rows_are_written_by_that_tenant": """
        select format('%s on %s: %s', p.name, p.table_name, p.checked) from policies p
        join owned o on o.oid = p.polrelid
        where p.role_name = 'tradewise_api' and p.permissive and p.command in ('a', 'w', '*')
            and p.checked !~ (
                '\\m' || o.tenant || ' = \\( SELECT \\(NULLIF\\(current_setting\\(''app\\.tenant_id''')""",
    "no_column_is_cast_in_a_comparison_with_a_setting": """
        select format('%s on %s: %s', name, table_name, e) from expressions
            where e ~ '\\)::\\w+ = <app\\.(tenant|user)_id>'""",
    # Keys and indexes (0001, 0009)
    "foreign_keys_between_tenants_tables_lead_with_the_tenant": """
        select format('%s on %s (%s)', k.name, k.table_name, array_to_string(k.names, ', ')) from keys k
        where exists (select from owned o where o.oid = k.target_oid)
            and (cardinality(k.columns) < 2 or k.names[1] !~ '^(\\w+_)?tenant_id$'
                or k.target_names[1] <> 'tenant_id')""",
    "no_key_takes_a_row_its_tenant": """
        select format('%s on %s', k.name, k.table_name) from keys k where k.confdeltype in ('n', 'd')
            and (k.nulled is null or exists (select from pg_attribute a where a.attrelid = k.oid
                and a.attnum = any(k.nulled) and a.attname ~ 'tenant_id$'))
            and exists (select from unnest(k.names) n where n ~ 'tenant_id$')""",
    "every_foreign_key_has_an_index": """
        select format('%s on %s (%s)', k.name, k.table_name, array_to_string(k.names, ', ')) from keys k
        where not exists (select from indexes i where i.oid = k.oid and i.indisvalid and i.indpred is null
            and i.columns[0:cardinality(k.columns) - 1] @> k.columns)""",
    "unique_constraints_lead_with_the_tenant": """
        select format('%s on %s', i.name, i.table_name) from indexes i
        where i.indisunique and not i.relispartition and coalesce(i.first, '') <> 'tenant_id'
            and not (i.indisprimary and i.first = 'id' and cardinality(i.columns) = 1)""",
    "no_index_twice": """
        select format('%s and %s on %s', a.name, b.name, a.table_name) from indexes a join indexes b
            on a.oid = b.oid and a.indexrelid < b.indexrelid
        where regexp_replace(a.definition, '^.*? USING', '') = regexp_replace(b.definition, '^.*? USING', '')""",
    "no_index_is_broken": "select name from indexes where not indisvalid",
    # Functions (0010, 0011, 0028, 0029)
    "definer_functions_fix_their_path": f"""
        select signature from functions where prosecdef and {_FIXED} not in (array['search_path=public, pg_temp'],
            array['search_path=pg_catalog, pg_temp'])""",
    "procedural_functions_fix_their_path": f"""
        select signature from functions join pg_language l on l.oid = prolang
        where l.lanname <> 'sql' and {_FIXED} = '{{}}'""",
    "definer_functions_belong_to_the_powerless": """
        select format('%s belongs to %s', f.signature, r.rolname) from functions f join pg_roles r on r.oid = f.proowner
        where f.prosecdef and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication
            or not (r.rolname = 'tradewise_owner' or not r.rolcanlogin))""",
    "no_function_is_everybodys": """
        select signature from functions
        cross join lateral aclexplode(coalesce(proacl, acldefault('f', proowner))) a where a.grantee = 0""",
    "new_functions_are_nobodys": """
        select 'functions of tradewise_owner' where not exists (select from pg_default_acl d
            where d.defaclrole = (select oid from pg_roles where rolname = 'tradewise_owner') and d.defaclobjtype = 'f'
                and d.defaclnamespace = 0 and not exists (select from aclexplode(d.defaclacl) a
                    where a.grantee = 0))""",
    "no_definer_function_takes_a_tenant": """
        select format('%s(%s)', f.name, a) from functions f cross join lateral unnest(f.proargnames[1:f.pronargs]) a
        where f.prosecdef and a ~ 'tenant' and a !~ 'name' and has_function_privilege('tradewise_api', f.oid,
            'execute')""",
    "no_function_claims_to_be_leakproof": "select signature from functions where proleakproof",
    "only_trusted_languages": """
        select lanname::text from pg_language where not lanpltrusted and lanname not in ('internal', 'c')
        union all select f.signature from functions f join pg_language l on l.oid = f.prolang
            where l.lanname in ('c', 'internal')""",
    # Views and other doors (0010, 0014, 0016, 0017, 0022, 0023)
    "views_read_as_whoever_asks": """
        select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind = 'v' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
            and not coalesce(c.reloptions @> array['security_invoker=true'], false)""",
    "no_relation_without_policies": """
        select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('m', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'""",
    "no_rules": """
        select format('%s on %s', w.rulename, w.ev_class::regclass) from pg_rewrite w
            join pg_class c on c.oid = w.ev_class
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and w.rulename <> '_RETURN'""",
    "no_extension_but_the_language": """
        select e.extname::text from pg_extension e where e.extname <> 'plpgsql'
            or e.extversion <> (select x.default_version from pg_available_extensions x where x.name = e.extname)""",
    "no_publications": "select pubname::text from pg_publication",
    "no_large_objects": "select oid::text from pg_largeobject_metadata",
    "no_foreign_servers": "select srvname::text from pg_foreign_server",
    "no_tables_elsewhere": """
        select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and n.nspname not in ('public', 'pg_catalog', 'information_schema')
            and n.nspname !~ '^pg_'""",
    "secrets_are_read_by_agents_alone": """
        select format('%s.%s by %s', t.name, a.attname, r.rolname) from tables t
            join pg_attribute a on a.attrelid = t.oid
        cross join pg_roles r
        where a.attnum > 0 and not a.attisdropped and a.attname ~ '(sealed|private_key|_hash|secret|digest)$'
            and a.attname not in ('request_hash', 'config_digest', 'policies_digest')
            and r.rolname in ('tradewise_api', 'tradewise_reporting')
            and has_column_privilege(r.oid, t.oid, a.attnum, 'select')""",
    # Roles
    "no_role_holds_more_than_rows": """
        select format('%s on %s by %s', a.privilege_type, c.relname, coalesce(r.rolname, 'public')) from pg_class c
        cross join lateral aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
        where c.relnamespace in (select n.oid from pg_namespace n where n.nspname in ('public', 'reports'))
            and a.grantee <> c.relowner
            and (a.privilege_type in ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN') or a.is_grantable)""",
    "everybody_has_nothing": """
        select format('%s on %s', a.privilege_type, c.relname) from pg_class c cross join lateral aclexplode(c.relacl) a
        where a.grantee = 0 and c.relnamespace in (select n.oid from pg_namespace n where n.nspname in ('public',
            'reports'))
        union all
        select format('%s on schema %s', a.privilege_type, n.nspname) from pg_namespace n
        cross join lateral aclexplode(n.nspacl) a
        where a.grantee = 0 and n.nspname in ('public', 'reports') and a.privilege_type = 'CREATE'
        union all
        select format('%s on the database', a.privilege_type) from pg_database d
        cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
        where d.datname = current_database() and a.grantee = 0""",
    "nobody_makes_things": """
        select r.rolname::text from pg_roles r where r.rolname like 'tradewise\\_%' and r.rolname <> 'tradewise_owner'
            and (has_database_privilege(r.oid, current_database(), 'create')
                or has_database_privilege(r.oid, current_database(), 'temporary')
                or exists (select from pg_namespace n where n.nspname !~ '^pg_' and has_schema_privilege(r.oid,
                    n.oid, 'create')))""",
    "those_who_log_in_own_nothing": """
        select format('%s owns %s', r.rolname, d.classid::regclass) from pg_shdepend d
            join pg_roles r on r.oid = d.refobjid
        where d.deptype = 'o' and r.rolname like 'tradewise\\_%' and r.rolname <> 'tradewise_owner'
            and not (not r.rolcanlogin and d.classid = 'pg_proc'::regclass)
            and d.dbid in (0, (select oid from pg_database where datname = current_database()))""",
    "those_who_log_in_are_members_of_nothing": """
        select format('%s of %s', m.rolname, g.rolname) from pg_auth_members a join pg_roles m on m.oid = a.member
        join pg_roles g on g.oid = a.roleid where m.rolname like 'tradewise\\_%' and m.rolname <> 'tradewise_owner'""",
    "nobody_begins_as_a_tenant": """
        select c from pg_db_role_setting s cross join lateral unnest(s.setconfig) c where (c like 'app.%'
            or c like 'row_security%')
            and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))""",
    "those_who_serve_are_bounded": """
        select format('%s has no %s', r.rolname, b.setting) from pg_roles r
        cross join (values ('statement_timeout'), ('lock_timeout'),
            ('idle_in_transaction_session_timeout')) as b (setting)
        where r.rolname like 'tradewise\\_%' and r.rolcanlogin and r.rolname <> 'tradewise_owner'
            and not exists (select from pg_db_role_setting s cross join lateral unnest(s.setconfig) c
                where s.setrole = r.oid and s.setdatabase = 0 and c ~ ('^' || b.setting || '=[1-9]'))""",
    "the_dump_holds_every_table": """
        select format('%s', t.name) from tables t
        where not has_table_privilege('tradewise_backup', t.oid, 'select') or not exists (select from policies p
            where p.polrelid = t.oid and p.role_name = 'tradewise_backup' and p.visible = 'true'
                and p.command = 'r')""",
    "the_dump_writes_nothing": """
        select format('%s on %s', g.privilege, g.table_name) from granted g
        where g.role_name in ('tradewise_backup', 'tradewise_reporting') and g.privilege <> 'SELECT'""",
}
_EXCEPTIONS: Final[dict[str, set[str]]] = {
    "unique_constraints_lead_with_the_tenant": set(UNIQUE_EVERYWHERE),
    "no_definer_function_takes_a_tenant": set(NAMES_A_TENANT),
    "secrets_are_read_by_agents_alone": set(NO_SECRETS),
}


def query(name: str) -> str:
    """The whole statement of one lint."""
    return _WITH + LINTS[name]


def told(name: str, lines: list[str]) -> list[str]:
    """What is left of ``lines`` without the exceptions that are written down above."""
    excepted = _EXCEPTIONS.get(name, set())
    return sorted(line for line in lines if line.partition(" ")[0].partition("(")[0] not in excepted)
