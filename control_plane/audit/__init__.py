"""The audit log: written in the transaction of what it tells of, chained per tenant, append-only."""
