-- Reports across tenants, and the dump of everything. Applied last: it looks at every table that is there by then.

-- What operators ask of the whole installation. The views read with the rights of whoever asks, so what they can show
-- is bounded by the column grants below: no address, no secret, no digest, nothing sealed, nothing of what people wrote.
create schema if not exists reports;

-- Tenants, with how much each has of what.
create view reports.tenants with (security_invoker = true) as
select t.id as tenant_id, t.plan, t.status, t.created_at, t.deleted_at,
    (select count(*) from memberships m where m.tenant_id = t.id) as members,
    (select count(*) from bots b where b.tenant_id = t.id and b.deleted_at is null) as bots,
    (select count(*) from bots b where b.tenant_id = t.id and b.deleted_at is null and b.status = 'active') as bots_active,
    (select count(*) from bots b where b.tenant_id = t.id and b.deleted_at is null and b.status = 'error') as bots_in_error,
    (select count(*) from subscriptions s where s.tenant_id = t.id and s.status = 'active') as subscriptions_active,
    (select count(*) from subscriptions s where s.tenant_id = t.id and s.status = 'paused') as subscriptions_paused,
    (select count(*) from subscriptions s where s.tenant_id = t.id and s.status = 'cancelled') as subscriptions_cancelled
from tenants t;

-- The fleet: how many bots of which family are in which state. Health is as last observed, not judged by its age.
create view reports.bots with (security_invoker = true) as
select b.engine, b.bot_type, b.desired, b.status, b.reason, h.state as health, count(*) as bots,
    min(h.observed_at) as observed_longest_ago, max(h.failures) as most_failures
from bots b join bot_health h on h.tenant_id = b.tenant_id and h.id = b.id
where b.deleted_at is null
group by b.engine, b.bot_type, b.desired, b.status, b.reason, h.state;

create view reports.agents with (security_invoker = true) as
select a.id as process_id, a.kind, a.version, a.state, a.beat_at, now() - a.beat_at as silent_for from agent_beats a;

-- Days by UTC.
create view reports.sign_ups with (security_invoker = true) as
select x.day, sum(x.people)::bigint as people, sum(x.tenants)::bigint as tenants
from (
    select (u.created_at at time zone 'utc')::date as day, 1 as people, 0 as tenants from users u
    union all
    select (t.created_at at time zone 'utc')::date, 0, 1 from tenants t
) x group by x.day;

-- One row a currency: amounts of different currencies have no sum.
create view reports.allocations with (security_invoker = true) as
select s.currency, s.status, s.hosting, count(*) as subscriptions, count(distinct s.tenant_id) as subscribers,
    sum(s.allocation_amount) as allocated
from subscriptions s group by s.currency, s.status, s.hosting;

-- Templates and how they are taken up.
create view reports.templates with (security_invoker = true) as
select l.engine, l.strategy_type, l.risk_level, l.hosting, l.currency, count(*) as published,
    sum(l.subscribers_count) as subscribers
from marketplace_listings l group by l.engine, l.strategy_type, l.risk_level, l.hosting, l.currency;

grant usage on schema reports to tradewise_reporting;
grant select on all tables in schema reports to tradewise_reporting;

select pg_temp.open_to(relation, 'tradewise_reporting', array['select']) from unnest(array['tenants', 'users',
    'memberships', 'bots', 'bot_health', 'subscriptions', 'marketplace_listings', 'agent_beats']::regclass[]) as relation;
grant select (id, plan, status, created_at, deleted_at) on tenants to tradewise_reporting;
grant select (id, status, created_at, deleted_at) on users to tradewise_reporting;
grant select (id, tenant_id, role, created_at) on memberships to tradewise_reporting;
grant select (id, tenant_id, bot_type, engine, desired, status, reason, status_since, created_at, deleted_at) on bots
    to tradewise_reporting;
grant select (id, tenant_id, state, observed_at, failures, simulated) on bot_health to tradewise_reporting;
grant select (id, tenant_id, hosting, status, currency, allocation_amount, created_at, cancelled_at) on subscriptions
    to tradewise_reporting;
grant select (id, engine, strategy_type, risk_level, hosting, currency, subscribers_count, published_at)
    on marketplace_listings to tradewise_reporting;
grant select (id, kind, version, state, beat_at, created_at) on agent_beats to tradewise_reporting;

-- The dump: every table there is and every partition, by looking. Two tables are the owner's own and hold no tenant's
-- row; they get row-level security as well, not forced, so that the owner keeps them.
alter default privileges in schema public grant select on tables to tradewise_backup;
alter default privileges in schema public grant select on sequences to tradewise_backup;
alter default privileges in schema reports grant select on tables to tradewise_backup;
grant usage on schema reports to tradewise_backup;

create or replace function open_to_backup() returns integer language plpgsql set search_path = public, pg_temp as $$
declare
    relation record;
    opened integer := 0;
begin
    for relation in
        select c.oid::regclass as name, c.relkind, c.relrowsecurity,
            exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'backup_select') as has_policy
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('public', 'reports') and c.relkind in ('r', 'p', 'v', 'm', 'S')
            and c.relowner = (select r.oid from pg_roles r where r.rolname = current_user)
            and not (has_table_privilege('tradewise_backup', c.oid, 'select')
                and (c.relkind not in ('r', 'p')
                    or exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'backup_select')))
    loop
        execute format('grant select on %s to tradewise_backup', relation.name);
        if relation.relkind in ('r', 'p') and not relation.has_policy then
            if not relation.relrowsecurity then
                execute format('alter table %s enable row level security', relation.name);
            end if;
            execute format('create policy backup_select on %s for select to tradewise_backup using (true)', relation.name);
        end if;
        opened := opened + 1;
    end loop;
    return opened;
end
$$;
revoke all on function open_to_backup() from public;
select open_to_backup();
