-- API keys. What a key that is restricted to some bots does not reach is told in restricted_keys.sql.

select pg_temp.protect('api_keys');
select pg_temp.tenant_policies('api_keys', array['select', 'update']);
-- A key acts as its maker, so it is made by that person alone.
create policy api_insert on api_keys for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and created_by = (select nullif(current_setting('app.user_id', true), '')::uuid)
);
grant select (id, tenant_id, created_by, name, prefix, scopes, bot_ids, allowed_addresses, expires_at, last_used_at,
    last_used_from, revoked_at, replaced_by, made_with, created_at) on api_keys to tradewise_api;
grant insert (id, tenant_id, created_by, name, prefix, key_hash, scopes, bot_ids, allowed_addresses, expires_at,
    made_with) on api_keys to tradewise_api;
grant update (expires_at, revoked_at, replaced_by, made_with) on api_keys to tradewise_api;

-- What must be found before the tenant is known.
select pg_temp.open_to('api_keys', 'tradewise_auth', array['select', 'update']);
grant select, update (last_used_at, last_used_from) on api_keys to tradewise_auth;

grant create on schema public to tradewise_auth;

-- A live key and its creator, while the creator is still a member of the key's tenant. The digest is asked for, not
-- told. Only a use that is let in is noted, and at most once a minute so that reading does not write: a prefix alone,
-- which is no secret, does not even mark the key as used.
create or replace function auth_api_key(of_prefix text, of_key_hash bytea, of_address inet)
returns table (key_id uuid, scopes text[], bot_ids uuid[], address_allowed boolean, tenant_id uuid, user_id uuid,
    email text, full_name text, role text)
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    select k.id, k.scopes, k.bot_ids,
        k.allowed_addresses is null or coalesce(of_address <<= any (k.allowed_addresses::inet[]), false),
        k.tenant_id, u.id, u.email, u.full_name, m.role
    into key_id, scopes, bot_ids, address_allowed, tenant_id, user_id, email, full_name, role
    from api_keys k
    join users u on u.id = k.created_by and u.status = 'active' and u.deleted_at is null
    join memberships m on m.tenant_id = k.tenant_id and m.user_id = u.id
    join tenants t on t.id = k.tenant_id and t.status = 'active'
    where k.prefix = of_prefix and k.key_hash = of_key_hash and k.revoked_at is null
        and (k.expires_at is null or k.expires_at > now());
    if not found then
        return;
    end if;
    if address_allowed then
        update api_keys k set last_used_at = now(), last_used_from = of_address
        where k.id = key_id and (k.last_used_at is null or k.last_used_at < now() - interval '1 minute');
    end if;
    return next;
end
$$;

select pg_temp.hand_to('tradewise_auth', array['auth_api_key(text, bytea, inet)']);

revoke create on schema public from tradewise_auth;
