-- What hosted bots may take and reach. The plan's numbers are the operator's settings; only its name is a row.

select pg_temp.protect('tenant_egress');
select pg_temp.tenant_policies('tenant_egress', array['select', 'insert', 'update']);
grant select, insert (id, tenant_id, mode, destinations), update (mode, destinations, revision) on tenant_egress
    to tradewise_api;

-- The launcher: what is wished, and that the firewall has it.
select pg_temp.open_to('tenant_egress', 'tradewise_agent_launcher', array['select', 'update']);
grant select (tenant_id, mode, destinations, revision, applied_revision), update (applied_revision, applied_at)
    on tenant_egress to tradewise_agent_launcher;
grant select (plan) on tenants to tradewise_agent_launcher;

create or replace function notify_egress() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_egress', '');
    return null;
end
$$;
create or replace trigger notify_egress after insert or update of mode, destinations, revision on tenant_egress
    for each row execute function notify_egress();

grant create on schema public to tradewise_auth, tradewise_market;

grant select (tenant_id, bot_type, desired, deleted_at) on bots to tradewise_market;

-- How many bots of the bound tenant are wished running where we run them, those a restricted key cannot see as well.
create or replace function hosted_bots_wished() returns integer
language sql stable security definer set search_path = public, pg_temp as $$
    select count(*)::integer from bots b
    where b.tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
        and b.bot_type <> 'external' and b.desired = 'running' and b.deleted_at is null
$$;
select pg_temp.hand_to('tradewise_market', array['hosted_bots_wished()']);

-- The operator's hand: `tradewise tenants plan`, as whoever migrates.
grant update (plan) on tenants to tradewise_auth;
create or replace function operator_plan_tenant(of_tenant uuid, of_plan text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update tenants t set plan = of_plan where t.id = of_tenant and t.status <> 'deleted';
    return found;
end
$$;
select pg_temp.hand_to('tradewise_auth', array['operator_plan_tenant(uuid, text)'], array['tradewise_owner']);

revoke create on schema public from tradewise_auth, tradewise_market;

select pg_temp.audited('tenant_egress', 'egress', '{mode,destinations}', resource => 'tenant', id_column => 'tenant_id',
    made => 'set');
