"""What every route shares: problem+json, the caller's scope, cursors, idempotency, headers. No domain's rules."""
