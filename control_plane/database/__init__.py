"""PostgreSQL: tenant-bound sessions, base classes, migrations with policies, and the embedded server."""
