-- Templates are their creator's alone. The marketplace is a projection with a policy of its own.

select pg_temp.protect(relation) from unnest(array['bot_templates', 'template_versions',
    'marketplace_listings']::regclass[]) as relation;

select pg_temp.tenant_policies('bot_templates', array['select', 'insert', 'update']);
grant select, insert, update (name, description, risk_level, minimum_allocation, status, latest_version, deleted_at)
    on bot_templates to tradewise_api;

-- A version is immutable, and its sealed configuration is not readable by the web tier, its creator's included.
select pg_temp.tenant_policies('template_versions', array['select']);
-- Sealed for a key that is alive, as in bots.sql.
create policy api_insert on template_versions for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and exists (
        select from tenant_keys k
        where k.tenant_id = template_versions.tenant_id and k.version = template_versions.config_key_version
            and k.destroyed_at is null
    )
);
grant select (id, tenant_id, template_id, version, parameters, image, config_key_version, config_suite, config_fields,
    config_digest, created_at), insert on template_versions to tradewise_api;

-- Public to every tenant that is signed in; writable by the creator's alone.
create policy api_select on marketplace_listings for select to tradewise_api
    using ((select exists (
        select from tenants t where t.id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    )) and (not suspended or creator_tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)));
-- Its version is of this template and its bot the creator's own: other policies trust what a listing names.
do $$
declare
    mine constant text := 'creator_tenant_id = (select nullif(current_setting(''app.tenant_id'', true), '''')::uuid)';
    sound constant text := mine || ' and exists (
        select from template_versions v
        where v.tenant_id = marketplace_listings.creator_tenant_id and v.template_id = marketplace_listings.id
            and v.id = marketplace_listings.template_version_id
    ) and (shared_bot_id is null or exists (
        select from bots b
        where b.tenant_id = marketplace_listings.creator_tenant_id and b.id = marketplace_listings.shared_bot_id
    ))';
begin
    execute format('create policy api_insert on marketplace_listings for insert to tradewise_api with check (%s)', sound);
    execute format('create policy api_update on marketplace_listings for update to tradewise_api
        using (%s) with check (%s)', mine, sound);
end
$$;
create policy api_delete on marketplace_listings for delete to tradewise_api
    using (creator_tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
grant select, delete on marketplace_listings to tradewise_api;
grant insert (id, creator_tenant_id, creator_name, template_version_id, version, name, description, engine,
    strategy_type, risk_level, hosting, currency, minimum_allocation, parameters, image, shared_bot_id)
    on marketplace_listings to tradewise_api;
grant update (creator_name, template_version_id, version, name, description, risk_level, minimum_allocation, parameters,
    image, shared_bot_id) on marketplace_listings to tradewise_api;

-- The launcher opens a version's configuration to launch a subscriber's bot, whose strategy the template names.
select pg_temp.open_to('template_versions', 'tradewise_agent_launcher', array['select']);
grant select on template_versions to tradewise_agent_launcher;
select pg_temp.open_to('bot_templates', 'tradewise_agent_launcher', array['select']);
grant select (id, tenant_id, strategy_type, currency) on bot_templates to tradewise_agent_launcher;

-- Listings by their public parameters. Containment is no leakproof operator, so no index answers it under a policy with a
-- condition; the policy of this function's owner has none. It tells ids alone, and only to who acts in a tenant that is.
do $$
begin
    if not exists (select from pg_policy where polrelid = 'tenants'::regclass and polname = 'market_select') then
        perform pg_temp.open_to('tenants', 'tradewise_market', array['select']);
    end if;
end
$$;
grant select (id) on tenants to tradewise_market;
grant create on schema public to tradewise_market;

-- All must hold. The first is asked of the index, the others of what it finds.
create or replace function find_listings(documents jsonb[]) returns setof uuid
language sql stable security definer set search_path = public, pg_temp as $$
    select l.id from marketplace_listings l
    where l.parameters @> documents[1] and l.parameters @> all(documents)
        and (select exists (
            select from tenants t where t.id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
        ))
$$;
select pg_temp.hand_to('tradewise_market', array['find_listings(jsonb[])']);

revoke create on schema public from tradewise_market;
