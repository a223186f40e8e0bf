-- Codes by mail, wrong passwords in a row, passwords themselves. The web tier reads and writes no such row: each function
-- here does one thing, about one address or about the bound person alone.

select pg_temp.protect('verification_codes'), pg_temp.protect('sign_in_failures');
select pg_temp.open_to('verification_codes', 'tradewise_auth', array['select', 'insert', 'update']);
select pg_temp.open_to('sign_in_failures', 'tradewise_auth', array['select', 'insert', 'update', 'delete']);
grant select, insert, update on verification_codes to tradewise_auth;
grant select, insert, update, delete on sign_in_failures to tradewise_auth;
grant update (email_verified_at) on users to tradewise_auth;
grant update (revoked_at) on sessions to tradewise_auth;

-- The scheduler clears what has expired.
select pg_temp.open_to('verification_codes', 'tradewise_agent_scheduler', array['select', 'delete']);
select pg_temp.open_to('sign_in_failures', 'tradewise_agent_scheduler', array['select', 'delete']);
grant select (id, expires_at), delete on verification_codes to tradewise_agent_scheduler;
grant select (last_at), delete on sign_in_failures to tradewise_agent_scheduler;

grant create on schema public to tradewise_auth;

-- What stands for an address in verification_codes: no list of addresses, and no code of one purpose for another.
create or replace function code_address(of_purpose text, of_email text)
returns bytea language sql stable set search_path = pg_catalog, pg_temp as $$
    select sha256(convert_to(of_purpose || E'\n' || lower(of_email), 'UTF8'))
$$;

-- Keeps the hash of a new code for an address, in the place of an earlier one. Tells whose the address is, if anybody's;
-- for an address that nobody has a row is kept as well, which no code opens.
create or replace function auth_issue_code(
    new_id uuid, of_purpose text, of_email text, of_hash bytea, lifetime interval
) returns table (user_id uuid, email text, verified boolean)
language plpgsql security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
    person record;
begin
    select u.id, u.email, u.email_verified_at is not null as verified into person from users u
    where lower(u.email) = lower(of_email) and u.status = 'active' and u.deleted_at is null;
    insert into verification_codes as c (id, purpose, address, user_id, code_hash, expires_at)
    values (new_id, of_purpose, code_address(of_purpose, of_email), person.id, of_hash, now() + lifetime)
    on conflict (purpose, address) do update set id = excluded.id, user_id = excluded.user_id,
        code_hash = excluded.code_hash, expires_at = excluded.expires_at, used_at = null, attempts = 0,
        created_at = now();
    return query select person.id, person.email, person.verified where person.id is not null;
end
$$;

-- Whose code this is. Counts the try and uses the code up; for a wrong, old, used or worn-out code it is nobody's.
-- Not for the web tier: the two functions below do something with the answer.
create or replace function code_owner(of_purpose text, of_email text, of_hash bytea, most integer)
returns uuid language sql security definer set search_path = public, pg_temp as $$
    with tried as (
        update verification_codes c
        set attempts = c.attempts + 1, used_at = case when c.code_hash = of_hash then now() end
        where c.purpose = of_purpose and c.address = code_address(of_purpose, of_email)
            and c.used_at is null and c.expires_at > now() and c.attempts < most
        returning c.user_id, c.code_hash = of_hash as good
    )
    select u.id from tried t join users u on u.id = t.user_id
    where t.good and u.status = 'active' and u.deleted_at is null and lower(u.email) = lower(of_email)
$$;

create or replace function auth_verify_email(of_email text, of_hash bytea, most integer)
returns uuid language plpgsql security definer set search_path = public, pg_temp as $$
declare
    person uuid := code_owner('verify_email', of_email, of_hash, most);
begin
    update users u set email_verified_at = coalesce(u.email_verified_at, now()) where u.id = person;
    return person;
end
$$;

-- A new password for whoever can read the mails to an address. It ends every session and, since the code came by mail,
-- shows that the address is theirs. It touches no second factor.
create or replace function auth_reset_password(of_email text, of_hash bytea, new_password_hash text, most integer)
returns table (user_id uuid, email text, sessions_ended bigint)
language plpgsql security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
declare
    person uuid := code_owner('reset_password', of_email, of_hash, most);
begin
    update users u set password_hash = new_password_hash, email_verified_at = coalesce(u.email_verified_at, now())
    where u.id = person;
    return query
        with ended as (
            update sessions s set revoked_at = now() where s.user_id = person and s.revoked_at is null returning 1
        )
        select u.id, u.email, (select count(*) from ended) from users u where u.id = person;
end
$$;

-- The bound person's own password, for who knows what is stored now: a change after the old one was checked, or the
-- same one hashed anew with other parameters.
create or replace function auth_set_password(old_password_hash text, new_password_hash text)
returns boolean language sql security definer set search_path = public, pg_temp as $$
    update users u set password_hash = new_password_hash
    where u.id = nullif(current_setting('app.user_id', true), '')::uuid and u.password_hash = old_password_hash
        and u.status = 'active' and u.deleted_at is null
    returning true
$$;

-- Lets one attempt to sign in through and counts it until it is judged, so that attempts at once cannot outrun the count.
-- Null: go on, and call sign_in_settle. Nothing (0): as many as may fail are under way, ask again. Else: locked so long.
-- One row an account and network, so that nobody waits for another account's.
create or replace function sign_in_admit(of_account bytea, of_network bytea, free integer)
returns interval language plpgsql security definer set search_path = public, pg_temp as $$
declare
    at timestamptz := clock_timestamp();
    found_row sign_in_failures;
begin
    insert into sign_in_failures as f (account, network) values (of_account, of_network)
    on conflict (account, network) do update set account = excluded.account
    returning f.* into found_row;
    at := clock_timestamp();  -- it may have waited for the row
    if found_row.locked_until > at then
        return found_row.locked_until - at;
    end if;
    if found_row.last_at < at - interval '1 day' then
        found_row.failures := 0;
    end if;
    if found_row.pending > 0 and found_row.pending_until < at then
        -- Whoever was to judge them died.
        found_row.failures := found_row.failures + found_row.pending;
        found_row.pending := 0;
    end if;
    if found_row.failures + found_row.pending >= free and (found_row.failures < free or found_row.pending > 0) then
        return interval '0';
    end if;
    update sign_in_failures f set failures = found_row.failures, pending = found_row.pending + 1,
        pending_until = at + interval '1 minute', last_at = at
    where f.account = of_account and f.network = of_network;
    return null;
end
$$;

-- What became of an attempt: good (all is forgiven), wrong, or null where it was not judged. Returns how long the account
-- is locked by it: after `free` failures in a row, 1 s, and twice as long each further time up to `longest`.
create or replace function sign_in_settle(
    of_account bytea, of_network bytea, good boolean, free integer, longest interval
) returns interval language sql security definer set search_path = public, pg_temp as $$
    update sign_in_failures f set
        pending = greatest(f.pending - 1, 0),
        failures = case when good then 0 when good is null then f.failures else f.failures + 1 end,
        locked_until = case when not good and f.failures + 1 >= free
            then clock_timestamp() + least(longest, interval '1 second' * 2 ^ least(f.failures + 1 - free, 30))
            else f.locked_until end,
        last_at = clock_timestamp()
    where f.account = of_account and f.network = of_network
    returning case when not good and f.failures >= free then f.locked_until - clock_timestamp() end
$$;

-- Everything from every network, for who has shown by mail that the account is theirs.
create or replace function sign_in_forgive(of_account bytea)
returns void language sql security definer set search_path = public, pg_temp as $$
    delete from sign_in_failures f where f.account = of_account
$$;

select pg_temp.hand_to('tradewise_auth', array['code_address(text, text)', 'code_owner(text, text, bytea, integer)'],
    array[]::text[]);
select pg_temp.hand_to('tradewise_auth', array['auth_issue_code(uuid, text, text, bytea, interval)',
    'auth_verify_email(text, bytea, integer)', 'auth_reset_password(text, bytea, text, integer)',
    'auth_set_password(text, text)', 'sign_in_admit(bytea, bytea, integer)',
    'sign_in_settle(bytea, bytea, boolean, integer, interval)', 'sign_in_forgive(bytea)']);

revoke create on schema public from tradewise_auth;
