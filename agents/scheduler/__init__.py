"""The scheduler: keys for new tenants, partitions ahead of time, and the clearing of what has expired."""
