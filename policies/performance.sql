-- Snapshots: the poller writes them, a tenant reads its own; a subscriber of a shared bot reads its index by function.
-- Rollups: the scheduler makes them of snapshots and of changes of health, a tenant reads its own.

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

-- Rollups are made of what the poller wrote, and read like it.
select pg_temp.protect(relation) from unnest(array['performance_hourly', 'performance_daily', 'bot_health_daily',
    'rollup_pending', 'rollup_progress']::regclass[]) as relation;
select pg_temp.tenant_policies(relation, array['select']) from unnest(array['performance_hourly', 'performance_daily',
    'bot_health_daily']::regclass[]) as relation;
grant select on performance_hourly, performance_daily, bot_health_daily to tradewise_api;

select pg_temp.open_to(relation, 'tradewise_agent_scheduler', array['select'])
from unnest(array['performance_snapshots', 'bot_health_changes']::regclass[]) as relation;
select pg_temp.open_to(relation, 'tradewise_agent_scheduler', array['select', 'insert', 'update'])
from unnest(array['performance_hourly', 'performance_daily', 'bot_health_daily']::regclass[]) as relation;
select pg_temp.open_to('rollup_pending', 'tradewise_agent_scheduler', array['select', 'insert', 'delete']);
select pg_temp.open_to('rollup_progress', 'tradewise_agent_scheduler', array['select', 'update']);
grant select on performance_snapshots, bot_health_changes to tradewise_agent_scheduler;
grant select, insert, update on performance_hourly, performance_daily, bot_health_daily to tradewise_agent_scheduler;
grant select, insert, delete on rollup_pending to tradewise_agent_scheduler;
grant select, update on rollup_progress to tradewise_agent_scheduler;

-- The index goes on from its last value, however long ago that was.
select pg_temp.open_to('performance_daily', 'tradewise_agent_poller', array['select']);
grant select on performance_daily to tradewise_agent_poller;

select pg_temp.open_to(relation, 'tradewise_market', array['select'])
from unnest(array['performance_hourly', 'performance_daily', 'rollup_progress']::regclass[]) as relation;
grant select on performance_hourly, performance_daily, rollup_progress to tradewise_market;

grant create on schema public to tradewise_market;

-- Up to which time reads take rollups; what is younger they take from the rows themselves. Rollups hold what *arrived*
-- until ready_until, and a poller from which the database was away brings rows of hours before: for so long they are
-- read as they came, until the next pass has taken them up.
create or replace function rolled_until() returns timestamptz
language sql stable security definer set search_path = public, pg_temp as $$
    select p.ready_until - interval '6 hours' from rollup_progress p
$$;

-- The newest known index of a bot, in three looks however long its history is. For the functions below.
create or replace function newest_index(whose uuid, of_bot uuid)
returns table (observed_at timestamptz, unit_value numeric, simulated boolean)
language sql stable as $$
    select n.observed_at, n.unit_value, n.simulated from (
        (select q.observed_at, q.unit_value, q.simulated from performance_snapshots q
        where q.tenant_id = whose and q.bot_id = of_bot and q.unit_value is not null
            and q.observed_at >= (select date_trunc('hour', rolled_until(), 'UTC'))
        order by q.observed_at desc limit 1)
        union all
        (select h.unit_at, h.unit_last, h.simulated from performance_hourly h
        where h.tenant_id = whose and h.bot_id = of_bot and h.unit_last is not null
            and h.bucket >= (select date_trunc('day', rolled_until(), 'UTC'))
            and h.bucket < (select date_trunc('hour', rolled_until(), 'UTC'))
        order by h.bucket desc limit 1)
        union all
        (select d.unit_at, d.unit_last, d.simulated from performance_daily d
        where d.tenant_id = whose and d.bot_id = of_bot and d.unit_last is not null
            and d.bucket < (select date_trunc('day', rolled_until(), 'UTC'))
        order by d.bucket desc limit 1)
    ) n
    order by n.observed_at desc limit 1
$$;

-- The finest that is still kept of the bot that a subscription follows, from then on: in seconds, 1 (single readings),
-- 3600 or 86400. As `finest_kept` (control_plane/performance/reads.py) has it of one's own bots.
create or replace function subscription_kept(of_subscription uuid, since timestamptz) returns integer
language sql stable security definer set search_path = public, pg_temp as $$
    select case
        when k.first_at is null or k.begin > now() - interval '27 days' then 1
        when k.first_read - greatest(k.begin, k.first_at) <= interval '1 hour' then 1
        when (
            select min(h.bucket) from performance_hourly h where h.tenant_id = k.bot_tenant_id and h.bot_id = k.bot_id
        ) - greatest(k.begin, k.first_at) <= interval '24 hours' then 3600
        else 86400 end
    from (
        select s.bot_tenant_id, s.bot_id, greatest(since, s.created_at) as begin, q.at as first_read,
            least(q.at, d.at) as first_at
        from subscriptions s
        cross join lateral (
            select min(observed_at) as at from performance_snapshots
            where tenant_id = s.bot_tenant_id and bot_id = s.bot_id
        ) q
        cross join lateral (
            select min(first_at) as at from (
                select first_at from performance_daily
                where tenant_id = s.bot_tenant_id and bot_id = s.bot_id order by bucket limit 1
            ) o
        ) d
        where s.id = of_subscription
            and s.tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    ) k
$$;

-- The index of the bot that a subscription follows, about one value a step: only for a subscription of the calling
-- tenant. Of steps of ten minutes and more, hours of which rollups tell have one value; of a day and more, days.
create or replace function subscription_index(of_subscription uuid, since timestamptz, until timestamptz, step interval)
returns table (observed_at timestamptz, unit_value numeric)
language sql stable security definer set search_path = public, pg_temp as $$
    with followed as (
        select f.*, case when step < interval '24 hours' then '-infinity'
            else date_trunc('day', f.rolled, 'UTC') end as days
        from (
            select s.bot_tenant_id, s.bot_id, greatest(since, s.created_at) as begin, case
                when step < interval '10 minutes' then '-infinity'
                else least(date_trunc('hour', rolled_until(), 'UTC'), date_trunc('hour', until, 'UTC')) end as rolled
            from subscriptions s
            where s.id = of_subscription
                and s.tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
        ) f
    )
    select x.observed_at, x.unit_value from (
        select distinct on (date_bin(step, p.observed_at, timestamptz '2000-01-01 00:00:00+00'))
            p.observed_at, p.unit_value
        from followed f cross join lateral (
            select q.observed_at, q.unit_value from performance_snapshots q
            where q.tenant_id = f.bot_tenant_id and q.bot_id = f.bot_id
                and q.observed_at >= greatest(f.begin, f.rolled) and q.observed_at <= until
            union all
            select h.last_at, h.unit_last from performance_hourly h
            where h.tenant_id = f.bot_tenant_id and h.bot_id = f.bot_id
                and h.bucket >= greatest(date_trunc('hour', f.begin, 'UTC'), f.days) and h.bucket < f.rolled
                and h.last_at >= f.begin
            union all
            select d.last_at, d.unit_last from performance_daily d
            where d.tenant_id = f.bot_tenant_id and d.bot_id = f.bot_id
                and d.bucket >= date_trunc('day', f.begin, 'UTC') and d.bucket < f.days and d.last_at >= f.begin
        ) p
        order by date_bin(step, p.observed_at, timestamptz '2000-01-01 00:00:00+00'), p.observed_at desc
    ) x
    order by x.observed_at
$$;

-- The newest index value of each bot that the calling tenant follows.
create or replace function followed_unit_values()
returns table (subscription_id uuid, observed_at timestamptz, unit_value numeric, simulated boolean)
language sql stable security definer set search_path = public, pg_temp as $$
    select s.id, p.observed_at, p.unit_value, p.simulated
    from subscriptions s cross join lateral newest_index(s.bot_tenant_id, s.bot_id) p
    where s.tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
$$;

select pg_temp.hand_to('tradewise_market', array['newest_index(uuid, uuid)'], '{}');
select pg_temp.hand_to('tradewise_market', array['rolled_until()'], array['tradewise_api', 'tradewise_owner',
    'tradewise_agent_poller']);
select pg_temp.hand_to('tradewise_market', array['subscription_index(uuid, timestamptz, timestamptz, interval)',
    'subscription_kept(uuid, timestamptz)', 'followed_unit_values()']);

revoke create on schema public from tradewise_market;

-- One partition, a month or a year, protected like its parent and open to nobody directly; 1 where it was made.
create or replace function ensure_partition(parent text, unit text, at timestamptz) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    first constant timestamp := date_trunc(unit, at at time zone 'utc');
    partition constant text := parent || '_' || to_char(first, case unit when 'year' then 'YYYY' else 'YYYY_MM' end);
begin
    if to_regclass('public.' || partition) is not null then
        return 0;
    end if;
    execute format('create table %I partition of %I for values from (%L) to (%L)', partition, parent,
        to_char(first, 'YYYY-MM-DD') || ' 00:00:00+00',
        to_char(first + ('1 ' || unit)::interval, 'YYYY-MM-DD') || ' 00:00:00+00');
    execute format('alter table %I enable row level security', partition);
    execute format('alter table %I force row level security', partition);
    execute format('create policy api_select on %I for select to tradewise_api
        using (tenant_id = (select nullif(current_setting(''app.tenant_id'', true), '''')::uuid))', partition);
    -- As restricted_keys.sql says of the parent.
    execute format('create policy restricted_select on %I as restrictive for select to tradewise_api
        using ((select nullif(current_setting(''app.bots'', true), '''') is null)
            or bot_id = any ((select nullif(current_setting(''app.bots'', true), '''')::uuid[])::uuid[]))', partition);
    return 1;
end
$$;

-- Partitions are made ahead by the scheduler: of months so many, of years the next. Rollups begin where snapshots do,
-- so that what was recorded before there were rollups has a place as well.
create or replace function ensure_partitions(months_ahead integer) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    today constant timestamp := now() at time zone 'utc';
    oldest constant timestamp := least(today - interval '1 month', (
        select min(to_date(right(c.relname, 7), 'YYYY_MM')) from pg_inherits h join pg_class c on c.oid = h.inhrelid
        where h.inhparent = 'performance_snapshots'::regclass
    ));
    made integer;
begin
    -- Two schedulers may find the same one missing: the second waits, and finds it there.
    perform pg_advisory_xact_lock(hashtext('ensure_partitions'));
    select sum(ensure_partition(t.parent, t.unit, m.at at time zone 'utc'))::integer into made
    from (values ('performance_snapshots', 'month', today - interval '1 month'),
        ('bot_health_changes', 'month', today - interval '1 month'), ('performance_hourly', 'month', oldest),
        ('performance_daily', 'year', oldest), ('bot_health_daily', 'year', oldest)) as t (parent, unit, since)
    cross join lateral generate_series(date_trunc(t.unit, t.since),
        today + case t.unit when 'year' then interval '1 year' else make_interval(months => months_ahead) end,
        ('1 ' || t.unit)::interval) as m (at);
    -- Not yet there while the policies are applied: reporting.sql, which makes it, opens all that it finds.
    if made > 0 and to_regprocedure('public.open_to_backup()') is not null then
        perform open_to_backup();
    end if;
    return made;
end
$$;

-- Drops one whole month or year that is no longer kept, single readings first: 1 where one went, 0 where there is none,
-- -1 where somebody holds whatever there is. One, because what a transaction has taken it holds to its end, and the
-- poller writes meanwhile; and it waits for nobody long. Never what is not in rollups yet: what was recorded stays for
-- two days after it was rolled up, whatever the settings say.
create or replace function retire_history(snapshot_months integer, hourly_months integer, daily_years integer)
returns integer
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '300ms' as $$
declare
    rolled constant timestamptz := rolled_until() - interval '2 days';
    partition text;
    outcome integer := 0;
begin
    if not isfinite(rolled) then
        return 0;
    end if;
    for partition in
        select c.relname::text
        from (values
            (1, 'performance_snapshots', 'YYYY_MM', make_interval(months => greatest(snapshot_months, 1))),
            (2, 'bot_health_changes', 'YYYY_MM', make_interval(months => greatest(hourly_months, snapshot_months, 1))),
            (3, 'performance_hourly', 'YYYY_MM', make_interval(months => greatest(hourly_months, snapshot_months, 1))),
            (4, 'performance_daily', 'YYYY', make_interval(years => greatest(daily_years, 1))),
            (5, 'bot_health_daily', 'YYYY', make_interval(years => greatest(daily_years, 1)))
        ) as t (turn, parent, form, keep)
        join pg_inherits h on h.inhparent = t.parent::regclass join pg_class c on c.oid = h.inhrelid
        where substr(c.relname, length(t.parent) + 2)
            < to_char(least(now() - t.keep, rolled) at time zone 'utc', t.form)
        order by t.turn, c.relname
    loop
        begin
            execute format('drop table %I', partition);
            return 1;
        exception when lock_not_available or deadlock_detected then
            outcome := -1;  -- what was taken for it is given back
        end;
    end loop;
    return outcome;
end
$$;
revoke all on function ensure_partition(text, text, timestamptz), ensure_partitions(integer),
    retire_history(integer, integer, integer) from public;
grant execute on function ensure_partitions(integer), retire_history(integer, integer, integer)
    to tradewise_agent_scheduler;

select ensure_partitions(3);
