"""The live catalog as sorted lines of text, and what must hold of it whatever the policies say."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: Every line states one fact of our schemas that row security rests on. Partitions are covered by `_FAULTS`. Whether
#: the role of backups bypasses policies depends on who migrated last on this server, not on this database. Brackets of
#: a trigger's condition are left out: a dump and its restore write `((a or b) or c)` as `(a or b or c)`.
_SNAPSHOT: Final = """
with ours as (
    select c.* from pg_class c
    where c.relnamespace in (select n.oid from pg_namespace n where n.nspname in ('public', 'reports'))
        and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
), roles as (
    select r.* from pg_roles r where r.rolname like 'tradewise\\_%'
)
select format('table %s kind=%s owner=%s rls=%s forced=%s', relname, relkind, pg_get_userbyid(relowner),
    relrowsecurity, relforcerowsecurity) from ours
union all
select format('grant %s on %s to %s', a.privilege_type, o.relname,
    coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'public'))
from ours o cross join lateral aclexplode(o.relacl) a where a.grantee <> o.relowner
union all
select format('grant %s (%s) on %s to %s', a.privilege_type, t.attname, o.relname,
    coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'public'))
from ours o join pg_attribute t on t.attrelid = o.oid cross join lateral aclexplode(t.attacl) a
union all
select format('policy %s on %s for %s permissive=%s to %s using %s check %s', p.polname, o.relname, p.polcmd,
    p.polpermissive, (select string_agg(pg_get_userbyid(x), ',' order by pg_get_userbyid(x)) from unnest(p.polroles) x),
    coalesce(pg_get_expr(p.polqual, p.polrelid), '-'), coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '-'))
from pg_policy p join ours o on o.oid = p.polrelid
union all
select format('trigger %s on %s enabled=%s %s', t.tgname, o.relname, t.tgenabled,
    md5(regexp_replace(pg_get_triggerdef(t.oid), '[()]', '', 'g')))
from pg_trigger t join ours o on o.oid = t.tgrelid where not t.tgisinternal
union all
select format('function %s owner=%s definer=%s config=%s body=%s acl=%s', p.oid::regprocedure,
    pg_get_userbyid(p.proowner), p.prosecdef, array_to_string(p.proconfig, ';'), md5(p.prosrc),
    (select string_agg(format('%s=%s', coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'public'), a.privilege_type), ','
        order by a.grantee, a.privilege_type) from aclexplode(p.proacl) a where a.grantee <> p.proowner))
from pg_proc p where p.pronamespace = 'public'::regnamespace
union all
select format('view %s shows %s options=%s', relname, md5(pg_get_viewdef(oid)), array_to_string(reloptions, ','))
from ours where relkind in ('v', 'm')
union all
select format('role %s super=%s bypassrls=%s createrole=%s createdb=%s replication=%s login=%s', rolname, rolsuper,
    rolbypassrls and rolname <> 'tradewise_backup', rolcreaterole, rolcreatedb, rolreplication, rolcanlogin) from roles
union all
select format('member %s of %s', m.rolname, g.rolname) from pg_auth_members a
join pg_roles m on m.oid = a.member join pg_roles g on g.oid = a.roleid where m.rolname in (select rolname from roles)
"""

#: What must never be, told as one line each. Independent of what policies/ says; every process asks at its start.
_FAULTS: Final = """
with tables as (
    select c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relispartition, c.relrowsecurity, c.relforcerowsecurity,
        exists (select from pg_attribute a where a.attrelid = c.oid and not a.attisdropped
            and a.attname in ('tenant_id', 'creator_tenant_id')) as owned
    from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
), relations as (
    select c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relispartition, c.reloptions, c.relhasrules
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
), roles as (
    select r.oid, r.rolname, r.rolsuper, r.rolbypassrls, r.rolcanlogin from pg_roles r
        where r.rolname like 'tradewise\\_%'
), grants as (
    select r.oid as relation, r.relname, r.relkind, r.relispartition, a.privilege_type as privilege, a.grantee,
        coalesce(g.rolname, 'public') as grantee_name
    from relations r cross join lateral aclexplode(r.relacl) a left join pg_roles g on g.oid = a.grantee
    where a.grantee <> r.relowner
    union all
    select r.oid, r.relname, r.relkind, r.relispartition, a.privilege_type, a.grantee, coalesce(g.rolname, 'public')
    from relations r join pg_attribute t on t.attrelid = r.oid and t.attacl is not null
    cross join lateral aclexplode(t.attacl) a left join pg_roles g on g.oid = a.grantee
    where a.grantee <> r.relowner
), functions as (
    select p.oid, p.oid::regprocedure::text as name, p.proowner, p.proacl, p.prosecdef, p.proleakproof, p.proconfig,
        p.prolang
    from pg_proc p where p.pronamespace in (select n.oid from pg_namespace n where n.nspname in ('public', 'reports'))
        and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
)
select format('%s holds a tenant_id but row-level security is off', relname) from tables
where owned and not relrowsecurity
union all
select format('%s holds a tenant_id but row-level security is not forced on its owner', relname) from tables
where owned and not relforcerowsecurity
union all
select format('%s holds a tenant_id but has no policy', t.relname) from tables t
where t.owned and not exists (select from pg_policy p where p.polrelid = t.oid)
union all
select distinct format('%s is open to %s but row-level security is off or not forced', t.relname, g.grantee_name)
from tables t join grants g on g.relation = t.oid
where not (t.relrowsecurity and t.relforcerowsecurity) and g.grantee_name <> 'tradewise_backup'
union all
select format('policy %s on %s is for everybody, not for a role', p.polname, t.relname)
from pg_policy p join tables t on t.oid = p.polrelid where p.polroles @> '{0}'
union all
select format('role %s bypasses row-level security', rolname) from roles
where rolsuper or (rolbypassrls and rolname <> 'tradewise_backup')
union all
select distinct format('role tradewise_backup may %s %s: it is for reading alone', lower(privilege), relname)
    from grants
where grantee_name = 'tradewise_backup' and privilege <> 'SELECT'
union all
select format('%s is owned by %s, which also serves requests', c.relname, r.rolname)
from relations c join roles r on r.oid = c.relowner
where r.rolname like any (array['tradewise\\_api', 'tradewise\\_agent\\_%', 'tradewise\\_reporting',
    'tradewise\\_backup'])
union all
select format('role %s is a member of %s', m.rolname, g.rolname) from pg_auth_members a
join roles m on m.oid = a.member join pg_roles g on g.oid = a.roleid where m.rolname <> 'tradewise_owner'
union all
select distinct format('%s may be emptied by %s: TRUNCATE ignores row-level security', relname, grantee_name)
    from grants
where privilege = 'TRUNCATE'
union all
select distinct format('%s on %s is granted to %s: nobody but the owner needs it', privilege, relname, grantee_name)
from grants where privilege in ('REFERENCES', 'TRIGGER', 'MAINTAIN')
union all
select distinct format('%s on %s is granted to everybody', privilege, relname) from grants where grantee = 0
union all
select distinct format('partition %s is open to %s directly', relname, grantee_name) from grants
where relispartition and grantee_name <> 'tradewise_backup'
union all
select format('view %s reads with its owner''s rights', relname) from relations
where relkind = 'v' and not coalesce(reloptions @> array['security_invoker=true'], false)
union all
select distinct format('%s is a %s and open to %s: no policy holds there', relname,
    case relkind when 'm' then 'materialized view' else 'foreign table' end, grantee_name)
from grants where relkind in ('m', 'f')
union all
select format('%s has the rule %s, which changes what a statement does', c.relname, w.rulename)
from relations c join pg_rewrite w on w.ev_class = c.oid
where c.relhasrules and not (c.relkind in ('v', 'm') and w.rulename = '_RETURN')
union all
select format('function %s claims to be leakproof, so it would run before the policies', name) from functions
where proleakproof
union all
select format('function %s is in a language that can do anything', f.name) from functions f
join pg_language l on l.oid = f.prolang where not l.lanpltrusted
union all
select format('function %s is open to everybody', f.name) from functions f
where exists (select from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a where a.grantee = 0)
union all
select format('function %s runs as %s, which no policy binds', f.name, r.rolname) from functions f
join pg_roles r on r.oid = f.proowner where f.prosecdef and (r.rolsuper or r.rolbypassrls)
union all
select format('function %s runs as its owner without a search_path that ends in pg_temp', name) from functions
where prosecdef and not exists (select from unnest(proconfig) c where c ~ '^search_path=(.+, )?pg_temp$')
union all
select format('%s is set by default for %s: a transaction would begin as somebody', split_part(c, '=', 1),
    coalesce((select r.rolname from pg_roles r where r.oid = s.setrole), 'the database'))
from pg_db_role_setting s cross join lateral unnest(s.setconfig) c
where (c like 'app.%' or c ~* '^row_security=(off|false|no|0)')
    and (s.setdatabase = 0 or s.setdatabase = (select d.oid from pg_database d where d.datname = current_database()))
union all
select format('role tradewise_owner inherits %s, whose policies open every row', m.rolname) from roles m
where m.rolname in ('tradewise_auth', 'tradewise_market', 'tradewise_audit')
    and pg_has_role('tradewise_owner', m.oid, 'usage')
    and exists (select from roles o where o.rolname = 'tradewise_owner' and not o.rolsuper)
union all
select format('role %s may create in schema %s', r.rolname, n.nspname) from pg_namespace n
cross join lateral aclexplode(n.nspacl) a join roles r on r.oid = a.grantee
where a.privilege_type = 'CREATE' and r.rolname <> 'tradewise_owner'
union all
select format('%s on the database is granted to %s', a.privilege_type, coalesce(r.rolname, 'public'))
from pg_database d cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
left join roles r on r.oid = a.grantee
where d.datname = current_database() and (a.grantee = 0 or r.rolname <> 'tradewise_owner')
    and (a.privilege_type in ('CREATE', 'TEMPORARY'))
"""


async def snapshot(connection: AsyncConnection) -> list[str]:
    """Sorted lines, one a fact: tables, grants, policies, triggers, functions, roles."""
    return sorted((await connection.execute(text(_SNAPSHOT.replace(":", "\\:")))).scalars())


async def faults(connection: AsyncConnection) -> list[str]:
    """What breaks tenant isolation whatever ``policies/`` says; empty when all is well."""
    return sorted((await connection.execute(text(_FAULTS.replace(":", "\\:")))).scalars())
