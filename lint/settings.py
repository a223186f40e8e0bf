"""The rule that settings and their documentation name the same variables."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from lint.source import Finding, Source

SETTINGS = "control_plane/settings.py"
DOCUMENTATION = "docs/configuration.md"
_PREFIX = "TRADEWISE_"
_VARIABLE = re.compile(rf"\b{_PREFIX}[A-Z0-9_]+\b")


def undocumented(settings: Source, documentation: Source) -> Iterator[Finding]:
    """Yield each setting that the documentation leaves out, and each variable it describes that does not exist."""
    known = dict(_variables(settings))
    described = {
        name: number for number, line in enumerate(documentation.lines, start=1) for name in _VARIABLE.findall(line)
    }
    for name, line in known.items():
        if name not in described:
            yield settings.finding(line, "undocumented", f"{name} is not described in {DOCUMENTATION}")
    for name, line in described.items():
        if name not in known and name not in _foreign(settings):
            yield documentation.finding(line, "undocumented", f"{name} is described, but no setting has that name")


def _variables(settings: Source) -> Iterator[tuple[str, int]]:
    """Yield the variable of each field of the class `Settings`, with the field's line."""
    for node in settings.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Settings":
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield _PREFIX + field.target.id.upper(), field.lineno


def _foreign(settings: Source) -> set[str]:
    """Return the variables with our prefix that other tools read, which settings.py lists as `_FOREIGN`."""
    for node in settings.tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_FOREIGN" for t in node.targets):
            names = (part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant))
            return {_PREFIX + str(name).upper() for name in names}
    return set()
