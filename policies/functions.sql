-- Applied first, as tradewise_owner, after the migration has dropped every policy and function. Grants go here, so that
-- what stands afterwards is what these files say and nothing else.

-- For the whole role, not for the schema: what is granted to everybody globally cannot be taken back schema by schema.
alter default privileges revoke execute on functions from public;

do $$
declare
    item record;
begin
    for item in
        select c.oid::regclass as relation, r.rolname as role_name
        from pg_class c cross join pg_roles r
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
            and (not c.relispartition or r.rolname = 'tradewise_backup')
            and r.rolname like 'tradewise\_%' and r.rolname <> 'tradewise_owner'
    loop
        execute format('revoke all on %s from public, %I', item.relation, item.role_name);
    end loop;
end
$$;

-- Whose rows a tenant-owned table shows: the same four policies for each, one per command.
create function pg_temp.tenant_policies(relation regclass, commands text[]) returns void language plpgsql as $$
declare
    mine constant text := 'tenant_id = (select nullif(current_setting(''app.tenant_id'', true), '''')::uuid)';
    command text;
begin
    foreach command in array commands loop
        execute format(
            'create policy api_%s on %s for %s to tradewise_api %s %s',
            command, relation, command,
            case when command <> 'insert' then format('using (%s)', mine) else '' end,
            case when command in ('insert', 'update') then format('with check (%s)', mine) else '' end);
    end loop;
end
$$;

-- Row-level security on, and on for the owner too.
create function pg_temp.protect(relation regclass) returns void language plpgsql as $$
begin
    execute format('alter table %s enable row level security', relation);
    execute format('alter table %s force row level security', relation);
end
$$;

-- What a role that is no tenant's may do: rows are open to it, columns and commands are held by its grants.
create function pg_temp.open_to(relation regclass, role_name text, commands text[]) returns void language plpgsql as $$
declare
    command text;
begin
    foreach command in array commands loop
        execute format(
            'create policy %s_%s on %s for %s to %I %s %s',
            replace(role_name, 'tradewise_', ''), command, relation, command, role_name,
            case when command <> 'insert' then 'using (true)' else '' end,
            case when command in ('insert', 'update') then 'with check (true)' else '' end);
    end loop;
end
$$;

-- Functions that see past the caller's own tenant run as a role that cannot log in, and only those named may call them.
create function pg_temp.hand_to(role_name text, signatures text[], callers text[] default array['tradewise_api'])
returns void language plpgsql as $$
declare
    signature text;
    caller text;
begin
    foreach signature in array signatures loop
        execute format('alter function %s owner to %I', signature, role_name);
        execute format('revoke all on function %s from public', signature);
        foreach caller in array callers loop
            execute format('grant execute on function %s to %I', signature, caller);
        end loop;
    end loop;
end
$$;

create or replace function touch_updated_at() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.updated_at := now();
    return new;
end
$$;

do $$
declare
    relation regclass;
begin
    for relation in
        select a.attrelid::regclass
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        where a.attname = 'updated_at' and c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
    loop
        execute format('create or replace trigger touch_updated_at before update on %s
            for each row execute function touch_updated_at()', relation);
    end loop;
end
$$;

-- What the API asks at start-up: which migration the schema is at, and what the policies left in the catalog.
create or replace function schema_state() returns table (revision text, policies_digest text, catalog text[])
language sql stable security definer set search_path = public, pg_temp as $$
    select (select version_num from alembic_version), s.policies_digest, s.catalog
    from (select 1) as one left join schema_snapshot s on true
$$;
revoke all on function schema_state() from public;
grant execute on function schema_state() to tradewise_api, tradewise_agent_launcher, tradewise_agent_poller,
    tradewise_agent_scheduler, tradewise_agent_notifier, tradewise_reporting, tradewise_backup;

select pg_temp.protect('installation'), pg_temp.protect('agent_beats');
select pg_temp.open_to('installation', role_name, array['select'])
from unnest(array['tradewise_agent_launcher', 'tradewise_agent_poller', 'tradewise_agent_scheduler',
    'tradewise_agent_notifier']) as role_name;
select pg_temp.open_to('agent_beats', role_name, array['select', 'insert', 'update', 'delete'])
from unnest(array['tradewise_agent_launcher', 'tradewise_agent_poller', 'tradewise_agent_scheduler',
    'tradewise_agent_notifier']) as role_name;
grant select on installation to tradewise_agent_launcher, tradewise_agent_poller, tradewise_agent_scheduler,
    tradewise_agent_notifier;
grant select, insert, update, delete on agent_beats to tradewise_agent_launcher, tradewise_agent_poller,
    tradewise_agent_scheduler, tradewise_agent_notifier;

-- Agents' beats are the platform's, not a tenant's; whoever acts in a tenant that exists may know whether it lives.
grant select on agent_beats to tradewise_api;
create policy api_select on agent_beats for select to tradewise_api
    using ((select exists (
        select from tenants t where t.id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    )));
