-- How pollers share the work: by shards of bots. No tenant owns or reads any of it.

select pg_temp.protect('poll_shards');
select pg_temp.open_to('poll_shards', 'tradewise_agent_poller', array['select', 'update']);
grant select, update on poll_shards to tradewise_agent_poller;
