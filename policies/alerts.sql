-- Alerts and webhooks. People write channels, rules and settings; the notifier judges, tells, and keeps the log.

select pg_temp.protect(relation) from unnest(array['alert_channels', 'webhook_endpoints', 'channel_secrets',
    'alert_rules', 'alert_settings', 'alert_incidents', 'alert_messages', 'alert_peaks',
    'webhook_deliveries']::regclass[]) as relation;

select pg_temp.tenant_policies(relation, array['select', 'insert', 'update', 'delete'])
from unnest(array['alert_channels', 'alert_rules']::regclass[]) as relation;
-- A code is compared by a function below: its digest is not the web tier's to read.
grant select (id, tenant_id, kind, name, user_id, hint, enabled, quiet, verified_at, failing_since, disabled_at,
    disabled_reason, created_at, updated_at), delete on alert_channels to tradewise_api;
grant insert (id, tenant_id, kind, name, user_id, hint, quiet, verified_at, code_hash, code_expires_at)
    on alert_channels to tradewise_api;
grant update (name, enabled, quiet, failing_since, disabled_at, disabled_reason) on alert_channels to tradewise_api;
grant select, insert, update (enabled, delay_s, limit_percent, severity, channel_ids, tell_recovery), delete
    on alert_rules to tradewise_api;

select pg_temp.tenant_policies('webhook_endpoints', array['select', 'insert', 'update']);
grant select, insert, update (url) on webhook_endpoints to tradewise_api;

select pg_temp.tenant_policies('alert_settings', array['select', 'insert', 'update']);
grant select, insert, update (quiet_start, quiet_end, time_zone, critical_breaks_quiet, remind_after_s)
    on alert_settings to tradewise_api;

-- Sealed values go in and never come out; sealed for a key that is alive, as with a bot's secrets.
select pg_temp.tenant_policies('channel_secrets', array['select', 'update', 'delete']);
create policy api_insert on channel_secrets for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and exists (
        select from tenant_keys k
        where k.tenant_id = channel_secrets.tenant_id and k.version = channel_secrets.key_version
            and k.destroyed_at is null
    )
);
grant select (id, tenant_id, channel_id, kind, key_version, suite, expires_at, created_at), insert,
    update (expires_at), delete on channel_secrets to tradewise_api;

-- What the notifier saw and told. The web tier asks for a test or a code by a message of its own, and of no incident.
select pg_temp.tenant_policies(relation, array['select'])
from unnest(array['alert_incidents', 'alert_messages', 'alert_peaks', 'webhook_deliveries']::regclass[]) as relation;
grant select on alert_incidents, alert_messages, alert_peaks, webhook_deliveries to tradewise_api;
create policy api_insert on alert_messages for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and incident_id is null and type in ('channel.test', 'channel.code') and state = 'pending'
);
grant insert (id, tenant_id, channel_id, type, line, body) on alert_messages to tradewise_api;

select pg_temp.open_to(relation, 'tradewise_agent_notifier', array['select'])
from unnest(array['webhook_endpoints', 'alert_rules', 'alert_settings', 'bots', 'bot_health', 'bot_health_changes',
    'performance_snapshots', 'tenants', 'tenant_keys', 'users', 'memberships']::regclass[]) as relation;
grant select on webhook_endpoints, alert_rules, alert_settings, bot_health_changes, tenant_keys
    to tradewise_agent_notifier;
grant select (id, tenant_id, bot_type, engine, name, api_url, desired, status, reason, status_since, created_at,
    generation, updated_at, deleted_at) on bots to tradewise_agent_notifier;
grant select on bot_health to tradewise_agent_notifier;
select pg_temp.open_to('bot_trading', 'tradewise_agent_notifier', array['select']);
grant select (tenant_id, bot_id, wanted, problem) on bot_trading to tradewise_agent_notifier;
grant select (tenant_id, bot_id, observed_at, unit_value) on performance_snapshots to tradewise_agent_notifier;
grant select (id, name, status) on tenants to tradewise_agent_notifier;
grant select (id, email, email_verified_at, status) on users to tradewise_agent_notifier;
grant select (tenant_id, user_id, role) on memberships to tradewise_agent_notifier;
select pg_temp.open_to('alert_channels', 'tradewise_agent_notifier', array['select', 'update']);
grant select, update (failing_since, disabled_at, disabled_reason) on alert_channels to tradewise_agent_notifier;
select pg_temp.open_to('channel_secrets', 'tradewise_agent_notifier', array['select', 'delete']);
grant select, delete on channel_secrets to tradewise_agent_notifier;
select pg_temp.open_to(relation, 'tradewise_agent_notifier', array['select', 'insert', 'update', 'delete'])
from unnest(array['alert_incidents', 'alert_messages', 'alert_peaks']::regclass[]) as relation;
grant select, insert, update, delete on alert_incidents, alert_messages, alert_peaks to tradewise_agent_notifier;
select pg_temp.open_to('webhook_deliveries', 'tradewise_agent_notifier', array['select', 'insert', 'delete']);
grant select, insert, delete on webhook_deliveries to tradewise_agent_notifier;
-- Alerts by mail go the way of every mail: through the outbox, sealed.
select pg_temp.open_to('mails', 'tradewise_agent_notifier', array['insert']);
grant insert on mails to tradewise_agent_notifier;

-- Whether `given` is the digest of the code that was sent to a channel of the calling tenant; five tries, half an hour.
select pg_temp.open_to('alert_channels', 'tradewise_auth', array['select', 'update']);
grant select (id, tenant_id, code_hash, code_expires_at, code_tries, verified_at), update (verified_at, code_hash,
    code_tries, updated_at) on alert_channels to tradewise_auth;
grant create on schema public to tradewise_auth;
create or replace function alert_confirm_channel(of_channel uuid, given bytea)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
declare
    good boolean;
begin
    update alert_channels c set code_tries = code_tries + 1,
        verified_at = case when c.code_hash = given then now() else c.verified_at end,
        code_hash = case when c.code_hash = given then null else c.code_hash end
    where c.id = of_channel and c.tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
        and c.code_hash is not null and c.code_expires_at > now() and c.code_tries < 5
    returning c.code_hash is null into good;
    return coalesce(good, false);
end
$$;
select pg_temp.hand_to('tradewise_auth', array['alert_confirm_channel(uuid, bytea)']);
revoke create on schema public from tradewise_auth;

-- Wake-ups. They carry ids only; a lost one costs seconds, never correctness.
create or replace function notify_alerts() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_alerts', new.id::text);
    return null;
end
$$;
create or replace trigger notify_alerts after insert on alert_messages
    for each row execute function notify_alerts();

-- What people change is in the audit log; what the notifier keeps for itself is not.
select pg_temp.audited('alert_channels', 'alert_channel', '{kind,name,user_id,enabled,quiet,verified_at}',
    made => 'created');
select pg_temp.audited('webhook_endpoints', 'webhook', '{url}');
select pg_temp.audited('channel_secrets', 'alert_channel', '{kind,key_version,expires_at}', secrets => '{sealed}',
    id_column => 'channel_id', made => '{kind}_set', gone => '{kind}_removed',
    update_when => 'session_user not like ''tradewise\_agent\_%''');
select pg_temp.audited('alert_rules', 'alert_rule', '{kind,bot_id,enabled,delay_s,limit_percent,severity,channel_ids,'
    'tell_recovery}');
select pg_temp.audited('alert_settings', 'alert_settings', '{quiet_start,quiet_end,time_zone,critical_breaks_quiet,'
    'remind_after_s}');
