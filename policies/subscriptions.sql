-- Subscriptions belong to the subscriber's tenant.

select pg_temp.protect('subscriptions'), pg_temp.protect('subscription_ledger');

select pg_temp.tenant_policies('subscriptions', array['select', 'update']);
-- A foreign key alone would accept another tenant's private template: the listing must be public, or the template mine.
create policy api_insert on subscriptions for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and user_id = (select nullif(current_setting('app.user_id', true), '')::uuid)
    and exists (
        select from marketplace_listings l
        where l.id = template_id and l.creator_tenant_id = subscriptions.creator_tenant_id
            and l.template_version_id = subscriptions.template_version_id
            and (
                (l.hosting = 'dedicated' and bot_tenant_id = tenant_id)
                or (l.hosting = 'shared' and bot_tenant_id = l.creator_tenant_id and l.shared_bot_id = bot_id)
            )
    )
);
grant select, insert, update (status, allocation_amount, units, cash, cancelled_at) on subscriptions to tradewise_api;

select pg_temp.tenant_policies('subscription_ledger', array['select']);
create policy api_insert on subscription_ledger for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and actor = (select nullif(current_setting('app.actor', true), ''))
);
grant select, insert on subscription_ledger to tradewise_api;

-- The launcher tells a dedicated bot which deposits and withdrawals it has had.
select pg_temp.open_to('subscriptions', 'tradewise_agent_launcher', array['select']);
select pg_temp.open_to('subscription_ledger', 'tradewise_agent_launcher', array['select']);
grant select on subscriptions, subscription_ledger to tradewise_agent_launcher;

select pg_temp.open_to('subscriptions', 'tradewise_market', array['select']);
select pg_temp.open_to('marketplace_listings', 'tradewise_market', array['select', 'update']);
select pg_temp.open_to('template_versions', 'tradewise_market', array['select']);
select pg_temp.open_to('bots', 'tradewise_market', array['select']);
grant select (id, tenant_id, creator_tenant_id, template_id, bot_tenant_id, bot_id, hosting, status, created_at)
    on subscriptions to tradewise_market;
grant select, update (subscribers_count) on marketplace_listings to tradewise_market;
grant select (id, tenant_id, template_id) on template_versions to tradewise_market;
grant select (id, tenant_id, template_tenant_id, template_version_id, bot_type, deleted_at, created_at) on bots
    to tradewise_market;

grant create on schema public to tradewise_market;

create or replace function count_subscribers() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
    update marketplace_listings l
    set subscribers_count = (
        select count(*) from subscriptions s
        where s.creator_tenant_id = l.creator_tenant_id and s.template_id = l.id and s.status <> 'cancelled'
    )
    where l.id = new.template_id;
    return null;
end
$$;
alter function count_subscribers() owner to tradewise_market;
revoke all on function count_subscribers() from public;
create or replace trigger count_subscribers after insert or update of status on subscriptions
    for each row execute function count_subscribers();

-- A template that is published again keeps the subscribers it has.
create or replace function count_earlier_subscribers() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
    new.subscribers_count := (
        select count(*) from subscriptions s
        where s.creator_tenant_id = new.creator_tenant_id and s.template_id = new.id and s.status <> 'cancelled'
    );
    return new;
end
$$;
alter function count_earlier_subscribers() owner to tradewise_market;
revoke all on function count_earlier_subscribers() from public;
create or replace trigger count_earlier_subscribers before insert on marketplace_listings
    for each row execute function count_earlier_subscribers();

-- How many subscribe to one of the calling tenant's own templates, listed or not.
create or replace function own_subscribers(of_template uuid) returns integer
language sql stable security definer set search_path = public, pg_temp as $$
    select count(*)::integer from subscriptions s
    where s.template_id = of_template and s.status <> 'cancelled'
        and s.creator_tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
$$;
select pg_temp.hand_to('tradewise_market', array['own_subscribers(uuid)']);

revoke create on schema public from tradewise_market;

create or replace function notify_subscription() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_observed',
        json_build_object('tenant', new.tenant_id, 'kind', 'subscription', 'id', new.id)::text);
    return null;
end
$$;
create or replace trigger notify_subscription after insert or update on subscriptions
    for each row execute function notify_subscription();
