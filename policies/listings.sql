-- What listings rest on and are sorted by: the index of the bot behind each, which performance.sql finds.

grant update (score) on marketplace_listings to tradewise_market;

grant create on schema public to tradewise_market;

-- What a listing is judged by: the creator's own oldest bot that runs the template, and no other than the one that is
-- followed where it is shared, because subscriptions are bought at it. For the functions below.
create or replace function listed_bot(of_template uuid)
returns table (tenant_id uuid, id uuid, created_at timestamptz)
language sql stable as $$
    select c.tenant_id, c.id, c.created_at
    from marketplace_listings l
    join template_versions v on v.tenant_id = l.creator_tenant_id and v.template_id = l.id
    join bots c on c.template_tenant_id = v.tenant_id and c.template_version_id = v.id
        and c.tenant_id = l.creator_tenant_id
    where l.id = of_template and c.deleted_at is null and (l.hosting <> 'shared' or c.id = l.shared_bot_id)
    order by c.created_at limit 1
$$;

-- What a bot has done since it was last simulated, if it is live, or since it was last live, if it is simulated: the
-- index that this stretch began with, when, and the worst drawdown in it. No row where all its readings are alike, so
-- that the index tells it all. The edge is found in three looks; of what lies behind it, one row a day is read.
-- Where the readings about the edge are no longer kept, the stretch begins with the first whole hour or day after it.
create or replace function newest_stretch(whose uuid, of_bot uuid, is_simulated boolean)
returns table (base numeric, since timestamptz, max_drawdown numeric)
-- To plan it anew for each listing would cost ten times as much as to do it.
language plpgsql stable set search_path = public, pg_temp set plan_cache_mode = 'force_generic_plan' as $$
declare
    built constant timestamptz := date_trunc('hour', g.ready_until, 'UTC') from rollup_progress g;
    young constant timestamptz := date_trunc('hour', rolled_until(), 'UTC');
    today constant timestamptz := date_trunc('day', young, 'UTC');
    edge timestamptz;
    whole_hour timestamptz;
    whole_day timestamptz;
begin
    if is_simulated is null then
        return;
    end if;
    select max(e.at) into edge from (
        (select case when is_simulated then d.live_at else d.simulated_at end as at from performance_daily d
        where d.tenant_id = whose and d.bot_id = of_bot order by d.bucket desc limit 1)
        union all
        select case when is_simulated then coalesce(h.live_at, case when not h.simulated then h.last_at end)
            else coalesce(h.simulated_at, case when h.simulated then h.last_at end) end
        from performance_hourly h where h.tenant_id = whose and h.bot_id = of_bot and h.bucket >= today
        union all
        select q.observed_at from performance_snapshots q
        where q.tenant_id = whose and q.bot_id = of_bot and q.observed_at >= built and q.simulated <> is_simulated
    ) e;
    if edge is null then
        return;
    end if;
    whole_hour := date_trunc('hour', edge, 'UTC') + interval '1 hour';
    whole_day := date_trunc('day', edge, 'UTC') + interval '24 hours';
    return query
    select (array_agg(p.unit_first order by p.at))[1], min(p.at),
        max(greatest(p.unit_drawdown, 1 - p.unit_min / nullif(p.high_before, 0), 0))
    from (
        select k.*, max(k.unit_max) over (order by k.at rows between unbounded preceding and 1 preceding) as high_before
        from (
            select d.first_at as at, d.unit_first, d.unit_min, d.unit_max, d.unit_drawdown from performance_daily d
            where d.tenant_id = whose and d.bot_id = of_bot and d.bucket >= whole_day and d.bucket < today
            union all
            select h.first_at, h.unit_first, h.unit_min, h.unit_max, h.unit_drawdown from performance_hourly h
            where h.tenant_id = whose and h.bot_id = of_bot and h.bucket >= whole_hour
                and h.bucket < least(whole_day, young)
            union all
            select h.first_at, h.unit_first, h.unit_min, h.unit_max, h.unit_drawdown from performance_hourly h
            where h.tenant_id = whose and h.bot_id = of_bot and h.bucket >= greatest(whole_day, today)
                and h.bucket < young
            union all
            select q.observed_at, q.unit_value, q.unit_value, q.unit_value, 0 from performance_snapshots q
            where q.tenant_id = whose and q.bot_id = of_bot and q.observed_at > edge
                and q.observed_at < whole_hour
            union all
            select q.observed_at, q.unit_value, q.unit_value, q.unit_value, 0 from performance_snapshots q
            where q.tenant_id = whose and q.bot_id = of_bot and q.observed_at >= greatest(whole_hour, young)
        ) k
        where k.unit_first is not null
    ) p
    having count(*) > 0;
end
$$;

-- What a listing rests on: the index of its bot, which subscriptions are bought at, over all of its time.
-- Its drawdown is of our own series since its beginning: of all days up to the last rollup, and of now.
create or replace function listing_performance(of_template uuid)
returns table (observed_at timestamptz, unit_value numeric, max_drawdown numeric, simulated boolean, since timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select p.observed_at, p.unit_value, case when d.peak_so_far > 0 then
        greatest(d.drawdown_so_far, 1 - p.unit_value / greatest(d.peak_so_far, p.unit_value))::numeric(9, 8) end,
        p.simulated, b.created_at
    from listed_bot(of_template) b
    cross join lateral newest_index(b.tenant_id, b.id) p
    left join lateral (
        select r.peak_so_far, r.drawdown_so_far from performance_daily r
        where r.tenant_id = b.tenant_id and r.bot_id = b.id order by r.bucket desc limit 1
    ) d on true
    where (select nullif(current_setting('app.tenant_id', true), '')::uuid) is not null
$$;

-- What the marketplace shows of a listing: how its bot's index has grown, 1 is as at the beginning. Figures that were
-- simulated and figures that were not are never shown as one: growth and drawdown are of the newest stretch of readings
-- that say the same of it as the newest, and `since` is when that began.
create or replace function listing_result(of_template uuid)
returns table (observed_at timestamptz, growth numeric, max_drawdown numeric, simulated boolean, since timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select p.observed_at,
        round(case when n.base is null then p.unit_value else p.unit_value / nullif(n.base, 0) end, 12),
        case when n.base is not null then least(n.max_drawdown, 1)::numeric(9, 8) else p.max_drawdown end,
        p.simulated, coalesce(n.since, p.since)
    from listing_performance(of_template) p
    cross join lateral listed_bot(of_template) b
    left join lateral newest_stretch(b.tenant_id, b.id, p.simulated) n on true
$$;

-- What listings are sorted by, as `listing_result` finds it; how many changed. Run by the scheduler, for all.
create or replace function refresh_listing_scores() returns integer
language sql volatile security definer set search_path = public, pg_temp as $$
    with scored as (
        select l.id, round(case when n.base is null then p.unit_value else p.unit_value / nullif(n.base, 0) end, 12)
            as growth
        from marketplace_listings l
        left join lateral listed_bot(l.id) b on true
        left join lateral newest_index(b.tenant_id, b.id) p on true
        left join lateral newest_stretch(b.tenant_id, b.id, p.simulated) n on true
    ), changed as (
        update marketplace_listings l set score = s.growth from scored s
        where s.id = l.id and l.score is distinct from s.growth
        returning 1
    )
    select count(*)::integer from changed
$$;

select pg_temp.hand_to('tradewise_market', array['listed_bot(uuid)', 'newest_stretch(uuid, uuid, boolean)'], '{}');
select pg_temp.hand_to('tradewise_market', array['refresh_listing_scores()'], array['tradewise_agent_scheduler']);
select pg_temp.hand_to('tradewise_market', array['listing_performance(uuid)', 'listing_result(uuid)']);

revoke create on schema public from tradewise_market;
