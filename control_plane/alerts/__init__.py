"""Alerts: which of a tenant's troubles are told, to whom and when. The notifier agent judges and tells."""
