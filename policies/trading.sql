-- Steering of bots' trading. People write what they wish, the poller what came of it.

select pg_temp.protect('bot_trading');
select pg_temp.tenant_policies('bot_trading', array['select', 'insert', 'update']);
grant select, insert (id, tenant_id, bot_id, wanted), update (wanted, asked) on bot_trading to tradewise_api;
select pg_temp.open_to('bot_trading', 'tradewise_agent_poller', array['select', 'update']);
grant select, update (attempts, tried_at, confirmed_at, problem, problem_detail) on bot_trading
    to tradewise_agent_poller;

-- Whose wish it is and since when: taken from the transaction, where nobody can name another. Which bot is meant: the
-- one that stands there now, and none that it is changed into. A new wish has no answer; what the bot was asked for the
-- one before, and was not seen to do, is remembered, because it may do it yet.
create function note_trading_wish() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.requested_by := nullif(current_setting('app.actor', true), '');
    new.requested_at := clock_timestamp();
    new.generation := (select b.generation from public.bots b where b.tenant_id = new.tenant_id and b.id = new.bot_id);
    if tg_op = 'UPDATE' then
        new.unsettled_at := case when old.confirmed_at is null then greatest(old.tried_at, old.unsettled_at) end;
    end if;
    new.attempts := 0;
    new.tried_at := null;
    new.confirmed_at := null;
    new.problem := null;
    new.problem_detail := null;
    return new;
end
$$;
create trigger note_trading_wish before insert or update of asked on bot_trading
    for each row execute function note_trading_wish();

-- A wish wakes the poller; what came of it wakes those who watch the bot.
create function notify_trading() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_desired', new.bot_id::text);
    return null;
end
$$;
create trigger notify_trading_asked after insert or update of asked on bot_trading
    for each row execute function notify_trading();
create function notify_trading_answered() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('tradewise_observed',
        json_build_object('tenant', new.tenant_id, 'kind', 'bot', 'id', new.bot_id)::text);
    return null;
end
$$;
create trigger notify_trading_answered after update of confirmed_at, problem on bot_trading for each row
    when ((old.confirmed_at, old.problem) is distinct from (new.confirmed_at, new.problem))
    execute function notify_trading_answered();
