"""What one member may do to another: pure, tested by table.

Each rule answers why not, or None. Whether the caller may do such a thing at all is a scope (identity/permissions.py);
these rules say to whom, and what must remain true of a tenant afterwards.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from control_plane.identity.models import ROLES

#: Least first.
_RANKS: Final = {role: rank for rank, role in enumerate(reversed(ROLES))}


class Refusal(StrEnum):
    """Why not."""

    ABOVE_YOURS = "above_your_role"
    """Nobody grants a role above their own, or touches somebody who has one."""
    LAST_OWNER = "last_owner"
    """A tenant has an owner at all times."""
    NOT_AN_OWNER = "not_an_owner"
    """Only an owner hands a tenant over."""


def reaches(actor: str, role: str) -> bool:
    """Whether ``role`` is no higher than the actor's own."""
    return _RANKS[role] <= _RANKS[actor]


def invite(actor: str, role: str) -> Refusal | None:
    """May ``actor`` offer ``role``, or take such an offer back?"""
    return None if reaches(actor, role) else Refusal.ABOVE_YOURS


def change_role(actor: str, target: str, role: str, *, owners: int) -> Refusal | None:
    """May ``actor`` make a ``target`` (themself, perhaps) a ``role``? ``owners`` counts all of the tenant's."""
    if not (reaches(actor, target) and reaches(actor, role)):
        return Refusal.ABOVE_YOURS
    return Refusal.LAST_OWNER if target == "owner" and role != "owner" and owners < 2 else None


def remove(actor: str, target: str, *, owners: int) -> Refusal | None:
    """May ``actor`` end the membership of a ``target``? Leaving is removing oneself, which is always within reach."""
    if not reaches(actor, target):
        return Refusal.ABOVE_YOURS
    return Refusal.LAST_OWNER if target == "owner" and owners < 2 else None


def hand_over(actor: str) -> Refusal | None:
    """May ``actor`` make another member the owner in their own place?"""
    return None if actor == "owner" else Refusal.NOT_AN_OWNER
