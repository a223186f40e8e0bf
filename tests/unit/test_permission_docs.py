"""The table of roles and scopes in the documentation says what the data says: every scope, every role, both ways."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from control_plane.identity.models import ROLES
from control_plane.identity.permissions import ROLE_SCOPES, SCOPES

DOCUMENT = Path(__file__).parents[2] / "docs" / "security-model.md"


def table() -> dict[str, set[str]]:
    """Scope to the roles that have a tick in its row."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = text.partition("## Roles and scopes")[2].partition("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["Scope", *ROLES]
    found: dict[str, set[str]] = {}
    for scopes, *ticks in rows[2:]:
        for scope in re.findall(r"`([a-z]+:[a-z]+)`", scopes):
            assert scope not in found, f"{scope} is there twice"
            found[scope] = {role for role, tick in zip(ROLES, ticks, strict=True) if tick == "✓"}
    return found


def test_the_documentation_shows_the_permission_data() -> None:
    assert table() == {scope: {role for role in ROLES if scope in ROLE_SCOPES[role]} for scope in SCOPES}


def test_a_role_holds_what_every_lower_one_does() -> None:
    for higher, lower in pairwise(ROLES):
        assert ROLE_SCOPES[lower] < ROLE_SCOPES[higher]
