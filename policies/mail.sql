-- The outbox. The web tier puts mails in by one function and reads none of them; the notifier sends them.

select pg_temp.protect('mails');
select pg_temp.open_to('mails', 'tradewise_auth', array['insert']);
grant insert on mails to tradewise_auth;
select pg_temp.open_to('mails', 'tradewise_agent_notifier', array['select', 'update', 'delete']);
grant select, update (sealed, attempts, next_attempt_at, sent_at, failed_at, error), delete on mails
    to tradewise_agent_notifier;

grant create on schema public to tradewise_auth;

create or replace function post_mail(
    new_id uuid, new_kind text, new_sealed bytea, new_key_version integer, new_suite smallint
) returns void language sql security definer set search_path = public, pg_temp as $$
    insert into mails (id, kind, sealed, key_version, suite)
    values (new_id, new_kind, new_sealed, new_key_version, new_suite);
    select pg_notify('tradewise_mail', new_id::text);
$$;
select pg_temp.hand_to('tradewise_auth', array['post_mail(uuid, text, bytea, integer, smallint)']);

revoke create on schema public from tradewise_auth;
