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

grant tradewise_auth, tradewise_market, tradewise_audit to tradewise_owner;
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

alter role tradewise_api set statement_timeout = '30s';
alter role tradewise_api set lock_timeout = '5s';
alter role tradewise_api set idle_in_transaction_session_timeout = '60s';
