"""What one member may do to another, as a table and as invariants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.identity.models import ROLES
from control_plane.identity.permissions import ROLE_SCOPES
from control_plane.tenants.rules import Refusal, change_role, hand_over, invite, reaches, remove

ABOVE, LAST = Refusal.ABOVE_YOURS, Refusal.LAST_OWNER
roles = st.sampled_from(ROLES)
counts = st.integers(1, 5)


@pytest.mark.parametrize(
    ("actor", "target", "role", "owners", "refusal"),
    [
        ("owner", "viewer", "owner", 1, None),
        ("owner", "owner", "admin", 2, None),
        ("owner", "owner", "admin", 1, LAST),
        ("owner", "owner", "owner", 1, None),
        ("admin", "viewer", "admin", 1, None),
        ("admin", "admin", "viewer", 1, None),
        ("admin", "viewer", "owner", 1, ABOVE),
        ("admin", "owner", "viewer", 3, ABOVE),
        ("trader", "viewer", "admin", 1, ABOVE),
        ("viewer", "viewer", "trader", 1, ABOVE),
    ],
)
def test_changes_of_role(actor: str, target: str, role: str, owners: int, refusal: Refusal | None) -> None:
    assert change_role(actor, target, role, owners=owners) == refusal


@pytest.mark.parametrize(
    ("actor", "target", "owners", "refusal"),
    [
        ("owner", "owner", 1, LAST),
        ("owner", "owner", 2, None),
        ("owner", "admin", 1, None),
        ("admin", "admin", 1, None),
        ("admin", "owner", 2, ABOVE),
        ("viewer", "viewer", 1, None),
        ("viewer", "trader", 1, ABOVE),
    ],
)
def test_removals(actor: str, target: str, owners: int, refusal: Refusal | None) -> None:
    assert remove(actor, target, owners=owners) == refusal


def test_only_an_owner_hands_over() -> None:
    assert {role for role in ROLES if hand_over(role) is None} == {"owner"}


@given(roles, roles, roles, counts)
def test_nobody_gives_what_they_have_not(actor: str, target: str, role: str, owners: int) -> None:
    if change_role(actor, target, role, owners=owners) is None:
        assert ROLE_SCOPES[role] <= ROLE_SCOPES[actor]
        assert ROLE_SCOPES[target] <= ROLE_SCOPES[actor]
    if invite(actor, role) is None:
        assert ROLE_SCOPES[role] <= ROLE_SCOPES[actor]
    if remove(actor, target, owners=owners) is None:
        assert ROLE_SCOPES[target] <= ROLE_SCOPES[actor]


@given(roles, roles, roles, counts)
def test_an_owner_remains(actor: str, target: str, role: str, owners: int) -> None:
    left = owners - (target == "owner")
    if remove(actor, target, owners=owners) is None:
        assert left or target != "owner"
    if change_role(actor, target, role, owners=owners) is None:
        assert left + (role == "owner") or target != "owner"


@given(roles, roles)
def test_ranks_are_in_one_line(one: str, other: str) -> None:
    assert reaches(one, other) or reaches(other, one)
    assert (reaches(one, other) and reaches(other, one)) == (one == other)
    assert reaches(one, other) == (ROLE_SCOPES[other] <= ROLE_SCOPES[one])
