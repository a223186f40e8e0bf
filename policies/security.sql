-- Keys to the sealed values. The web tier reads public halves; wrapped private halves are for agents.

select pg_temp.protect('tenant_keys');
select pg_temp.tenant_policies('tenant_keys', array['select']);
grant select (id, tenant_id, version, suite, public_key, destroyed_at, created_at) on tenant_keys to tradewise_api;

select pg_temp.open_to('tenant_keys', 'tradewise_agent_launcher', array['select']);
select pg_temp.open_to('tenant_keys', 'tradewise_agent_poller', array['select']);
select pg_temp.open_to('tenant_keys', 'tradewise_agent_scheduler', array['select', 'insert', 'update']);
grant select on tenant_keys to tradewise_agent_launcher, tradewise_agent_poller;
grant select, insert, update (wrapped_private_key, kek_id, destroyed_at) on tenant_keys to tradewise_agent_scheduler;

-- A new tenant wakes the scheduler, which makes its first key pair.
create or replace function notify_new_tenant() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_keys', new.id::text);
    return null;
end
$$;
create or replace trigger notify_new_tenant after insert on tenants for each row execute function notify_new_tenant();
