-- The database roles. Runs as whoever migrates (a superuser, or a role with CREATEROLE on PostgreSQL 16 or later).
--
-- tradewise_owner      owns every object; used by migrations alone
-- tradewise_api        the web tier: bound by every policy, owns nothing, member of nothing
-- tradewise_auth       owns the sign-in functions; cannot log in
-- tradewise_market     owns the functions that cross tenants for the marketplace; cannot log in
-- tradewise_audit      owns the functions that write the audit log; cannot log in
-- tradewise_agent_*    one per agent: explicit policies and column grants, never BYPASSRLS
-- tradewise_reporting  reads what reports are made of, across tenants, through views and column grants; no secret
-- tradewise_backup     reads every row for a dump, and writes none
--
-- Roles that log in are made without a password: on a server that asks for one, set it with ALTER ROLE … PASSWORD.

do $$
declare
    role_name text;
begin
    foreach role_name in array array['tradewise_owner', 'tradewise_api', 'tradewise_agent_launcher',
        'tradewise_agent_poller', 'tradewise_agent_scheduler', 'tradewise_agent_notifier', 'tradewise_reporting',
        'tradewise_backup']
    loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I login', role_name);
        end if;
    end loop;
    foreach role_name in array array['tradewise_auth', 'tradewise_market', 'tradewise_audit']
    loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin', role_name);
        end if;
    end loop;
    -- Whoever migrates acts as the owner; the owner hands the definer functions to the three that cannot log in.
    -- Before PostgreSQL 16, every member of a role may act as it.
    if not pg_has_role(current_user, 'tradewise_owner',
        case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end) then
        execute format('grant tradewise_owner to %I', current_user);
    end if;
    execute format('grant create, connect, temporary on database %I to tradewise_owner', current_database());
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to tradewise_api, tradewise_agent_launcher, tradewise_agent_poller,
        tradewise_agent_scheduler, tradewise_agent_notifier, tradewise_reporting, tradewise_backup', current_database());
end
$$;

-- The owner may act as the roles that own functions, but does not inherit what they may: their policies open every row,
-- and row-level security is forced on the owner so that it sees none. A migration inherits for as long as it runs.
do $$
declare
    held text;
begin
    foreach held in array array['tradewise_auth', 'tradewise_market', 'tradewise_audit'] loop
        if current_setting('server_version_num')::int < 160000 then
            if not pg_has_role('tradewise_owner', held, 'member') then
                execute format('grant %I to tradewise_owner', held);
            end if;
        elsif not pg_has_role('tradewise_owner', held, 'set') or pg_has_role('tradewise_owner', held, 'usage') then
            execute format('grant %I to tradewise_owner with inherit false, set true', held);
        end if;
    end loop;
    if current_setting('server_version_num')::int < 160000
        and (select rolinherit from pg_roles where rolname = 'tradewise_owner') then
        alter role tradewise_owner noinherit;
    end if;
end
$$;
do $$
begin
    -- Only where it is missing: the owner of the schema cannot be granted back what it gave.
    if not has_schema_privilege('tradewise_owner', 'public', 'create with grant option')
        or not has_schema_privilege('tradewise_owner', 'public', 'usage with grant option') then
        grant usage, create on schema public to tradewise_owner with grant option;
    end if;
end
$$;
revoke create on schema public from public;
grant usage on schema public to tradewise_api, tradewise_auth, tradewise_market, tradewise_audit,
    tradewise_agent_launcher, tradewise_agent_poller, tradewise_agent_scheduler, tradewise_agent_notifier,
    tradewise_reporting, tradewise_backup;

-- The dump must hold every row, and row-level security is forced: BYPASSRLS for the one role that can only read, where
-- whoever migrates may give it. Elsewhere the policies of reporting.sql let it read all (pg_dump --enable-row-security).
do $$
begin
    if exists (select from pg_roles where rolname = current_user and (rolsuper or rolbypassrls))
        and not (select rolbypassrls from pg_roles where rolname = 'tradewise_backup') then
        alter role tradewise_backup bypassrls;
    end if;
exception when insufficient_privilege then
    raise notice 'tradewise_backup does not bypass row-level security: dump with --enable-row-security';
end
$$;

-- Bounds for every role that logs in to serve. Only what differs is set: roles are the whole server's, and two databases
-- may be migrated at once. pg_dump lifts the bounds of its own session.
do $$
declare
    bound record;
begin
    for bound in
        select role_name, setting, value
        from (values ('tradewise_api', '30s'), ('tradewise_agent_launcher', '60s'), ('tradewise_agent_poller', '60s'),
            ('tradewise_agent_scheduler', '5min'), ('tradewise_agent_notifier', '60s'), ('tradewise_reporting', '2min'),
            ('tradewise_backup', '1h')) as served (role_name, longest)
        cross join lateral (values ('statement_timeout', longest), ('lock_timeout', '5s'),
            ('idle_in_transaction_session_timeout', '60s')) as bounds (setting, value)
    loop
        if not exists (
            select from pg_db_role_setting s join pg_roles r on r.oid = s.setrole
            where r.rolname = bound.role_name and s.setdatabase = 0
                and bound.setting || '=' || bound.value = any(s.setconfig)
        ) then
            execute format('alter role %I set %I = %L', bound.role_name, bound.setting, bound.value);
        end if;
    end loop;
end
$$;
