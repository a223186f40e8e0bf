"""The live catalog as sorted lines of text, and what must hold of it whatever the policies say."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: Every line states one fact of the schema `public` that row security rests on. Partitions are covered by `_FAULTS`.
_SNAPSHOT: Final = """
with ours as (
    select c.* from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
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
select format('trigger %s on %s enabled=%s %s', t.tgname, o.relname, t.tgenabled, md5(pg_get_triggerdef(t.oid)))
from pg_trigger t join ours o on o.oid = t.tgrelid where not t.tgisinternal
union all
select format('function %s owner=%s definer=%s config=%s body=%s acl=%s', p.oid::regprocedure,
    pg_get_userbyid(p.proowner), p.prosecdef, array_to_string(p.proconfig, ';'), md5(p.prosrc),
    (select string_agg(format('%s=%s', coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'public'), a.privilege_type), ','
        order by a.grantee, a.privilege_type) from aclexplode(p.proacl) a where a.grantee <> p.proowner))
from pg_proc p where p.pronamespace = 'public'::regnamespace
union all
select format('role %s super=%s bypassrls=%s createrole=%s createdb=%s replication=%s login=%s', rolname, rolsuper,
    rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin) from roles
union all
select format('member %s of %s', m.rolname, g.rolname) from pg_auth_members a
join pg_roles m on m.oid = a.member join pg_roles g on g.oid = a.roleid where m.rolname in (select rolname from roles)
"""

#: What must never be, told as one line each. Independent of what policies/ says.
_FAULTS: Final = """
select format('%s holds a tenant_id but row-level security is off', c.relname) from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity
union all
select format('%s holds a tenant_id but row-level security is not forced on its owner', c.relname) from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relforcerowsecurity
union all
select format('%s holds a tenant_id but has no policy', c.relname) from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    and not exists (select from pg_policy p where p.polrelid = c.oid)
union all
select format('role %s bypasses row-level security', rolname) from pg_roles
where rolname like 'tradewise\\_%' and (rolsuper or rolbypassrls)
union all
select format('%s is owned by %s, which also serves requests', c.relname, pg_get_userbyid(c.relowner)) from pg_class c
where c.relnamespace = 'public'::regnamespace
    and pg_get_userbyid(c.relowner) like any (array['tradewise\\_api', 'tradewise\\_agent\\_%'])
union all
select format('%s may be emptied by %s: TRUNCATE ignores row-level security', c.relname, pg_get_userbyid(a.grantee))
from pg_class c cross join lateral aclexplode(c.relacl) a
where c.relnamespace = 'public'::regnamespace and a.privilege_type = 'TRUNCATE' and a.grantee <> c.relowner
union all
select format('partition %s is open to %s directly', c.relname,
    coalesce(pg_get_userbyid(nullif(a.grantee, 0)), 'public'))
from pg_class c cross join lateral aclexplode(c.relacl) a
where c.relnamespace = 'public'::regnamespace and c.relispartition and a.grantee <> c.relowner
    and pg_get_userbyid(nullif(a.grantee, 0)) is distinct from 'tradewise_backup'
union all
select format('view %s reads with its owner''s rights', c.relname) from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind = 'v'
    and not coalesce(c.reloptions @> array['security_invoker=true'], false)
"""


async def snapshot(connection: AsyncConnection) -> list[str]:
    """Sorted lines, one a fact: tables, grants, policies, triggers, functions, roles."""
    return sorted((await connection.execute(text(_SNAPSHOT.replace(":", "\\:")))).scalars())


async def faults(connection: AsyncConnection) -> list[str]:
    """What breaks tenant isolation whatever ``policies/`` says; empty when all is well."""
    return sorted((await connection.execute(text(_FAULTS.replace(":", "\\:")))).scalars())
