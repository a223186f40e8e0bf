"""Webhooks: a tenant's own addresses that get signed messages, and the log of what became of them."""
