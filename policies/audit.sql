-- The audit log: how it is written. How it is read, verified and retired is in audit_upkeep.sql.
--
-- A change of an audited row, or an intent told by a service, becomes a row of audit_pending in its own transaction. At
-- COMMIT one deferred trigger links all of them into their tenants' chains, heads locked in the order of ids: whoever
-- holds a head waits for nothing but a head further on, so that no order of writes can deadlock. A transaction that
-- rolls back leaves no gap, because a number is only given where it is kept.

select pg_temp.protect(relation) from unnest(array['audit_events', 'audit_pending', 'audit_chains', 'audit_keys',
    'audit_checkpoints', 'audit_anchors']::regclass[]) as relation;
select pg_temp.tenant_policies('audit_events', array['select']);
grant select on audit_events to tradewise_api;

select pg_temp.open_to('audit_events', 'tradewise_audit', array['select', 'insert']);
select pg_temp.open_to('audit_pending', 'tradewise_audit', array['select', 'insert', 'delete']);
select pg_temp.open_to('audit_chains', 'tradewise_audit', array['select', 'insert', 'update']);
select pg_temp.open_to(relation, 'tradewise_audit', array['select'])
from unnest(array['audit_checkpoints', 'audit_anchors', 'installation', 'tenants', 'memberships']::regclass[]) as relation;
grant select, insert on audit_events to tradewise_audit;
grant select, insert, delete on audit_pending to tradewise_audit;
grant select, insert, update (seq, hash, at) on audit_chains to tradewise_audit;
grant select on audit_checkpoints, audit_anchors, installation to tradewise_audit;
grant select (id, status) on tenants to tradewise_audit;
grant select (tenant_id, user_id) on memberships to tradewise_audit;

grant create on schema public to tradewise_audit;

-- What an event's hash is made of: every column, the hash before it included, as the text of one JSON array. Quoting
-- keeps neighbours apart, keys of objects are sorted, times are whole microseconds: no setting changes a byte of it.
create function audit_encoded(e audit_events) returns text language sql stable as $$
    select jsonb_build_array('tradewise-audit-v1', encode(e.prev_hash, 'hex'), e.tenant_id, e.seq, e.id,
        (extract(epoch from e.at) * 1000000)::bigint, e.actor_kind, e.actor_id, e.user_id, e.address::text,
        e.request_id, e.action, e.resource, e.resource_id, e.outcome, e.changes, e.detail)::text
$$;
create function audit_hash(e audit_events) returns bytea language sql stable as $$
    select sha256(convert_to(public.audit_encoded(e), 'UTF8'))
$$;

-- Puts one event into the line of the present transaction. Who did it follows from the binding; where none is set, it is
-- whoever is connected, which tells of changes by hand as well.
create function audit_tell(
    of_tenant uuid, of_action text, of_resource text, of_resource_id uuid, of_changes jsonb, of_detail jsonb,
    of_actor text default null
) returns void language plpgsql set search_path = public, pg_temp as $$
declare
    told text := coalesce(of_actor, current_setting('app.actor', true));
    bound boolean := coalesce(told ~ '^(user|key):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', false);
    agent text := case when session_user like 'tradewise\_agent\_%' then substr(session_user::text, 17) end;
    outcome text := of_detail ->> 'outcome';
begin
    if of_action !~ '^[a-z0-9_]+(\.[a-z0-9_]+)+$' then
        raise exception 'an action is told as subject.verbed' using errcode = '22023';
    end if;
    if outcome is null or outcome not in ('success', 'failure', 'denied') then
        outcome := case when of_action ~ 'failed$' then 'failure' when of_action ~ '(refused|denied)$' then 'denied'
            else 'success' end;
    end if;
    insert into audit_pending (xact, tenant_id, actor_kind, actor_id, user_id, address, request_id, action, resource,
        resource_id, outcome, changes, detail)
    values (
        pg_current_xact_id()::text::bigint, of_tenant,
        case when bound then split_part(told, ':', 1) when agent is not null then 'agent' else 'role' end,
        case when bound then split_part(told, ':', 2) else coalesce(agent, session_user::text) end,
        case when bound and told like 'user:%' then split_part(told, ':', 2)::uuid
            when bound then nullif(current_setting('app.user_id', true), '')::uuid end,
        nullif(current_setting('app.address', true), '')::inet,
        nullif(current_setting('app.request_id', true), '')::uuid,
        of_action, of_resource, of_resource_id, outcome, coalesce(of_changes, '{}'),
        coalesce(of_detail, '{}') - 'outcome'
    );
end
$$;

-- At COMMIT: the whole line of this transaction, tenant by tenant. The first row's trigger does it for all.
create function audit_link() returns trigger language plpgsql security definer
set search_path = public, pg_temp set enable_seqscan = off as $$
declare
    pending audit_pending;
    head audit_chains;
    event audit_events;
begin
    if not exists (select from audit_pending p where p.xact = new.xact and p.n = new.n) then
        return null;
    end if;
    for pending in select * from audit_pending p where p.xact = new.xact order by p.tenant_id, p.n loop
        if head.tenant_id is distinct from pending.tenant_id then
            if head.tenant_id is not null then
                update audit_chains c set seq = head.seq, hash = head.hash, at = head.at
                where c.tenant_id = head.tenant_id;
            end if;
            select * into head from audit_chains c where c.tenant_id = pending.tenant_id for update;
            if not found then
                insert into audit_chains (tenant_id, seq, hash, at)
                values (pending.tenant_id, 0, decode(repeat('00', 32), 'hex'), '-infinity')
                on conflict do nothing;
                select * into head from audit_chains c where c.tenant_id = pending.tenant_id for update;
            end if;
        end if;
        -- By the clock after the lock, and never before the event before it: a chain's months are its prefix.
        head.at := greatest(clock_timestamp(), head.at);
        head.seq := head.seq + 1;
        event := (pending.tenant_id, head.seq, gen_random_uuid(), head.at, pending.actor_kind, pending.actor_id,
            pending.user_id, pending.address, pending.request_id, pending.action, pending.resource,
            pending.resource_id, pending.outcome, pending.changes, pending.detail, head.hash, null);
        event.hash := audit_hash(event);
        insert into audit_events values (event.*);
        head.hash := event.hash;
    end loop;
    update audit_chains c set seq = head.seq, hash = head.hash, at = head.at where c.tenant_id = head.tenant_id;
    delete from audit_pending p where p.xact = new.xact;
    return null;
end
$$;
create constraint trigger audit_link after insert on audit_pending deferrable initially deferred
    for each row execute function audit_link();

-- What a change is called. A column that tells a state gives the verb; anything else has changed.
create function audit_verb(op text, was jsonb, became jsonb, watched text[], made text, gone text)
returns text language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case
        when op = 'INSERT' then replace(made, '{kind}', coalesce(became ->> 'kind', ''))
        when op = 'DELETE' then replace(gone, '{kind}', coalesce(was ->> 'kind', ''))
        when was ->> 'deleted_at' is null and became ->> 'deleted_at' is not null then 'deleted'
        when was ->> 'revoked_at' is null and became ->> 'revoked_at' is not null then 'revoked'
        when was ->> 'accepted_at' is null and became ->> 'accepted_at' is not null then 'accepted'
        when was ->> 'desired' <> became ->> 'desired'
            then case became ->> 'desired' when 'running' then 'started' else 'stopped' end
        when was ->> 'asked' <> became ->> 'asked' then 'trading_asked'
        when was ->> 'role' <> became ->> 'role' then 'role_changed'
        when was ->> 'status' <> became ->> 'status' then case became ->> 'status'
            when 'active' then 'resumed' when 'draft' then 'unpublished' else became ->> 'status' end
        when was ->> 'generation' <> became ->> 'generation' and not exists (
            select from unnest(watched) as name
            where name <> 'generation' and was -> name is distinct from became -> name
        ) then 'restarted'
        else 'changed'
    end
$$;

-- A watched row was written. Its one argument is what pg_temp.audited was told of the table, as JSON.
create function audit_row() returns trigger language plpgsql security definer
set search_path = public, pg_temp set timezone = 'UTC' as $$
declare
    told constant jsonb := tg_argv[0];
    was constant jsonb := to_jsonb(old);
    became constant jsonb := to_jsonb(new);
    either constant jsonb := coalesce(became, was);
    watched constant text[] := array(select jsonb_array_elements_text(told -> 'columns'));
    home constant text := told ->> 'tenant';
    changes jsonb;
    action text;
begin
    select coalesce(jsonb_object_agg(name, case tg_op
        when 'INSERT' then jsonb_build_object('after', became -> name)
        when 'DELETE' then jsonb_build_object('before', was -> name)
        else jsonb_build_object('before', was -> name, 'after', became -> name) end), '{}')
    into changes
    from unnest(watched) as name
    where case tg_op when 'INSERT' then became -> name <> 'null' when 'DELETE' then was -> name <> 'null'
        else was -> name is distinct from became -> name end;
    -- That a secret changed, and nothing else of it.
    if tg_op = 'UPDATE' then
        select changes || coalesce(jsonb_object_agg(name, 'changed'::text), '{}') into changes
        from jsonb_array_elements_text(told -> 'secrets') as name where was -> name is distinct from became -> name;
    end if;
    action := (told ->> 'subject') || '.'
        || audit_verb(tg_op, was, became, watched, told ->> 'made', told ->> 'gone');
    if tg_op = 'UPDATE' and was ->> home <> became ->> home then
        action := (told ->> 'subject') || '.moved';
        perform audit_tell((was ->> home)::uuid, action, told ->> 'resource', (was ->> (told ->> 'id'))::uuid, changes, null);
    end if;
    perform audit_tell((either ->> home)::uuid, action, told ->> 'resource', (either ->> (told ->> 'id'))::uuid, changes,
        null);
    return null;
end
$$;

-- A whole table was emptied, which no row's trigger sees.
create function audit_emptied() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
    perform audit_tell(i.id, 'table.emptied', 'table', null, null, jsonb_build_object('table', tg_table_name))
    from installation i;
    return null;
end
$$;

-- What a service means to do, told in the transaction that does it. Who and from where follows from the binding.
create function audit_note(of_action text, of_resource text, of_resource_id uuid, of_detail jsonb)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform audit_tell(t.id, of_action, of_resource, of_resource_id, null, of_detail) from tenants t
    where t.id = nullif(current_setting('app.tenant_id', true), '')::uuid;
    if not found then
        raise exception 'audit_note needs a transaction that is bound to a tenant' using errcode = '22023';
    end if;
end
$$;

-- What a person does outside of any one tenant, told in each active tenant that they are in. Nothing for a stranger, and
-- no word of which it was. Whoever fails to sign in has not shown to be that person.
create function audit_person_note(of_user uuid, of_action text, of_detail jsonb)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
    failed constant boolean := of_action ~ '(failed|refused|denied)$' or of_detail ->> 'outcome' <> 'success';
begin
    perform audit_tell(m.tenant_id, of_action, 'user', of_user, null, of_detail,
        case when not coalesce(failed, false) and coalesce(current_setting('app.actor', true), '') = ''
            then 'user:' || of_user end)
    from memberships m join tenants t on t.id = m.tenant_id and t.status = 'active'
    where m.user_id = of_user;
end
$$;

-- What an agent, or the operator through an agent's role, did: in a tenant's chain, or with none in the platform's.
create function audit_agent_note(of_tenant uuid, of_action text, of_resource text, of_resource_id uuid, of_detail jsonb)
returns void language plpgsql security definer set search_path = public, pg_temp as $$
begin
    perform audit_tell(coalesce(of_tenant, i.id), of_action, of_resource, of_resource_id, null, of_detail)
    from installation i;
end
$$;

-- The same, unless the newest such event of the same thing says the same already: for what is met at each look.
create function audit_agent_note_once(
    of_tenant uuid, of_action text, of_resource text, of_resource_id uuid, of_detail jsonb
) returns void language plpgsql security definer set search_path = public, pg_temp as $$
declare
    home constant uuid := coalesce(of_tenant, (select i.id from installation i));
    newest jsonb := (
        select e.detail from audit_events e
        where e.tenant_id = home and e.resource = of_resource and e.resource_id = of_resource_id
            and e.action = of_action
        order by e.seq desc limit 1
    );
begin
    if newest is distinct from of_detail then
        perform audit_agent_note(of_tenant, of_action, of_resource, of_resource_id, of_detail);
    end if;
end
$$;

select pg_temp.hand_to('tradewise_audit', array['audit_encoded(audit_events)', 'audit_hash(audit_events)',
    'audit_tell(uuid, text, text, uuid, jsonb, jsonb, text)', 'audit_link()', 'audit_row()', 'audit_emptied()',
    'audit_verb(text, jsonb, jsonb, text[], text, text)'], '{}');
select pg_temp.hand_to('tradewise_audit', array['audit_note(text, text, uuid, jsonb)',
    'audit_person_note(uuid, text, jsonb)']);
select pg_temp.hand_to('tradewise_audit', array['audit_agent_note(uuid, text, text, uuid, jsonb)',
    'audit_agent_note_once(uuid, text, text, uuid, jsonb)'], array['tradewise_agent_launcher', 'tradewise_agent_poller',
    'tradewise_agent_scheduler', 'tradewise_agent_notifier', 'tradewise_owner']);

-- Has a table audited: `columns` are told before and after, of `secrets` only that they changed. A row is written to the
-- chain of its `tenant_column`. `made` and `gone` are the verbs of new and deleted rows; `{kind}` in them is its kind.
create function pg_temp.audited(
    relation regclass, subject text, columns text[], secrets text[] default '{}', resource text default null,
    tenant_column text default 'tenant_id', id_column text default 'id', made text default 'created',
    gone text default 'deleted', update_when text default 'true'
) returns void language plpgsql as $$
declare
    told constant text := quote_literal(jsonb_build_object('subject', subject, 'resource', coalesce(resource, subject),
        'columns', to_jsonb(columns), 'secrets', to_jsonb(secrets), 'tenant', tenant_column, 'id', id_column,
        'made', made, 'gone', gone));
    differs constant text := (
        select string_agg(format('old.%1$I is distinct from new.%1$I', name), ' or ')
        from unnest(columns || secrets || tenant_column) as name
    );
begin
    execute format('create trigger audit_insert after insert on %s for each row execute function audit_row(%s)',
        relation, told);
    execute format('create trigger audit_delete after delete on %s for each row execute function audit_row(%s)',
        relation, told);
    -- Columns that agents write are not watched: their updates do not even call the function.
    execute format('create trigger audit_update after update on %s for each row when ((%s) and %s)
        execute function audit_row(%s)', relation, differs, update_when, told);
    execute format('create trigger audit_truncate after truncate on %s execute function audit_emptied()', relation);
end
$$;

select pg_temp.audited('tenants', 'tenant', '{name,plan,status,suspended_by,suspended_reason,deleted_at}',
    tenant_column => 'id');
select pg_temp.audited('memberships', 'member', '{user_id,role}', id_column => 'user_id', made => 'added',
    gone => 'removed');
select pg_temp.audited('api_keys', 'key', '{created_by,name,prefix,scopes,expires_at,revoked_at}',
    secrets => '{key_hash}');
select pg_temp.audited('bots', 'bot', '{bot_type,engine,name,description,api_url,image,template_tenant_id,'
    'template_version_id,desired,generation,deleted_at,crash_policy,on_stop,forced_generation,engine_config}');
select pg_temp.audited('bot_trading', 'bot', '{wanted,asked}', id_column => 'bot_id', made => 'trading_asked',
    gone => 'trading_forgotten');
-- Agents seal values anew when keys are rotated, thousands at a time: that is told once a run, not once a value.
select pg_temp.audited('bot_secrets', 'bot', '{kind,key_version,last4}', secrets => '{sealed}', id_column => 'bot_id',
    made => '{kind}_set', gone => '{kind}_removed', update_when => 'session_user not like ''tradewise\_agent\_%''');
select pg_temp.audited('bot_templates', 'template', '{name,description,engine,strategy_type,risk_level,hosting,currency,'
    'minimum_allocation,status,latest_version,deleted_at}');
select pg_temp.audited('template_versions', 'template', '{version,image,config_fields,account_field}', secrets => '{config_sealed}',
    id_column => 'template_id', made => 'version_added', gone => 'version_removed',
    update_when => 'session_user not like ''tradewise\_agent\_%''');
select pg_temp.audited('marketplace_listings', 'listing', '{creator_name,version,name,description,risk_level,'
    'minimum_allocation,image,shared_bot_id}', tenant_column => 'creator_tenant_id', made => 'published',
    gone => 'unpublished');
select pg_temp.audited('subscriptions', 'subscription', '{user_id,creator_tenant_id,template_id,template_version_id,'
    'hosting,bot_id,status,currency,allocation_amount,units,cash,cancelled_at}');
select pg_temp.audited('subscription_ledger', 'ledger', '{kind,amount,units,unit_value}', resource => 'subscription',
    id_column => 'subscription_id', made => 'recorded');
