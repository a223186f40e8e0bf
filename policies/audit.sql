-- The audit log.

-- What a service means to do, told in the transaction that does it. Who and from where follows from the binding.
create or replace function audit_note(of_action text, of_resource text, of_resource_id uuid, of_detail jsonb)
returns void language sql as $$ select $$;
-- What a person does outside of any one tenant, told in each tenant that they are in.
create or replace function audit_person_note(of_user uuid, of_action text, of_detail jsonb)
returns void language sql as $$ select $$;
-- What an agent did or found, told in the log of the tenant whose row it is.
create or replace function audit_agent_note(of_tenant uuid, of_action text, of_resource text, of_resource_id uuid, of_detail jsonb)
returns void language sql as $$ select $$;
grant execute on function audit_agent_note(uuid, text, text, uuid, jsonb) to tradewise_agent_launcher,
    tradewise_agent_poller, tradewise_agent_scheduler, tradewise_agent_notifier;
grant execute on function audit_note(text, text, uuid, jsonb), audit_person_note(uuid, text, jsonb) to tradewise_api;
