-- An API key that is restricted to some bots. Its transactions carry them in `app.bots`, as an array of uuids.
--
-- Applied last: each policy that lets the web tier at a table gets a RESTRICTIVE twin, which can only take away. A table
-- that tells of a bot shows the rows of those bots; of the others nothing is left but what is named here. A new table is
-- covered without anyone thinking of it. Where nothing is set nothing is taken away, and both settings are read once a
-- statement; an empty array, or one that is none, reaches no bot.

do $$
declare
    unset constant text := '(select nullif(current_setting(''app.bots'', true), '''') is null)';
    -- The cast without makes it an array to the parser, which would take it for a set of rows.
    listed constant text := '(select nullif(current_setting(''app.bots'', true), '''')::uuid[])::uuid[]';
    -- Who is calling, keys to seal with, what the caller was answered before, and which template a bot runs.
    shown_to_all constant name[] := array['users', 'tenants', 'memberships', 'agent_beats', 'tenant_keys',
        'idempotency_records', 'template_versions'];
    -- Functions that show bots' figures run as this role: the same bots count for them.
    figures constant name[] := array['performance_snapshots', 'performance_hourly', 'performance_daily'];
    item record;
    rule text;
begin
    for item in
        select c.oid::regclass as relation, c.relname,
            case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
                else 'all' end as command,
            case when c.relname in ('bots', 'bot_health') then 'id' else (
                select a.attname from pg_attribute a
                where a.attrelid = c.oid and a.attname = 'bot_id' and not a.attisdropped
            ) end as bot
        from pg_policy p join pg_class c on c.oid = p.polrelid
        where c.relnamespace = 'public'::regnamespace and p.polpermissive
            and 'tradewise_api'::regrole::oid = any (p.polroles) and c.relname <> all (shown_to_all)
        group by c.oid, c.relname, p.polcmd
    loop
        rule := unset || case when item.bot is null then '' else format(' or %I = any (%s)', item.bot, listed) end;
        -- Partitions keep their policies when the slate is cleared.
        execute format('drop policy if exists restricted_%s on %s', item.command, item.relation);
        execute format('create policy restricted_%s on %s as restrictive for %s to tradewise_api%s %s %s',
            item.command, item.relation, item.command,
            case when item.relname = any (figures) then ', tradewise_market' else '' end,
            case when item.command <> 'insert' then format('using (%s)', rule) else '' end,
            case when item.command not in ('select', 'delete') then format('with check (%s)', rule) else '' end);
    end loop;
end
$$;
