-- What a launched copy holds: a port of its host, an account of an exchange. No tenant owns or reads any of it.

select pg_temp.protect(relation) from unnest(array['port_leases', 'account_leases', 'account_keys']::regclass[])
    as relation;

select pg_temp.open_to('port_leases', 'tradewise_agent_launcher', array['select', 'insert', 'update']);
grant select, insert, update on port_leases to tradewise_agent_launcher;
select pg_temp.open_to('account_leases', 'tradewise_agent_launcher', array['select', 'insert', 'delete']);
grant select, insert, delete on account_leases to tradewise_agent_launcher;

-- The key of fingerprints: made and used by the launcher, moved from one key-encryption key to the next by the scheduler.
select pg_temp.open_to('account_keys', 'tradewise_agent_launcher', array['select', 'insert']);
grant select, insert on account_keys to tradewise_agent_launcher;
select pg_temp.open_to('account_keys', 'tradewise_agent_scheduler', array['select', 'update']);
grant select, update (wrapped_private_key, kek_id) on account_keys to tradewise_agent_scheduler;

-- People say what becomes of positions and which stop must not wait; the launcher says what could not be confirmed.
grant insert (on_stop) on bots to tradewise_api;
grant update (on_stop, forced_generation) on bots to tradewise_api;
grant update (orders_unconfirmed, orders_detail) on bots to tradewise_agent_launcher;
grant select (account_field) on template_versions to tradewise_api;

-- The credentials of a bot that is taken away stay until its copy, which only they can drain, is gone.
create policy agent_launcher_delete on bot_secrets for delete to tradewise_agent_launcher using (
    exists (
        select from bots b
        where b.tenant_id = bot_secrets.tenant_id and b.id = bot_id and b.bot_type <> 'external'
            and b.deleted_at is not null
    )
);
grant delete on bot_secrets to tradewise_agent_launcher;

-- A copy's leases end with its place, whoever ends it: no way of losing a copy loses a port.
create or replace function release_leases() returns trigger language plpgsql
set search_path = public, pg_temp as $$
begin
    update port_leases set state = 'free', instance_id = null, released_at = now()
    where instance_id = new.id and state = 'leased';
    delete from account_leases where instance_id = new.id;
    return null;
end
$$;
create or replace trigger release_leases after update of released_at on bot_instances for each row
    when (old.released_at is null and new.released_at is not null) execute function release_leases();
