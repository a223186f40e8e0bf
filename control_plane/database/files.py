"""Where policies and migrations lie: in the wheel inside this package, in a checkout at its top."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent

#: Order matters: functions.sql clears the slate and makes the helpers that the others call, restricted_keys.sql goes
#: over all that stands.
POLICY_FILES = (
    "functions.sql",
    "audit.sql",
    "audit_upkeep.sql",
    "security.sql",
    "identity.sql",
    "api_keys.sql",
    "accounts.sql",
    "factors.sql",
    "tenants.sql",
    "mail.sql",
    "templates.sql",
    "bots.sql",
    "ports.sql",
    "containment.sql",
    "live.sql",
    "subscriptions.sql",
    "performance.sql",
    "listings.sql",
    "polling.sql",
    "trading.sql",
    "alerts.sql",
    "reporting.sql",
    "restricted_keys.sql",
)


def data_folder(name: str) -> Path:
    """The folder ``policies`` or ``migrations``. Raises FileNotFoundError where the installation is broken."""
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"the folder {name!r} is missing from this installation of tradewise; install it again")


def policy_text(name: str) -> str:
    """The text of one policy file."""
    return (data_folder("policies") / name).read_text(encoding="utf-8")
