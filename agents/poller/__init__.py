"""The poller: checks each bot when it is due and records what it saw. The only agent that calls tenants' addresses."""
