"""The audit log in words: who did it, to which thing, and what was different afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from control_plane.audit.schemas import ActorView, EventView
from control_plane.dashboard.formatting import UNKNOWN
from control_plane.dashboard.reasons import readable
from control_plane.tenants.schemas import MemberView

ACTORS: Final = (
    ("user", "People"),
    ("key", "API keys"),
    ("agent", "TradeWise itself"),
    ("role", "Nobody signed in, or by hand in the database"),
)
#: All actions of one subject: `bot.*` as the log is asked for them.
ACTIONS: Final = tuple(
    (f"{subject}.*", label)
    for subject, label in (
        ("bot", "Bots"),
        ("template", "Templates"),
        ("listing", "Marketplace"),
        ("subscription", "Subscriptions"),
        ("ledger", "Allocations"),
        ("key", "API keys"),
        ("member", "Members"),
        ("tenant", "The tenant"),
        ("session", "Sessions"),
        ("sign_in", "Sign-ins that failed"),
        ("password", "Passwords"),
        ("totp", "Authenticators"),
    )
)
RESOURCES: Final = tuple(
    (name, readable(name)) for name in ("bot", "template", "listing", "subscription", "key", "member", "user", "tenant")
)
_WEB_TIER: Final = "tradewise_api"
_TONES: Final = {"success": "good", "failure": "bad", "denied": "warn"}
_OUTCOMES: Final = {"success": "Done", "failure": "Failed", "denied": "Refused"}


@dataclass(frozen=True, slots=True)
class Names:
    """What ids of a tenant's log are called, as far as it is known now."""

    you: UUID
    members: Mapping[UUID, MemberView]
    keys: Mapping[UUID, str]
    bots: Mapping[UUID, str]

    def person(self, user_id: UUID | None) -> str:
        """A member by name; those who are none any more have nothing but their id."""
        found = self.members.get(user_id) if user_id else None
        if found is None:
            return f"Somebody who is no member ({_short(user_id)})" if user_id else "Nobody known"
        return found.full_name or found.email or f"Member {_short(found.user_id)}"

    def actor(self, actor: ActorView) -> str:
        """Who did it."""
        if actor.kind == "user":
            return self.person(actor.user_id)
        if actor.kind == "key":
            name = next((name for key, name in self.keys.items() if str(key) == actor.id), None)
            return f"API key “{name}”" if name else f"API key {actor.id[:8]}…"
        if actor.kind == "agent":
            return f"TradeWise ({actor.id})"
        # The web tier with nobody bound: somebody who signs up, or fails to sign in.
        return "Nobody signed in" if actor.id == _WEB_TIER else f"Database role {actor.id}"

    def thing(self, resource: str, resource_id: UUID) -> str | None:
        """What a thing is called now; None where that is not known."""
        if resource in {"user", "member"}:
            return self.person(resource_id)
        return {"bot": self.bots, "key": self.keys}.get(resource, {}).get(resource_id)


def entry(event: EventView, names: Names) -> dict[str, Any]:
    """One event as the page shows it."""
    actor, resource = event.actor, event.resource
    kind = f"{actor.kind}:{actor.id}"
    on_behalf = names.person(actor.user_id) if actor.kind == "key" and actor.user_id else None
    return {
        "event": event,
        "label": readable(event.action.replace(".", " ")),
        "outcome": _OUTCOMES.get(event.outcome, readable(event.outcome)),
        "tone": _TONES.get(event.outcome, "idle"),
        "actor": names.actor(actor),
        "actor_filter": kind,
        "on_behalf": on_behalf,
        "thing": _thing(event, names) if resource else None,
        "thing_filter": f"{resource}:{event.resource_id}" if resource and event.resource_id else resource,
        "changes": [_change(name, change) for name, change in sorted(event.changes.items())],
        "detail": [(readable(name), _told(value)) for name, value in sorted(event.detail.items())],
    }


def _thing(event: EventView, names: Names) -> str:
    """The kind of a thing and its name: the one it has now, or the one that the event itself tells."""
    kind = readable(event.resource or "")
    if event.resource_id is None:
        return kind
    name = names.thing(event.resource or "", event.resource_id)
    told = event.changes.get("name")
    if name is None and isinstance(told, dict):
        name = told.get("after") or told.get("before")
    return f"{kind} “{name}”" if name else f"{kind} {_short(event.resource_id)}"


def _change(name: str, change: Any) -> tuple[str, str | None, str | None]:
    """A field, before and after; of a secret neither, only that it changed."""
    if not isinstance(change, dict):
        return readable(name), None, None
    return readable(name), _told(change.get("before")), _told(change.get("after"))


def _told(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(identity: UUID) -> str:
    """Enough of an id to tell it from its neighbours: its end, for the beginnings of ids of one day are alike."""
    return f"…{str(identity)[-8:]}"
