"""Who may do what: one table, read by services and shown in the documentation.

A role grants scopes ``resource:verb``. An API key carries scopes of its own and can never do more than its creator can
now: what counts is the intersection.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

SCOPES: Final = (
    "bots:read",
    "bots:write",
    "bots:redirect",
    "templates:read",
    "templates:write",
    "subscriptions:read",
    "subscriptions:write",
    "keys:read",
    "keys:write",
    "tenant:read",
    "tenant:write",
    "tenant:delete",
    "members:read",
    "members:write",
    "audit:read",
    "alerts:read",
    "alerts:write",
)

_READ: Final = frozenset(scope for scope in SCOPES if scope.endswith(":read"))

ROLE_SCOPES: Final[dict[str, frozenset[str]]] = {
    "owner": frozenset(SCOPES),
    "admin": frozenset(SCOPES) - {"tenant:delete"},
    "trader": _READ - {"audit:read"} | {"bots:write", "subscriptions:write", "templates:write"},
    "viewer": _READ - {"keys:read", "audit:read"},
}


def granted(role: str, key_scopes: Collection[str] | None) -> frozenset[str]:
    """The scopes in force for a role, narrowed by an API key's own where there is one."""
    scopes = ROLE_SCOPES.get(role, frozenset())
    return scopes if key_scopes is None else scopes & frozenset(key_scopes)
