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

-- The platform's own key pair, for what belongs to no tenant.
select pg_temp.protect('platform_keys');
select pg_temp.open_to('platform_keys', 'tradewise_agent_notifier', array['select']);
select pg_temp.open_to('platform_keys', 'tradewise_agent_scheduler', array['select', 'insert', 'update']);
grant select on platform_keys to tradewise_agent_notifier;
grant select, insert, update (wrapped_private_key, kek_id, destroyed_at) on platform_keys to tradewise_agent_scheduler;
select pg_temp.open_to('platform_keys', 'tradewise_auth', array['select']);
grant select (version, suite, public_key, destroyed_at) on platform_keys to tradewise_auth;
select pg_temp.open_to('installation', 'tradewise_auth', array['select']);
grant select on installation to tradewise_auth;

-- Rotation: the scheduler opens what is sealed for an older key and seals it for the newest. It may read and write just
-- that, of which row and for which tenant: not whose bot it is, nor what it is called. Keep in step with agents/keys/tables.py.
do $$
declare
    item record;
begin
    for item in
        select * from (values
            ('bot_secrets', 'id, tenant_id', 'sealed, key_version, suite'),
            ('template_versions', 'id, tenant_id', 'config_sealed, config_key_version, config_suite'),
            ('mails', 'id', 'sealed, key_version, suite'),
            ('channel_secrets', 'id, tenant_id', 'sealed, key_version, suite')
        ) as sealed (relation, keys, columns)
    loop
        execute format('create policy rotation_select on %I for select to tradewise_agent_scheduler using (true)',
            item.relation);
        execute format('create policy rotation_update on %I for update to tradewise_agent_scheduler
            using (true) with check (true)', item.relation);
        execute format('grant select (%s, %s), update (%s) on %I to tradewise_agent_scheduler',
            item.keys, item.columns, item.columns, item.relation);
    end loop;
end
$$;
-- Only a rotation changes a row of these, and what it changes is not what a person changed.
drop trigger if exists touch_updated_at on bot_secrets;

select pg_temp.protect('key_rotations'), pg_temp.protect('key_rotation_failures');
select pg_temp.open_to('key_rotations', 'tradewise_agent_scheduler', array['select', 'insert', 'update']);
select pg_temp.open_to('key_rotation_failures', 'tradewise_agent_scheduler', array['select', 'insert']);
grant select, insert, update (state, total, done, failed, beat_at, finished_at) on key_rotations
    to tradewise_agent_scheduler;
grant select, insert on key_rotation_failures to tradewise_agent_scheduler;

-- Limits of attempts: whoever asks must be counted, whether or not it is known who they are.
select pg_temp.protect('attempt_limits');
select pg_temp.open_to('attempt_limits', 'tradewise_auth', array['select', 'insert', 'update', 'delete']);
grant select, insert, update, delete on attempt_limits to tradewise_auth;
select pg_temp.open_to('attempt_limits', 'tradewise_agent_scheduler', array['select', 'delete']);
grant select, delete on attempt_limits to tradewise_agent_scheduler;

grant create on schema public to tradewise_auth;

create or replace function platform_key()
returns table (installation uuid, public_key bytea, version integer, suite smallint)
language sql stable security definer set search_path = public, pg_temp as $$
    select i.id, k.public_key, k.version, k.suite from installation i, platform_keys k
    where k.destroyed_at is null order by k.version desc limit 1
$$;

-- The generic cell rate algorithm on one row a subject, so that only those who share a subject ever wait for another.
-- Null where the attempt is allowed and counted, else how long to wait; what is refused is not counted.
create or replace function take_attempt(of_rule text, of_subject bytea, each interval, burst integer)
returns interval language plpgsql security definer set search_path = public, pg_temp as $$
declare
    at timestamptz := clock_timestamp();
    until timestamptz;
begin
    insert into attempt_limits as l (rule, subject, full_at) values (of_rule, of_subject, at + each)
    on conflict (rule, subject) do update set full_at = greatest(l.full_at, at) + each
        where greatest(l.full_at, at) + each <= at + each * burst
    returning l.full_at into until;
    if found then
        return null;
    end if;
    select l.full_at into until from attempt_limits l where l.rule = of_rule and l.subject = of_subject;
    return greatest(until + each - each * burst - at, interval '1 second');
end
$$;

-- How long to wait before one more attempt would be allowed; null where it would be now. Counts nothing.
create or replace function attempt_wait(of_rule text, of_subject bytea, each interval, burst integer)
returns interval language sql stable security definer set search_path = public, pg_temp as $$
    select case when l.full_at + each > clock_timestamp() + each * burst
        then greatest(l.full_at + each - each * burst - clock_timestamp(), interval '1 second') end
    from attempt_limits l where l.rule = of_rule and l.subject = of_subject
$$;

create or replace function forget_attempts(of_rule text, of_subject bytea)
returns void language sql security definer set search_path = public, pg_temp as $$
    delete from attempt_limits l where l.rule = of_rule and l.subject = of_subject
$$;

select pg_temp.hand_to('tradewise_auth', array['platform_key()', 'take_attempt(text, bytea, interval, integer)',
    'attempt_wait(text, bytea, interval, integer)', 'forget_attempts(text, bytea)']);

revoke create on schema public from tradewise_auth;
