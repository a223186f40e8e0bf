"""The one way out: every call to an address that a tenant gave, and to the bots that we host, goes through here."""

from agents.egress.client import GuardedClient, Limits
from agents.egress.dial import Resolver, SystemResolver
from agents.egress.errors import EgressCode, EgressError, MeansExhausted
from agents.egress.payload import Response
from agents.egress.request import Authorization

__all__ = [
    "Authorization",
    "EgressCode",
    "EgressError",
    "GuardedClient",
    "Limits",
    "MeansExhausted",
    "Resolver",
    "Response",
    "SystemResolver",
]
