-- How pollers share the work: by shards of bots. No tenant owns or reads any of it.

select pg_temp.protect('poll_shards');
select pg_temp.open_to('poll_shards', 'tradewise_agent_poller', array['select', 'update']);
grant select, update on poll_shards to tradewise_agent_poller;

grant select (plan, updated_at) on tenants to tradewise_agent_poller;

-- A bot of ours that comes up is looked at every moment, and one that is up at its interval.
create or replace function notify_came_up() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_launched', new.id::text);
    return null;
end
$$;
create or replace trigger notify_came_up after update of status on bots for each row
    when (new.bot_type <> 'external' and (old.status = 'starting') is distinct from (new.status = 'starting'))
    execute function notify_came_up();
