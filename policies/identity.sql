-- People, tenants, memberships, sessions.

select pg_temp.protect(relation) from unnest(array['users', 'tenants', 'memberships', 'sessions',
    'idempotency_records']::regclass[]) as relation;

-- A person sees themself and the members of the tenant they act in.
create policy api_select on users for select to tradewise_api using (
    id = (select nullif(current_setting('app.user_id', true), '')::uuid)
    or id in (
        select m.user_id from memberships m
        where m.tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    )
);
create policy api_update on users for update to tradewise_api
    using (id = (select nullif(current_setting('app.user_id', true), '')::uuid))
    with check (id = (select nullif(current_setting('app.user_id', true), '')::uuid));
grant select (id, email, email_verified_at, full_name, status, last_sign_in_at, created_at, updated_at, deleted_at) on users
    to tradewise_api;
grant update (full_name, last_sign_in_at) on users to tradewise_api;

create policy api_select on memberships for select to tradewise_api using (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    or user_id = (select nullif(current_setting('app.user_id', true), '')::uuid)
);
grant select on memberships to tradewise_api;

create policy api_select on tenants for select to tradewise_api using (
    id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    or id in (
        select m.tenant_id from memberships m
        where m.user_id = (select nullif(current_setting('app.user_id', true), '')::uuid)
    )
);
grant select on tenants to tradewise_api;

create policy api_select on sessions for select to tradewise_api
    using (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid));
create policy api_insert on sessions for insert to tradewise_api
    with check (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid));
create policy api_update on sessions for update to tradewise_api
    using (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid))
    with check (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid));
grant select (id, user_id, expires_at, last_seen_at, revoked_at, ip, user_agent, created_at), insert,
    update (revoked_at) on sessions to tradewise_api;

select pg_temp.tenant_policies('idempotency_records', array['select', 'insert', 'update', 'delete']);
grant select, insert, update (status_code, answer), delete on idempotency_records to tradewise_api;

-- The scheduler makes keys for new tenants and clears what has expired.
select pg_temp.open_to('tenants', 'tradewise_agent_scheduler', array['select']);
select pg_temp.open_to('sessions', 'tradewise_agent_scheduler', array['select', 'delete']);
select pg_temp.open_to('idempotency_records', 'tradewise_agent_scheduler', array['select', 'delete']);
grant select on tenants to tradewise_agent_scheduler;
grant select (id, expires_at, revoked_at), delete on sessions to tradewise_agent_scheduler;
grant select (id, created_at), delete on idempotency_records to tradewise_agent_scheduler;

-- What must be found before the tenant is known. Each function answers one question about one value that only its
-- owner can know (an address with a password to check, a token's hash).
select pg_temp.open_to('users', 'tradewise_auth', array['select', 'insert', 'update']);
select pg_temp.open_to('tenants', 'tradewise_auth', array['select', 'insert']);
select pg_temp.open_to('memberships', 'tradewise_auth', array['select', 'insert']);
select pg_temp.open_to('sessions', 'tradewise_auth', array['select', 'update']);
grant select, insert, update (password_hash) on users to tradewise_auth;
grant select, insert on tenants, memberships to tradewise_auth;
grant select, update (last_seen_at) on sessions to tradewise_auth;

grant create on schema public to tradewise_auth;

-- Whether the person is new. For an address that is known already the same rows are written and taken back, so that the
-- work does not tell one from the other.
create or replace function auth_sign_up(
    new_user uuid, new_email text, new_password_hash text, new_full_name text, new_tenant uuid, new_tenant_name text,
    new_membership uuid
) returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
declare
    known boolean := exists (select from users u where lower(u.email) = lower(new_email));
begin
    begin
        insert into users (id, email, password_hash, full_name)
        values (new_user, case when known then new_user::text else new_email end, new_password_hash, new_full_name);
        insert into tenants (id, name) values (new_tenant, new_tenant_name);
        insert into memberships (id, tenant_id, user_id, role) values (new_membership, new_tenant, new_user, 'owner');
        if known then
            raise exception using errcode = 'TW001';
        end if;
    exception when sqlstate 'TW001' or unique_violation then
        return false;
    end;
    return true;
end
$$;

create or replace function auth_account(of_email text)
returns table (user_id uuid, password_hash text, status text, email text, verified boolean)
language sql stable security definer set search_path = public, pg_temp as $$
    select u.id, u.password_hash, u.status, u.email, u.email_verified_at is not null
    from users u where lower(u.email) = lower(of_email) and u.deleted_at is null
$$;

-- A live session, touched at most once a minute (more often where it idles out sooner) so that reading does not write.
create or replace function auth_session(of_token_hash bytea, idle interval)
returns table (session_id uuid, user_id uuid, email text, full_name text, expires_at timestamptz)
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update sessions s set last_seen_at = now()
    where s.token_hash = of_token_hash and s.revoked_at is null and s.expires_at > now()
        and s.last_seen_at > now() - idle and s.last_seen_at < now() - least(interval '1 minute', idle / 4);
    return query
        select s.id, u.id, u.email, u.full_name, s.expires_at
        from sessions s join users u on u.id = s.user_id
        where s.token_hash = of_token_hash and s.revoked_at is null and s.expires_at > now()
            and s.last_seen_at > now() - idle and u.status = 'active' and u.deleted_at is null;
end
$$;

select pg_temp.hand_to('tradewise_auth', array['auth_sign_up(uuid, text, text, text, uuid, text, uuid)',
    'auth_account(text)', 'auth_session(bytea, interval)']);

revoke create on schema public from tradewise_auth;
