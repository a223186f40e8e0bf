-- Snapshots: the poller writes them, a tenant reads its own; a subscriber of a shared bot reads its index by function.

select pg_temp.protect('performance_snapshots');
select pg_temp.tenant_policies('performance_snapshots', array['select']);
grant select on performance_snapshots to tradewise_api;

select pg_temp.open_to('performance_snapshots', 'tradewise_agent_poller', array['select', 'insert']);
grant select, insert on performance_snapshots to tradewise_agent_poller;

select pg_temp.open_to('performance_snapshots', 'tradewise_market', array['select']);
grant select on performance_snapshots to tradewise_market;

select pg_temp.protect('bot_health_changes');
select pg_temp.tenant_policies('bot_health_changes', array['select']);
grant select on bot_health_changes to tradewise_api;
select pg_temp.open_to('bot_health_changes', 'tradewise_agent_poller', array['select', 'insert']);
grant select, insert on bot_health_changes to tradewise_agent_poller;

grant create on schema public to tradewise_market;

-- The index of the bot that a subscription follows, one value a step: only for a subscription of the calling tenant.
create or replace function subscription_index(of_subscription uuid, since timestamptz, until timestamptz, step interval)
returns table (observed_at timestamptz, unit_value numeric)
language sql stable security definer set search_path = public, pg_temp as $$
    select x.observed_at, x.unit_value from (
        select distinct on (date_bin(step, p.observed_at, timestamptz '2000-01-01 00:00:00+00'))
            p.observed_at, p.unit_value
        from subscriptions s
        join performance_snapshots p on p.tenant_id = s.bot_tenant_id and p.bot_id = s.bot_id
        where s.id = of_subscription
            and s.tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
            and p.observed_at >= greatest(since, s.created_at) and p.observed_at <= until
        order by date_bin(step, p.observed_at, timestamptz '2000-01-01 00:00:00+00'), p.observed_at desc
    ) x
    order by x.observed_at
$$;

-- The newest index value of each bot that the calling tenant follows.
create or replace function followed_unit_values()
returns table (subscription_id uuid, observed_at timestamptz, unit_value numeric, simulated boolean)
language sql stable security definer set search_path = public, pg_temp as $$
    select s.id, p.observed_at, p.unit_value, p.simulated
    from subscriptions s
    cross join lateral (
        select q.observed_at, q.unit_value, q.simulated from performance_snapshots q
        where q.tenant_id = s.bot_tenant_id and q.bot_id = s.bot_id and q.unit_value is not null
        order by q.observed_at desc limit 1
    ) p
    where s.tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
$$;

-- What the marketplace shows of a listing: the index of the creator's own oldest bot that runs the template, and of no
-- other than the one that is followed where it is shared, because subscriptions are bought at it.
create or replace function listing_performance(of_template uuid)
returns table (observed_at timestamptz, unit_value numeric, max_drawdown numeric, simulated boolean, since timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select p.observed_at, p.unit_value, p.max_drawdown, p.simulated, b.created_at
    from marketplace_listings l
    join lateral (
        select c.id, c.tenant_id, c.created_at from bots c
        join template_versions v on v.tenant_id = c.template_tenant_id and v.id = c.template_version_id
        where c.tenant_id = l.creator_tenant_id and v.template_id = l.id and c.deleted_at is null
            and (l.hosting <> 'shared' or c.id = l.shared_bot_id)
        order by c.created_at limit 1
    ) b on true
    join lateral (
        select q.observed_at, q.unit_value, q.max_drawdown, q.simulated from performance_snapshots q
        where q.tenant_id = b.tenant_id and q.bot_id = b.id and q.unit_value is not null
        order by q.observed_at desc limit 1
    ) p on true
    where l.id = of_template and (select nullif(current_setting('app.tenant_id', true), '')::uuid) is not null
$$;

select pg_temp.hand_to('tradewise_market', array['subscription_index(uuid, timestamptz, timestamptz, interval)',
    'followed_unit_values()', 'listing_performance(uuid)']);

revoke create on schema public from tradewise_market;

-- Partitions are made ahead by the scheduler. Each is protected like its parent and open to nobody directly.
create or replace function ensure_partitions(months_ahead integer) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    month date := date_trunc('month', now() at time zone 'utc')::date - interval '1 month';
    partition text;
    made integer := 0;
begin
    while month <= date_trunc('month', now() at time zone 'utc') + make_interval(months => months_ahead) loop
        partition := 'performance_snapshots_' || to_char(month, 'YYYY_MM');
        if to_regclass('public.' || partition) is null then
            execute format('create table %I partition of performance_snapshots for values from (%L) to (%L)',
                partition, to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
                to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
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
        month := month + interval '1 month';
    end loop;
    -- Not yet there while the policies are applied: reporting.sql, which makes it, opens all that it finds.
    if made > 0 and to_regprocedure('public.open_to_backup()') is not null then
        perform open_to_backup();
    end if;
    return made;
end
$$;
revoke all on function ensure_partitions(integer) from public;
grant execute on function ensure_partitions(integer) to tradewise_agent_scheduler;

select ensure_partitions(3);
