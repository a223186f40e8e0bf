-- Members, invitations, and what happens to a tenant as a whole. Who sees a tenant and its members stands in identity.sql.

select pg_temp.protect('invitations');

-- A tenant is renamed by itself. Its status is not the web tier's to write: the functions below look who asks.
create policy api_update on tenants for update to tradewise_api
    using (id = (select nullif(current_setting('app.tenant_id', true), '')::uuid))
    with check (id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
grant update (name) on tenants to tradewise_api;

-- Nobody is made a member here: that needs an invitation (accept_invitation) or a tenant of one's own (found_tenant).
select pg_temp.tenant_policies('memberships', array['update', 'delete']);
grant update (role), delete on memberships to tradewise_api;

select pg_temp.tenant_policies('invitations', array['select', 'update']);
create policy api_insert on invitations for insert to tradewise_api with check (
    tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    and invited_by = (select nullif(current_setting('app.user_id', true), '')::uuid)
);
grant select (id, tenant_id, email, role, invited_by, expires_at, accepted_at, revoked_at, created_at), insert,
    update (revoked_at) on invitations to tradewise_api;

-- Agents ask whether a tenant is active, and nothing else of it.
select pg_temp.open_to('tenants', 'tradewise_agent_launcher', array['select']);
select pg_temp.open_to('tenants', 'tradewise_agent_poller', array['select']);
grant select (id, status) on tenants to tradewise_agent_launcher, tradewise_agent_poller;

select pg_temp.open_to('tenants', 'tradewise_auth', array['update']);
select pg_temp.open_to('memberships', 'tradewise_auth', array['delete']);
select pg_temp.open_to('invitations', 'tradewise_auth', array['select', 'update']);
select pg_temp.open_to('tenant_keys', 'tradewise_auth', array['select', 'update']);
grant update (status, suspended_at, suspended_by, suspended_reason, deleted_at) on tenants to tradewise_auth;
grant delete on memberships to tradewise_auth;
grant select, update (accepted_at, revoked_at) on invitations to tradewise_auth;
grant update (email_verified_at, email, full_name, status, deleted_at) on users to tradewise_auth;
grant update (revoked_at) on sessions, api_keys to tradewise_auth;
grant select (tenant_id, destroyed_at), update (wrapped_private_key, destroyed_at) on tenant_keys to tradewise_auth;

grant create on schema public to tradewise_auth, tradewise_market;

-- A further tenant of the bound person, who becomes its owner.
create or replace function found_tenant(new_tenant uuid, new_name text, new_membership uuid) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    founder constant uuid := nullif(current_setting('app.user_id', true), '')::uuid;
begin
    perform from users u where u.id = founder and u.status = 'active' and u.deleted_at is null for share;
    if not found then
        raise insufficient_privilege using message = 'nobody is bound';
    end if;
    insert into tenants (id, name) values (new_tenant, new_name);
    insert into memberships (id, tenant_id, user_id, role) values (new_membership, new_tenant, founder, 'owner');
end
$$;

-- Whether a person, and no API key, acts as an owner of the bound tenant.
create or replace function acts_as_owner() returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
    select current_setting('app.actor', true) like 'user:%' and exists (
        select from memberships m
        where m.tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid
            and m.user_id = nullif(current_setting('app.user_id', true), '')::uuid and m.role = 'owner'
    )
$$;

-- An owner rests the bound tenant, and ends the rest. False where it is not theirs to change, or not so that it could be.
create or replace function suspend_tenant() returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update tenants t
    set status = 'suspended', suspended_at = now(), suspended_by = 'owner', suspended_reason = null
    where t.id = nullif(current_setting('app.tenant_id', true), '')::uuid and t.status = 'active' and acts_as_owner();
    return found;
end
$$;

create or replace function resume_tenant() returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update tenants t
    set status = 'active', suspended_at = null, suspended_by = null, suspended_reason = null
    where t.id = nullif(current_setting('app.tenant_id', true), '')::uuid and t.status = 'suspended'
        and t.suspended_by is distinct from 'operator' and acts_as_owner();
    return found;
end
$$;

-- The end of the bound tenant: nobody is in it any more, nobody can be let in, and its keys are destroyed (see below).
create or replace function end_tenant() returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    mine constant uuid := nullif(current_setting('app.tenant_id', true), '')::uuid;
begin
    -- Against every insert that is under way: a bot that is being made is waited for, and then ended with the others.
    perform from tenants t where t.id = mine for update;
    update tenants t set status = 'deleted', deleted_at = now()
    where t.id = mine and t.status <> 'deleted' and (t.status = 'active' or t.suspended_by is distinct from 'operator')
        and acts_as_owner();
    if not found then
        return false;
    end if;
    update invitations i set revoked_at = now()
    where i.tenant_id = mine and i.accepted_at is null and i.revoked_at is null;
    delete from memberships m where m.tenant_id = mine;
    return true;
end
$$;

-- An invitation is worth what its maker may still grant: somebody who was removed or demoted leaves none behind.
create or replace function invitation_holds(of_tenant uuid, of_role text, of_maker uuid) returns boolean
language sql stable security definer set search_path = public, pg_temp as $$
    select exists (
        select from memberships m
        where m.tenant_id = of_tenant and m.user_id = of_maker and m.role in ('owner', 'admin')
            and array_position(array['viewer', 'trader', 'admin', 'owner'], m.role)
                >= array_position(array['viewer', 'trader', 'admin', 'owner'], of_role)
    )
$$;

-- Where a token that was mailed leads the bound person: the tenant, and whether their address is the invited one.
create or replace function invitation_of(of_token_hash bytea)
returns table (tenant_id uuid, tenant_status text, for_me boolean)
language sql stable security definer set search_path = public, pg_temp as $$
    select t.id, t.status, lower(u.email) is not distinct from lower(i.email)
    from invitations i join tenants t on t.id = i.tenant_id
    join users u on u.id = nullif(current_setting('app.user_id', true), '')::uuid
    where i.token_hash = of_token_hash and i.accepted_at is null and i.revoked_at is null and i.expires_at > now()
        and t.status <> 'deleted' and u.status = 'active' and u.deleted_at is null
        and invitation_holds(i.tenant_id, i.role, i.invited_by)
$$;

-- Let the bound person into the bound tenant by the token that was mailed to their address, which proves that address.
create or replace function accept_invitation(of_token_hash bytea, new_membership uuid) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    mine constant uuid := nullif(current_setting('app.tenant_id', true), '')::uuid;
    person constant uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    granted_role text;
begin
    -- Whoever ends the tenant, or removes the maker of the invitation, comes before or after, never between.
    perform from tenants t where t.id = mine and t.status = 'active' for share;
    if not found then
        return false;
    end if;
    update invitations i set accepted_at = now()
    from users u
    where i.token_hash = of_token_hash and i.tenant_id = mine and i.accepted_at is null and i.revoked_at is null
        and i.expires_at > now() and u.id = person and u.status = 'active' and u.deleted_at is null
        and lower(u.email) = lower(i.email) and invitation_holds(i.tenant_id, i.role, i.invited_by)
    returning i.role into granted_role;
    if granted_role is null then
        return false;
    end if;
    insert into memberships (id, tenant_id, user_id, role) values (new_membership, mine, person, granted_role)
    on conflict do nothing;
    update users u set email_verified_at = now() where u.id = person and u.email_verified_at is null;
    return true;
end
$$;

-- The end of the bound person, who signs in no more and whose address is free again. What they made stays, without their
-- name. False while a tenant would be left without an owner.
create or replace function end_person() returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    person constant uuid := nullif(current_setting('app.user_id', true), '')::uuid;
begin
    if current_setting('app.actor', true) is distinct from 'user:' || person then
        return false;
    end if;
    perform from tenants t where t.id in (select m.tenant_id from memberships m where m.user_id = person)
    order by t.id for no key update;
    if exists (
        select from memberships m join tenants t on t.id = m.tenant_id and t.status <> 'deleted'
        where m.user_id = person and m.role = 'owner' and not exists (
            select from memberships o where o.tenant_id = m.tenant_id and o.role = 'owner' and o.user_id <> person
        )
    ) then
        return false;
    end if;
    update api_keys k set revoked_at = now() where k.created_by = person and k.revoked_at is null;
    update sessions s set revoked_at = now() where s.user_id = person and s.revoked_at is null;
    update invitations i set revoked_at = now()
    where i.invited_by = person and i.accepted_at is null and i.revoked_at is null;
    delete from memberships m where m.user_id = person;
    -- Who was known elsewhere may come back from there as somebody new.
    delete from auth_identities i where i.user_id = person;
    delete from recovery_codes c where c.user_id = person;
    delete from totp_factors f where f.user_id = person;
    update users u set status = 'deleted', deleted_at = now(), email = null, full_name = null, password_hash = null,
        email_verified_at = null
    where u.id = person and u.deleted_at is null;
    return found;
end
$$;

-- Services look first and tell it in words. This holds all the same, for two owners at once too: each waits for the
-- other's lock on the tenant. What the platform does as a whole (end_tenant, a person who is deleted) is not held here.
create or replace function keep_an_owner() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
    perform from tenants t where t.id = old.tenant_id for no key update;
    if not exists (
        select from memberships m where m.tenant_id = old.tenant_id and m.role = 'owner' and m.id <> old.id
    ) then
        raise insufficient_privilege using message = 'a tenant keeps an owner';
    end if;
    return case when tg_op = 'DELETE' then old else new end;
end
$$;
create or replace trigger keep_an_owner before update of role on memberships for each row
    when (current_user = 'tradewise_api' and old.role = 'owner' and new.role <> 'owner') execute function keep_an_owner();
create or replace trigger keep_an_owner_who_leaves before delete on memberships for each row
    when (current_user = 'tradewise_api' and old.role = 'owner') execute function keep_an_owner();

-- In the transaction that ends a tenant, whoever does it: what it sealed can never be opened again.
create or replace function destroy_tenant_keys() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
    update tenant_keys k set wrapped_private_key = null, destroyed_at = coalesce(k.destroyed_at, now())
    where k.tenant_id = new.id;
    return null;
end
$$;
create or replace trigger destroy_tenant_keys after update of status on tenants for each row
    when (new.status = 'deleted') execute function destroy_tenant_keys();

-- No new key for a tenant that has ended, even for an agent that read of it a moment before.
create or replace function no_key_for_the_deleted() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
    perform from tenants t where t.id = new.tenant_id and t.status <> 'deleted' for key share;
    return case when found then new end;
end
$$;
create or replace trigger no_key_for_the_deleted before insert on tenant_keys for each row
    execute function no_key_for_the_deleted();

-- The operator's hand: `tradewise tenants`, as whoever migrates.
create or replace function operator_suspend_tenant(of_tenant uuid, of_reason text) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update tenants t set status = 'suspended', suspended_at = case when t.suspended_by = 'operator'
        then t.suspended_at else now() end, suspended_by = 'operator', suspended_reason = of_reason
    where t.id = of_tenant and t.status <> 'deleted';
    return found;
end
$$;

create or replace function operator_resume_tenant(of_tenant uuid) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update tenants t
    set status = 'active', suspended_at = null, suspended_by = null, suspended_reason = null
    where t.id = of_tenant and t.status = 'suspended';
    return found;
end
$$;

create or replace function operator_tenants()
returns table (id uuid, name text, status text, suspended_by text, suspended_at timestamptz, suspended_reason text,
    members bigint, created_at timestamptz, plan text)
language sql stable security definer set search_path = public, pg_temp as $$
    select t.id, t.name, t.status, t.suspended_by, t.suspended_at, t.suspended_reason,
        (select count(*) from memberships m where m.tenant_id = t.id), t.created_at, t.plan
    from tenants t order by t.id
$$;

select pg_temp.hand_to('tradewise_auth', array['found_tenant(uuid, text, uuid)', 'suspend_tenant()',
    'resume_tenant()', 'end_tenant()', 'invitation_of(bytea)', 'accept_invitation(bytea, uuid)', 'end_person()']);
select pg_temp.hand_to('tradewise_auth', array['acts_as_owner()', 'invitation_holds(uuid, text, uuid)',
    'keep_an_owner()', 'destroy_tenant_keys()', 'no_key_for_the_deleted()'], array[]::text[]);
select pg_temp.hand_to('tradewise_auth', array['operator_suspend_tenant(uuid, text)', 'operator_resume_tenant(uuid)',
    'operator_tenants()'], array['tradewise_owner']);

-- How many of other tenants subscribe to what the bound tenant offers: a number, and nobody's name.
create or replace function foreign_subscribers() returns integer
language sql stable security definer set search_path = public, pg_temp as $$
    select count(*)::integer from subscriptions s
    where s.status <> 'cancelled'
        and s.creator_tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
        and s.tenant_id <> s.creator_tenant_id
$$;
select pg_temp.hand_to('tradewise_market', array['foreign_subscribers()']);

-- Launcher and poller look at once at every bot that a tenant's change concerns: its own, and subscribers' bots that run
-- its templates. The marketplace shows no offer of a suspended tenant, and shows it again afterwards.
grant update (suspended) on marketplace_listings to tradewise_market;
create or replace function tenant_status_changed() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
    update marketplace_listings l set suspended = new.status <> 'active' where l.creator_tenant_id = new.id;
    perform pg_notify('tradewise_desired', b.id::text) from bots b
    where b.deleted_at is null and (b.tenant_id = new.id or (new.status = 'deleted' and b.template_tenant_id = new.id));
    return null;
end
$$;
select pg_temp.hand_to('tradewise_market', array['tenant_status_changed()'], array[]::text[]);
create or replace trigger tenant_status_changed after update of status on tenants for each row
    when (old.status is distinct from new.status) execute function tenant_status_changed();

revoke create on schema public from tradewise_auth, tradewise_market;

select pg_temp.audited('invitations', 'invitation', '{email,role,invited_by,expires_at,accepted_at,revoked_at}',
    secrets => '{token_hash}');
