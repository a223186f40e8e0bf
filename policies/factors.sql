-- Second factors, and sign-in by other providers. All of it is a person's, found by app.user_id. The web tier sees its
-- own person's rows without secrets and digests; what it does with those goes through the functions below, each of which
-- is about the bound person, or about one value that only its bearer can know.

select pg_temp.protect(relation) from unnest(array['totp_factors', 'recovery_codes', 'auth_identities', 'spent_proofs',
    'identity_providers', 'sign_in_exchanges']::regclass[]) as relation;

create policy api_select on totp_factors for select to tradewise_api
    using (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid));
grant select (id, user_id, confirmed_at, created_at, updated_at) on totp_factors to tradewise_api;

create policy api_select on recovery_codes for select to tradewise_api
    using (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid));
grant select (id, user_id, used_at, created_at) on recovery_codes to tradewise_api;

create policy api_select on auth_identities for select to tradewise_api
    using (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid));
create policy api_update on auth_identities for update to tradewise_api
    using (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid))
    with check (user_id = (select nullif(current_setting('app.user_id', true), '')::uuid));
grant select (id, user_id, provider, issuer, label, created_at, last_used_at), update (last_used_at) on auth_identities
    to tradewise_api;

-- The notifier carries exchanges out and tells their outcome, and publishes what it learnt of the provider.
select pg_temp.open_to('sign_in_exchanges', 'tradewise_agent_notifier', array['select', 'update']);
grant select (id, status, sealed_proof, sealed_code, proof_key_version, proof_suite, code_key_version, code_suite,
    created_at, expires_at),
    update (status, sealed_proof, sealed_code, issuer, subject, email, email_verified, name, error) on sign_in_exchanges
    to tradewise_agent_notifier;
select pg_temp.open_to('identity_providers', 'tradewise_agent_notifier', array['select', 'insert', 'update']);
grant select, insert, update (authorization_endpoint, refreshed_at) on identity_providers to tradewise_agent_notifier;

-- The scheduler clears what has expired.
select pg_temp.open_to(relation, 'tradewise_agent_scheduler', array['select', 'delete'])
from unnest(array['spent_proofs', 'sign_in_exchanges']::regclass[]) as relation;
grant select (expires_at), delete on spent_proofs, sign_in_exchanges to tradewise_agent_scheduler;

select pg_temp.open_to('totp_factors', 'tradewise_auth', array['select', 'insert', 'update', 'delete']);
select pg_temp.open_to('recovery_codes', 'tradewise_auth', array['select', 'insert', 'update', 'delete']);
select pg_temp.open_to('auth_identities', 'tradewise_auth', array['select', 'insert', 'delete']);
select pg_temp.open_to('spent_proofs', 'tradewise_auth', array['select', 'insert']);
select pg_temp.open_to('identity_providers', 'tradewise_auth', array['select']);
select pg_temp.open_to('sign_in_exchanges', 'tradewise_auth', array['select', 'insert', 'update', 'delete']);
grant select, insert, delete, update (id, secret, secret_format, secret_key_id, confirmed_at, last_step, created_at)
    on totp_factors to tradewise_auth;
grant select, insert, delete, update (used_at) on recovery_codes to tradewise_auth;
grant select, insert, delete on auth_identities to tradewise_auth;
grant select, insert on spent_proofs to tradewise_auth;
grant select on identity_providers to tradewise_auth;
grant select, insert, delete, update (status, code_hash, sealed_code, code_key_version, code_suite) on sign_in_exchanges
    to tradewise_auth;

grant create on schema public to tradewise_auth;

-- The bound person's password, to be checked again before something that a stolen session must not do.
create or replace function own_password_hash() returns text
language sql stable security definer set search_path = public, pg_temp as $$
    select u.password_hash from users u
    where u.id = nullif(current_setting('app.user_id', true), '')::uuid and u.deleted_at is null
$$;

create or replace function totp_secret()
returns table (id uuid, secret bytea, secret_format smallint, secret_key_id text, confirmed_at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select f.id, f.secret, f.secret_format, f.secret_key_id, f.confirmed_at from totp_factors f
    where f.user_id = nullif(current_setting('app.user_id', true), '')::uuid
$$;

-- A new seed in the place of one that was never confirmed; false where a factor is in force.
create or replace function totp_enroll(new_id uuid, new_secret bytea, new_format smallint, new_key_id text)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into totp_factors as f (id, user_id, secret, secret_format, secret_key_id)
    values (new_id, nullif(current_setting('app.user_id', true), '')::uuid, new_secret, new_format, new_key_id)
    on conflict (user_id) do update set id = excluded.id, secret = excluded.secret, created_at = now(),
        secret_format = excluded.secret_format, secret_key_id = excluded.secret_key_id, last_step = null
        where f.confirmed_at is null;
    return found;
end
$$;

create or replace function recovery_replace(new_ids uuid[], new_hashes bytea[])
returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
    me constant uuid := nullif(current_setting('app.user_id', true), '')::uuid;
begin
    delete from recovery_codes c where c.user_id = me;
    insert into recovery_codes (id, user_id, code_hash) select n.id, me, n.hash from unnest(new_ids, new_hashes) n (id, hash);
end
$$;

create or replace function totp_confirm(of_id uuid, of_step bigint)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update totp_factors f set confirmed_at = now(), last_step = of_step
    where f.user_id = nullif(current_setting('app.user_id', true), '')::uuid and f.id = of_id
        and f.confirmed_at is null;
    return found;
end
$$;

-- Of any number who show a code of the same step, one is let in.
create or replace function totp_spend(of_id uuid, of_step bigint)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update totp_factors f set last_step = of_step
    where f.user_id = nullif(current_setting('app.user_id', true), '')::uuid and f.id = of_id
        and f.confirmed_at is not null and (f.last_step is null or f.last_step < of_step);
    return found;
end
$$;

create or replace function recovery_spend(of_hash bytea)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update recovery_codes c set used_at = now()
    where c.user_id = nullif(current_setting('app.user_id', true), '')::uuid and c.code_hash = of_hash
        and c.used_at is null;
    return found;
end
$$;

create or replace function totp_remove()
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
declare
    me constant uuid := nullif(current_setting('app.user_id', true), '')::uuid;
begin
    delete from recovery_codes c where c.user_id = me;
    delete from totp_factors f where f.user_id = me;
    return found;
end
$$;

-- Rotation of the data key: how much is on which key, whose is not on the newest, and one row's change. Ciphertexts
-- are told and changed only where their person is bound.
create or replace function factors_by_key() returns table (key_id text, factors bigint)
language sql stable security definer set search_path = public, pg_temp as $$
    select f.secret_key_id, count(*) from totp_factors f group by 1 order by 1
$$;

create or replace function factors_on_other_keys(than text, after uuid, at_most integer)
returns table (id uuid, user_id uuid)
language sql stable security definer set search_path = public, pg_temp as $$
    select f.id, f.user_id from totp_factors f
    where f.secret_key_id <> than and (after is null or f.id > after) order by f.id limit at_most
$$;

create or replace function totp_rewrap(
    of_id uuid, old_secret bytea, new_secret bytea, new_format smallint, new_key_id text
) returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
begin
    update totp_factors f set secret = new_secret, secret_format = new_format, secret_key_id = new_key_id
    where f.user_id = nullif(current_setting('app.user_id', true), '')::uuid and f.id = of_id and f.secret = old_secret;
    return found;
end
$$;

-- Whose identity this is, for somebody who has just proved that it is theirs.
create or replace function identity_person(of_provider text, of_issuer text, of_subject text)
returns table (identity_id uuid, user_id uuid, active boolean)
language sql stable security definer set search_path = public, pg_temp as $$
    select i.id, u.id, u.status = 'active' and u.deleted_at is null
    from auth_identities i join users u on u.id = i.user_id
    where i.provider = of_provider and i.issuer = of_issuer and i.subject = of_subject
$$;

create or replace function auth_sign_up_by(
    new_identity uuid, of_provider text, of_issuer text, of_subject text, new_label text, new_user uuid,
    verified_email text, new_full_name text, new_tenant uuid, new_tenant_name text, new_membership uuid
) returns text language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if exists (select from auth_identities i
        where i.provider = of_provider and i.issuer = of_issuer and i.subject = of_subject) then
        return 'identity_taken';
    end if;
    insert into users (id, email, email_verified_at, full_name)
    values (new_user, verified_email, case when verified_email is not null then now() end, new_full_name)
    on conflict do nothing;
    if not found then
        return 'email_taken';
    end if;
    insert into auth_identities (id, user_id, provider, issuer, subject, label, last_used_at)
    values (new_identity, new_user, of_provider, of_issuer, of_subject, new_label, now());
    insert into tenants (id, name) values (new_tenant, new_tenant_name);
    insert into memberships (id, tenant_id, user_id, role) values (new_membership, new_tenant, new_user, 'owner');
    return 'made';
exception
    -- Somebody with the same identity was a moment earlier; the person made above is undone with the block.
    when unique_violation then
        return 'identity_taken';
end
$$;

create or replace function identity_link(
    new_id uuid, of_provider text, of_issuer text, of_subject text, new_label text
) returns text language plpgsql security definer set search_path = public, pg_temp as $$
declare
    me constant uuid := nullif(current_setting('app.user_id', true), '')::uuid;
begin
    insert into auth_identities (id, user_id, provider, issuer, subject, label)
    values (new_id, me, of_provider, of_issuer, of_subject, new_label) on conflict do nothing;
    if found then
        return 'linked';
    end if;
    return (select case when i.user_id = me then 'mine' else 'taken' end from auth_identities i
        where i.provider = of_provider and i.issuer = of_issuer and i.subject = of_subject);
end
$$;

-- Takes an identity away unless it is the last way in. The person is locked, so that two at once cannot take both.
create or replace function identity_unlink(of_id uuid)
returns text language plpgsql security definer set search_path = public, pg_temp as $$
declare
    me constant uuid := nullif(current_setting('app.user_id', true), '')::uuid;
    has_password boolean;
begin
    select u.password_hash is not null into has_password from users u where u.id = me for update;
    if not exists (select from auth_identities i where i.id = of_id and i.user_id = me) then
        return 'absent';
    end if;
    if not has_password and (select count(*) from auth_identities i where i.user_id = me) < 2 then
        return 'last';
    end if;
    delete from auth_identities i where i.id = of_id and i.user_id = me;
    return 'unlinked';
end
$$;

create or replace function spend_proof(of_digest bytea, until timestamptz)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
begin
    insert into spent_proofs (digest, expires_at) values (of_digest, until) on conflict do nothing;
    return found;
end
$$;

create or replace function identity_provider(of_issuer text)
returns table (authorization_endpoint text, refreshed_at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select p.authorization_endpoint, p.refreshed_at from identity_providers p where p.issuer = of_issuer
$$;

-- Begun in the bound person's name to link an identity, in nobody's to sign in; it stays so to its end.
create or replace function exchange_begin(
    new_id uuid, new_state_hash bytea, new_sealed bytea, new_key_version integer, new_suite smallint, lifetime interval
) returns void language sql security definer set search_path = public, pg_temp as $$
    insert into sign_in_exchanges (id, user_id, state_hash, sealed_proof, proof_key_version, proof_suite, expires_at)
    values (new_id, nullif(current_setting('app.user_id', true), '')::uuid, new_state_hash, new_sealed, new_key_version,
        new_suite, now() + lifetime)
$$;

-- Asks the notifier to redeem a code, once for one state; the same code again is told how far it is, another one nothing.
create or replace function exchange_ask(
    of_id uuid, of_state_hash bytea, new_code_hash bytea, new_sealed bytea, new_key_version integer, new_suite smallint
) returns text language plpgsql security definer set search_path = public, pg_temp as $$
declare
    found_status text;
    found_code bytea;
begin
    select e.status, e.code_hash into found_status, found_code from sign_in_exchanges e
    where e.id = of_id and e.state_hash = of_state_hash and e.expires_at > now()
        and e.user_id is not distinct from nullif(current_setting('app.user_id', true), '')::uuid
    for update;
    if found_status = 'begun' then
        update sign_in_exchanges e set status = 'asked', code_hash = new_code_hash, sealed_code = new_sealed,
            code_key_version = new_key_version, code_suite = new_suite
        where e.id = of_id;
        perform pg_notify('tradewise_exchange', of_id::text);
        return 'asked';
    end if;
    return case when found_code = new_code_hash then found_status end;
end
$$;

create or replace function exchange_outcome(of_id uuid, of_state_hash bytea)
returns table (status text, issuer text, subject text, email text, email_verified boolean, name text, error text)
language sql stable security definer set search_path = public, pg_temp as $$
    select e.status, e.issuer, e.subject, e.email, e.email_verified, e.name, e.error from sign_in_exchanges e
    where e.id = of_id and e.state_hash = of_state_hash and e.expires_at > now()
        and e.user_id is not distinct from nullif(current_setting('app.user_id', true), '')::uuid
$$;

-- Ends an exchange; true for the one who ended it.
create or replace function exchange_end(of_id uuid, of_state_hash bytea)
returns boolean language plpgsql security definer set search_path = public, pg_temp as $$
begin
    delete from sign_in_exchanges e
    where e.id = of_id and e.state_hash = of_state_hash and e.expires_at > now()
        and e.user_id is not distinct from nullif(current_setting('app.user_id', true), '')::uuid;
    return found;
end
$$;

select pg_temp.hand_to('tradewise_auth', array['own_password_hash()', 'totp_secret()',
    'totp_enroll(uuid, bytea, smallint, text)', 'recovery_replace(uuid[], bytea[])', 'totp_confirm(uuid, bigint)',
    'totp_spend(uuid, bigint)', 'recovery_spend(bytea)', 'totp_remove()', 'factors_by_key()',
    'factors_on_other_keys(text, uuid, integer)', 'totp_rewrap(uuid, bytea, bytea, smallint, text)',
    'identity_person(text, text, text)',
    'auth_sign_up_by(uuid, text, text, text, text, uuid, text, text, uuid, text, uuid)',
    'identity_link(uuid, text, text, text, text)', 'identity_unlink(uuid)', 'spend_proof(bytea, timestamptz)',
    'identity_provider(text)', 'exchange_begin(uuid, bytea, bytea, integer, smallint, interval)',
    'exchange_ask(uuid, bytea, bytea, bytea, integer, smallint)', 'exchange_outcome(uuid, bytea)',
    'exchange_end(uuid, bytea)']);

revoke create on schema public from tradewise_auth;
