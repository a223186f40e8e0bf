"""The dashboard: pages over the same services as the API."""
