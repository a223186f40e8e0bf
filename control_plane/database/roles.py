"""The database roles. ``policies/roles.sql`` makes them; nothing else in the program invents a role name."""

from __future__ import annotations

from typing import Final

OWNER: Final = "tradewise_owner"
API: Final = "tradewise_api"
REPORTING: Final = "tradewise_reporting"
BACKUP: Final = "tradewise_backup"
AGENT_KINDS: Final = ("launcher", "poller", "scheduler", "notifier")

#: What ``tradewise db url --role`` accepts, and the login role behind each.
LOGIN_ROLES: Final[dict[str, str]] = {
    "owner": OWNER,
    "api": API,
    **{f"agent_{kind}": f"tradewise_agent_{kind}" for kind in AGENT_KINDS},
    "reporting": REPORTING,
    "backup": BACKUP,
}
