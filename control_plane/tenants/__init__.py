"""Tenants as a whole: who is in one and as what, who is invited, and how one is suspended, handed over and ended."""
