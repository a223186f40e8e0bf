-- What is watched live. The API asks and reads; the launcher, which alone sees the engine, answers and writes.

select pg_temp.protect(relation) from unnest(array['bot_follows', 'bot_log_lines', 'bot_stats']::regclass[]) as relation;

-- Whoever may read a bot may have it watched: a few seconds of the launcher's attention, and nothing of the bot changes.
select pg_temp.tenant_policies('bot_follows', array['select', 'insert', 'update']);
grant select, insert (tenant_id, bot_id, kind, wanted_until, asked_at), update (wanted_until, asked_at)
    on bot_follows to tradewise_api;
select pg_temp.tenant_policies('bot_log_lines', array['select']);
grant select on bot_log_lines to tradewise_api;
select pg_temp.tenant_policies('bot_stats', array['select']);
grant select on bot_stats to tradewise_api;

select pg_temp.open_to('bot_follows', 'tradewise_agent_launcher', array['select', 'update', 'delete']);
grant select, update (served_at, problem, instance_id, sample), delete on bot_follows to tradewise_agent_launcher;
select pg_temp.open_to('bot_log_lines', 'tradewise_agent_launcher', array['select', 'insert', 'delete']);
grant select, insert, delete on bot_log_lines to tradewise_agent_launcher;
select pg_temp.open_to('bot_stats', 'tradewise_agent_launcher', array['select', 'insert']);
grant select, insert on bot_stats to tradewise_agent_launcher;

-- A bot that is asked for wakes the launcher; a renewal does not.
create function notify_follow() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_follow', new.bot_id::text);
    return null;
end
$$;
create trigger notify_follow_begun after insert on bot_follows for each row execute function notify_follow();
create trigger notify_follow_asked after update of asked_at on bot_follows for each row
    when (old.asked_at is distinct from new.asked_at) execute function notify_follow();

-- What the launcher has for those who watch: one notification a handful of lines, and one a change of its answer.
create function notify_live() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_live', json_build_object('tenant', new.tenant_id, 'bot', new.bot_id)::text);
    return null;
end
$$;
create trigger notify_live_lines after insert on bot_log_lines for each row execute function notify_live();
create trigger notify_live_answer after update of served_at, problem, instance_id, sample on bot_follows for each row
    when ((old.served_at, old.problem, old.instance_id) is distinct from (new.served_at, new.problem, new.instance_id))
    execute function notify_live();

-- How a copy that ends has used its resources, kept with how it ended, whoever writes that down: samples are dropped.
-- The first point's rate is the one since the copy's start, when every counter was zero.
create function keep_resource_curve() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
    new.resource_curve := (
        select jsonb_agg(jsonb_build_object('at', x.observed_at,
            'cpu_cores', round((x.cpu / x.seconds)::numeric, 4), 'memory_bytes', x.memory_bytes,
            'memory_limit_bytes', x.memory_limit_bytes, 'receive_rate', round((x.received / x.seconds)::numeric),
            'send_rate', round((x.sent / x.seconds)::numeric), 'processes', x.processes) order by x.observed_at)
        from (
            select s.observed_at, s.memory_bytes, s.memory_limit_bytes, s.processes,
                greatest(s.cpu_seconds - lag(s.cpu_seconds, 1, 0::double precision) over w, 0) as cpu,
                greatest(s.received_bytes - lag(s.received_bytes, 1, 0::bigint) over w, 0) as received,
                greatest(s.sent_bytes - lag(s.sent_bytes, 1, 0::bigint) over w, 0) as sent,
                nullif(greatest(extract(epoch from s.observed_at - lag(s.observed_at, 1, new.started_at) over w), 0), 0)
                    ::double precision as seconds
            from bot_stats s
            where s.tenant_id = new.tenant_id and s.bot_id = new.bot_id and s.instance_id = new.id
            window w as (order by s.observed_at)
            order by s.observed_at desc limit 60
        ) x
    );
    return new;
end
$$;
create trigger keep_resource_curve before update of finished_at on bot_instances for each row
    when (old.finished_at is null and new.finished_at is not null) execute function keep_resource_curve();

-- Partitions are made ahead by the scheduler. Each is protected like its parent and open to nobody directly.
create function ensure_stats_partitions(days_ahead integer) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    day date := (now() at time zone 'utc')::date - 1;
    partition text;
    made integer := 0;
begin
    while day <= (now() at time zone 'utc')::date + days_ahead loop
        partition := 'bot_stats_' || to_char(day, 'YYYY_MM_DD');
        if to_regclass('public.' || partition) is null then
            execute format('create table %I partition of bot_stats for values from (%L) to (%L)', partition,
                to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
            execute format('alter table %I enable row level security', partition);
            execute format('alter table %I force row level security', partition);
            execute format('create policy api_select on %I for select to tradewise_api
                using (tenant_id = (select nullif(current_setting(''app.tenant_id'', true), '''')::uuid))', partition);
            -- As restricted_keys.sql says of the parent.
            execute format('create policy restricted_select on %I as restrictive for select to tradewise_api
                using ((select nullif(current_setting(''app.bots'', true), '''') is null)
                    or bot_id = any ((select nullif(current_setting(''app.bots'', true), '''')::uuid[])::uuid[]))', partition);
            made := made + 1;
        end if;
        day := day + 1;
    end loop;
    if made > 0 and to_regprocedure('public.open_to_backup()') is not null then
        perform open_to_backup();
    end if;
    return made;
end
$$;

-- Drops whole days that are no longer kept. It waits for nobody: the next pass tries again.
create function drop_stats_partitions(keep_days integer) returns integer
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '300ms' as $$
declare
    partition text;
    dropped integer := 0;
begin
    for partition in
        select p.relname::text from pg_inherits h join pg_class p on p.oid = h.inhrelid
        where h.inhparent = 'bot_stats'::regclass and p.relname
            < 'bot_stats_' || to_char((now() at time zone 'utc')::date - greatest(keep_days, 1), 'YYYY_MM_DD')
    loop
        execute format('drop table %I', partition);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;
revoke all on function ensure_stats_partitions(integer), drop_stats_partitions(integer) from public;
grant execute on function ensure_stats_partitions(integer), drop_stats_partitions(integer) to tradewise_agent_scheduler;

select ensure_stats_partitions(7);
