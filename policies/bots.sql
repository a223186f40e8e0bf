-- Bots. People write desired state, agents write observed state: column grants hold each to its own.

select pg_temp.protect(relation) from unnest(array['bots', 'bot_secrets', 'bot_health', 'bot_events',
    'bot_instances']::regclass[]) as relation;

select pg_temp.tenant_policies('bots', array['select', 'update']);
-- A foreign key alone would let a bot name another tenant's private template version, which the launcher would then open.
create policy api_insert on bots for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and (
        template_version_id is null
        or template_tenant_id = tenant_id
        or exists (
            select from marketplace_listings l
            where l.creator_tenant_id = template_tenant_id and l.template_version_id = bots.template_version_id
                and l.hosting = 'dedicated'
        )
    )
);
grant select on bots to tradewise_api;
grant insert (id, tenant_id, bot_type, engine, name, description, api_url, image, template_tenant_id,
    template_version_id, desired, generation) on bots to tradewise_api;
grant update (name, description, api_url, desired, generation, ping_requested_at, deleted_at) on bots to tradewise_api;

-- Sealed values go in and never come out: the column itself is not readable by the web tier.
select pg_temp.tenant_policies('bot_secrets', array['select', 'delete']);
-- Sealed for a key that is alive: a page that was open while keys changed must not store what can never be opened.
create policy api_insert on bot_secrets for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and exists (
        select from tenant_keys k
        where k.tenant_id = bot_secrets.tenant_id and k.version = bot_secrets.key_version and k.destroyed_at is null
    )
);
grant select (id, tenant_id, bot_id, kind, key_version, suite, last4, created_at, updated_at), insert, delete
    on bot_secrets to tradewise_api;

select pg_temp.tenant_policies('bot_health', array['select', 'insert']);
grant select, insert (id, tenant_id) on bot_health to tradewise_api;

-- Nobody writes history in another's name, or in an agent's.
select pg_temp.tenant_policies('bot_events', array['select']);
create policy api_insert on bot_events for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and actor = (select nullif(current_setting('app.actor', true), ''))
    and cause = case split_part(actor, ':', 1) when 'user' then 'person' when 'key' then 'key' end
);
grant select, insert on bot_events to tradewise_api;

select pg_temp.tenant_policies('bot_instances', array['select']);
grant select on bot_instances to tradewise_api;

-- The launcher: hosted bots and their containers.
select pg_temp.open_to('bots', 'tradewise_agent_launcher', array['select']);
create policy agent_launcher_update on bots for update to tradewise_agent_launcher
    using (bot_type <> 'external') with check (bot_type <> 'external');
grant select on bots to tradewise_agent_launcher;
grant update (status, reason, reason_detail, status_since, observed_generation, exposed_host_port, attempt,
    next_retry_at) on bots to tradewise_agent_launcher;
-- What a tenant uses elsewhere is none of the launcher's business.
create policy agent_launcher_select on bot_secrets for select to tradewise_agent_launcher using (
    exists (select from bots b where b.tenant_id = bot_secrets.tenant_id and b.id = bot_id and b.bot_type <> 'external')
);
grant select on bot_secrets to tradewise_agent_launcher;
select pg_temp.open_to('bot_health', 'tradewise_agent_launcher', array['select', 'update']);
grant select, update (engine_lost_at) on bot_health to tradewise_agent_launcher;
select pg_temp.open_to('bot_instances', 'tradewise_agent_launcher', array['select', 'insert', 'update']);
grant select, insert, update on bot_instances to tradewise_agent_launcher;
select pg_temp.open_to('bot_events', 'tradewise_agent_launcher', array['insert']);
grant insert on bot_events to tradewise_agent_launcher;

-- The poller: every bot's health, and the status of external bots, which nobody launches.
select pg_temp.open_to('bots', 'tradewise_agent_poller', array['select']);
create policy agent_poller_update on bots for update to tradewise_agent_poller
    using (bot_type = 'external') with check (bot_type = 'external');
grant select on bots to tradewise_agent_poller;
grant update (status, reason, reason_detail, status_since, observed_generation) on bots to tradewise_agent_poller;
select pg_temp.open_to('bot_secrets', 'tradewise_agent_poller', array['select']);
grant select on bot_secrets to tradewise_agent_poller;
select pg_temp.open_to('bot_health', 'tradewise_agent_poller', array['select', 'update']);
grant select, update (state, reason, detail, observed_at, healthy_at, failures, latency_ms, credential_ok,
    trading_state, loop_age_s, simulated, version, identity, observed_generation)
    on bot_health to tradewise_agent_poller;
select pg_temp.open_to('bot_instances', 'tradewise_agent_poller', array['select']);
grant select on bot_instances to tradewise_agent_poller;
select pg_temp.open_to('bot_events', 'tradewise_agent_poller', array['insert']);
grant insert on bot_events to tradewise_agent_poller;

-- The lifecycle: people choose the policy, the launcher keeps the budget.
grant insert (crash_policy), update (crash_policy) on bots to tradewise_api;
grant update (restarts) on bots to tradewise_agent_launcher;

-- Whose wish a generation is, so that the launcher can name the cause of the edge that follows from it. Taken from the
-- transaction, where nobody can name another.
create or replace function note_wisher() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.wished_by := nullif(current_setting('app.actor', true), '');
    return new;
end
$$;
create or replace trigger note_wisher before insert or update of generation on bots
    for each row execute function note_wisher();

-- Wake-ups. They carry ids only; a lost one costs an interval, never correctness.
create or replace function notify_bot_desired() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_desired', new.id::text);
    if tg_op = 'INSERT' then
        perform pg_notify('tradewise_observed', json_build_object('tenant', new.tenant_id, 'kind', 'bot', 'id', new.id)::text);
    end if;
    return null;
end
$$;
create or replace trigger notify_bot_inserted after insert on bots
    for each row execute function notify_bot_desired();
create or replace trigger notify_bot_desired after update of desired, generation, api_url, ping_requested_at, deleted_at
    on bots for each row
    when ((old.desired, old.generation, old.api_url, old.ping_requested_at, old.deleted_at)
        is distinct from (new.desired, new.generation, new.api_url, new.ping_requested_at, new.deleted_at))
    execute function notify_bot_desired();

create or replace function notify_bot_observed() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_observed', json_build_object('tenant', new.tenant_id, 'kind', 'bot', 'id', new.id)::text);
    return null;
end
$$;
create or replace trigger notify_bot_changed after update on bots
    for each row execute function notify_bot_observed();
-- A look that changes nothing tells nobody: whoever waits for one is told by the poller itself.
create or replace trigger notify_bot_health after update of state, reason, trading_state, engine_lost_at
    on bot_health for each row
    when ((old.state, old.reason, old.trading_state, old.engine_lost_at, old.credential_ok, old.observed_generation)
        is distinct from
        (new.state, new.reason, new.trading_state, new.engine_lost_at, new.credential_ok, new.observed_generation))
    execute function notify_bot_observed();

-- A container that begins or ceases to run wakes the poller, and so does a bot that has come up; a change of health wakes
-- the launcher, which waits for it while starting.
create or replace function notify_launched() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_launched', new.bot_id::text);
    return null;
end
$$;
create or replace trigger notify_launched after update of state, host_port, released_at on bot_instances for each row
    when ((old.state = 'running', old.host_port, old.released_at)
        is distinct from (new.state = 'running', new.host_port, new.released_at))
    execute function notify_launched();

create or replace function notify_health() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_health', new.id::text);
    return null;
end
$$;
create or replace trigger notify_health after update of state, observed_generation on bot_health for each row
    when ((old.state, old.observed_generation) is distinct from (new.state, new.observed_generation))
    execute function notify_health();

-- Which bot of an address this is, and how it is to be read: nothing secret.
grant insert (engine_config, api_part), update (engine_config, api_part) on bots to tradewise_api;
