"""People, tenants, memberships, sessions and API keys."""
