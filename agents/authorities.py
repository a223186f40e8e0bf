"""Whom our HTTPS clients trust: the public authorities and nobody from the environment."""

import ssl
from functools import cache

import httpx


@cache
def public_authorities() -> ssl.SSLContext:
    """Read once a process: to read some hundred certificates takes longer than most calls."""
    return httpx.create_ssl_context(trust_env=False)
