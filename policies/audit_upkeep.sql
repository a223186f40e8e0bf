-- The audit log: what keeps it as it was told, checkpoints, verification, partitions and retention.

-- What is told stays told. Not even the owner holds the privileges, and the triggers stop who holds every privilege.
revoke update, delete, truncate on audit_events, audit_checkpoints, audit_anchors from tradewise_owner;

create function audit_refuse() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception '% is append-only: % is refused', tg_relid::regclass, lower(tg_op) using errcode = '42501';
end
$$;
do $$
declare
    relation text;
begin
    foreach relation in array array['audit_events', 'audit_checkpoints', 'audit_anchors'] loop
        execute format('create trigger audit_refuse_rows before update or delete on %I
            for each row execute function audit_refuse()', relation);
        execute format('create trigger audit_refuse_truncate before truncate on %I execute function audit_refuse()',
            relation);
    end loop;
end
$$;
revoke all on function audit_refuse() from public;

-- Heads are signed by the scheduler; who verifies reads public halves and signatures.
select pg_temp.tenant_policies('audit_checkpoints', array['select']);
select pg_temp.tenant_policies('audit_anchors', array['select']);
grant select on audit_checkpoints, audit_anchors to tradewise_api;
create policy api_select on audit_keys for select to tradewise_api
    using ((select exists (
        select from tenants t where t.id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)
    )));
grant select (version, suite, public_key, created_at) on audit_keys to tradewise_api;

select pg_temp.open_to('audit_chains', 'tradewise_agent_scheduler', array['select']);
select pg_temp.open_to('audit_keys', 'tradewise_agent_scheduler', array['select', 'insert', 'update']);
select pg_temp.open_to('audit_checkpoints', 'tradewise_agent_scheduler', array['select', 'insert']);
select pg_temp.open_to('audit_anchors', 'tradewise_agent_scheduler', array['select', 'insert']);
grant select on audit_chains to tradewise_agent_scheduler;
grant select, insert, update (wrapped_private_key, kek_id) on audit_keys to tradewise_agent_scheduler;
grant select, insert on audit_checkpoints, audit_anchors to tradewise_agent_scheduler;

-- One chain walked as a set. Nothing in `fault` where every event is what was told, follows the one before it, and ends
-- where the head and the signed heads say; else the first place where that does not hold. Signatures are checked by the
-- caller, who has the public keys.
create function audit_walk(of_tenant uuid) returns table (
    events bigint, first_seq bigint, last_seq bigint, head_hash bytea, fault_seq bigint, fault text
) language sql stable set search_path = public, pg_temp as $$
    with begun as (
        -- What was dropped ended where a signed anchor says; a chain that was not is linked to nothing.
        select a.seq, a.hash from audit_anchors a where a.tenant_id = of_tenant and a.seq < coalesce(
            (select e.seq from audit_events e where e.tenant_id = of_tenant order by e.seq limit 1), 9223372036854775807)
        order by a.seq desc limit 1
    ), start as (
        select coalesce(max(seq), 0) as seq, coalesce(max(encode(hash, 'hex')), repeat('00', 32)) as hash from begun
    ), walked as materialized (
        select e.seq, e.hash, e.prev_hash, audit_hash(e) as computed,
            coalesce(lag(e.seq) over w, s.seq) as after_seq,
            coalesce(lag(e.hash) over w, decode(s.hash, 'hex')) as after_hash,
            coalesce(e.at < lag(e.at) over w, false) as back
        from audit_events e cross join start s where e.tenant_id = of_tenant
        window w as (order by e.seq, e.at, e.id)
    ), ends as (
        select count(*) as events, min(w.seq) as first_seq, coalesce(max(w.seq), (select seq from start)) as last_seq
        from walked w
    ), head as (
        select c.seq, c.hash from audit_chains c where c.tenant_id = of_tenant
    ), signed as (
        select k.seq, k.hash from audit_checkpoints k where k.tenant_id = of_tenant and k.seq >= (select seq from start)
    ), kept as (
        select w.seq, w.hash from walked w union all select s.seq, decode(s.hash, 'hex') from start s
    ), faults as (
        select w.after_seq + 1 as seq, 1 as rank, 'missing' as fault from walked w where w.seq > w.after_seq + 1
        union all
        select w.seq, 2, 'out_of_order' from walked w
        where w.seq <= w.after_seq or w.back or (w.seq = w.after_seq + 1 and w.prev_hash is distinct from w.after_hash)
        union all
        select w.seq, 3, 'altered' from walked w where w.hash is distinct from w.computed
        union all
        select e.last_seq + 1, 4, 'missing' from ends e
        where e.last_seq = 0 and not exists (select from head)
            and exists (select from tenants t where t.id = of_tenant)
        union all
        select e.last_seq + 1, 5, 'truncated' from ends e
        where e.last_seq < greatest((select seq from head), (select max(seq) from signed))
        union all
        select least(e.last_seq, h.seq + 1), 6, 'head_differs' from ends e left join head h on true
        where e.last_seq > 0 and (h.seq is null or h.seq < e.last_seq)
        union all
        select h.seq, 6, 'head_differs' from head h join kept k on k.seq = h.seq and k.hash is distinct from h.hash
        union all
        select k.seq, 7, 'checkpoint_differs' from signed k join kept w on w.seq = k.seq and w.hash is distinct from k.hash
    )
    select e.events, e.first_seq, e.last_seq, (select hash from head), f.seq, f.fault
    from ends e left join lateral (select x.seq, x.fault from faults x order by x.seq, x.rank limit 1) f on true
$$;

-- The bound tenant's own chain.
create function audit_verify() returns table (
    events bigint, first_seq bigint, last_seq bigint, head_hash bytea, fault_seq bigint, fault text
) language sql stable security definer set search_path = public, pg_temp as $$
    select w.* from (select nullif(current_setting('app.tenant_id', true), '')::uuid as id) t
    cross join lateral audit_walk(t.id) w where t.id is not null
$$;

-- Any chain, for the operator; null is the platform's.
create function audit_verify_chain(of_tenant uuid) returns table (
    events bigint, first_seq bigint, last_seq bigint, head_hash bytea, fault_seq bigint, fault text
) language sql stable security definer set search_path = public, pg_temp as $$
    select w.* from installation i cross join lateral audit_walk(coalesce(of_tenant, i.id)) w
$$;

-- Every chain that there is, or that anything says there was.
create function audit_chain_ids() returns setof uuid
language sql stable security definer set search_path = public, pg_temp as $$
    select i.id from installation i union select t.id from tenants t union select c.tenant_id from audit_chains c
    union select k.tenant_id from audit_checkpoints k union select a.tenant_id from audit_anchors a
    union select e.tenant_id from audit_events e
    order by 1
$$;

-- Heads that have moved on since they were last signed.
create function audit_unsigned(most integer) returns table (tenant_id uuid, seq bigint, hash bytea, at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select c.tenant_id, c.seq, c.hash, clock_timestamp()
    from audit_chains c
    left join lateral (
        select k.seq from audit_checkpoints k where k.tenant_id = c.tenant_id order by k.seq desc limit 1
    ) k on true
    where c.seq > coalesce(k.seq, 0) order by c.tenant_id limit most
$$;

-- The last event of each chain before a time, where no anchor says so yet.
create function audit_unanchored(before timestamptz)
returns table (tenant_id uuid, seq bigint, hash bytea, at timestamptz)
language sql stable security definer set search_path = public, pg_temp as $$
    select x.tenant_id, x.seq, x.hash, clock_timestamp() from (
        select distinct on (e.tenant_id) e.tenant_id, e.seq, e.hash from audit_events e where e.at < before
        order by e.tenant_id, e.seq desc
    ) x
    where not exists (
        select from audit_anchors a where a.tenant_id = x.tenant_id and a.seq = x.seq and a.hash = x.hash
    )
$$;

-- Tenants from before there was a log get a chain that says so; a tenant without one has lost it.
create function audit_begin() returns void language sql security definer set search_path = public, pg_temp as $$
    select audit_agent_note(t.id, 'audit.begun', 'audit', null, null) from audit_chain_ids() as t (id)
    where not exists (select from audit_chains c where c.tenant_id = t.id)
$$;

select pg_temp.hand_to('tradewise_audit', array['audit_walk(uuid)', 'audit_begin()'], '{}');
select pg_temp.hand_to('tradewise_audit', array['audit_verify()']);
select pg_temp.hand_to('tradewise_audit', array['audit_verify_chain(uuid)', 'audit_chain_ids()',
    'audit_unsigned(integer)', 'audit_unanchored(timestamptz)'], array['tradewise_agent_scheduler', 'tradewise_owner']);

revoke create on schema public from tradewise_audit;

-- Partitions are made ahead by the scheduler. Each is protected like its parent and open to nobody directly. A trigger
-- against TRUNCATE is not inherited, so each gets its own, those made before the last migration as well.
create function ensure_audit_partitions(months_ahead integer) returns integer
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    parent text;
    month date;
    partition text;
    made integer := 0;
begin
    foreach parent in array array['audit_events', 'audit_checkpoints'] loop
        month := date_trunc('month', now() at time zone 'utc');
        while month <= date_trunc('month', now() at time zone 'utc') + make_interval(months => months_ahead) loop
            partition := parent || '_' || to_char(month, 'YYYY_MM');
            if to_regclass('public.' || partition) is null then
                execute format('create table %I partition of %I for values from (%L) to (%L)', partition, parent,
                    to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
                    to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
                execute format('alter table %I enable row level security', partition);
                execute format('alter table %I force row level security', partition);
                execute format('create policy api_select on %I for select to tradewise_api
                    using (tenant_id = (select nullif(current_setting(''app.tenant_id'', true), '''')::uuid))', partition);
                execute format('revoke update, delete, truncate on %I from tradewise_owner', partition);
                made := made + 1;
            end if;
            month := month + interval '1 month';
        end loop;
        for partition in
            select c.relname from pg_inherits h join pg_class c on c.oid = h.inhrelid
            where h.inhparent = parent::regclass and not exists (
                select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'audit_refuse_truncate')
        loop
            execute format('create trigger audit_refuse_truncate before truncate on %I execute function audit_refuse()',
                partition);
        end loop;
    end loop;
    return made;
end
$$;

-- Where the months end that are no longer kept: null where none is there.
create function audit_cutoff(keep_months integer) returns timestamptz
language sql stable security definer set search_path = public, pg_temp as $$
    select cutoff from (
        select date_trunc('month', now(), 'UTC') - make_interval(months => greatest(keep_months, 1)) as cutoff
    ) c where exists (
        select from pg_inherits h join pg_class p on p.oid = h.inhrelid
        where h.inhparent in ('audit_events'::regclass, 'audit_checkpoints'::regclass)
            and right(p.relname, 7) < to_char(cutoff at time zone 'utc', 'YYYY_MM')
    )
$$;

-- Drops whole months, once every chain in them has its signed anchor, and tells of it. It waits for nobody: where a
-- writer holds the table, it gives up well before the server would look for a deadlock, and the next pass tries again.
create function audit_retire(keep_months integer) returns integer
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '300ms' as $$
declare
    cutoff constant timestamptz := audit_cutoff(keep_months);
    partition text;
    dropped constant text[] := array(
        select p.relname::text from pg_inherits h join pg_class p on p.oid = h.inhrelid
        where h.inhparent in ('audit_events'::regclass, 'audit_checkpoints'::regclass)
            and right(p.relname, 7) < to_char(cutoff at time zone 'utc', 'YYYY_MM')
        order by p.relname
    );
begin
    if cutoff is null then
        return 0;
    end if;
    if exists (select from audit_unanchored(cutoff)) then
        raise exception 'a chain has no anchor at the end of what is to be dropped' using errcode = '55000';
    end if;
    -- Linked before the table is locked: who holds it must not wait for a head whose holder waits for the table.
    perform audit_agent_note(null, 'audit.retired', 'audit', null,
        jsonb_build_object('before', cutoff at time zone 'utc', 'partitions', to_jsonb(dropped)));
    set constraints all immediate;
    set constraints all deferred;
    foreach partition in array dropped loop
        execute format('drop table %I', partition);
    end loop;
    return cardinality(dropped);
end
$$;
revoke all on function ensure_audit_partitions(integer), audit_cutoff(integer), audit_retire(integer) from public;
grant execute on function ensure_audit_partitions(integer), audit_cutoff(integer), audit_retire(integer)
    to tradewise_agent_scheduler;

select ensure_audit_partitions(6);

-- Linked here and now: what comes after may not alter tables that have events to come.
select audit_begin();
set constraints all immediate;
set constraints all deferred;
