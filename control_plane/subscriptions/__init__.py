"""Subscriptions: capital allocated to a template, and the ledger that keeps deposits apart from profit."""
