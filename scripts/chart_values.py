"""Write the table of values in `helm/tradewise/README.md` from the comments in `values.yaml`; `--check` only compares.

A comment that starts with `# --` directly above a key describes it and makes it a row. A described map is one row with
everything below it, unless keys below it are described too.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_CHART = Path(__file__).resolve().parents[1] / "helm/tradewise"
_BEGIN = "<!-- values: written by `python scripts/chart_values.py` -->"
_END = "<!-- /values -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z0-9_]+):")
_DESCRIPTION = re.compile(r"^ *# -- (?P<text>.+)$")


class ChartValuesError(Exception):
    """`values.yaml` and `README.md` cannot be brought together. Code `chart_values`."""

    code = "chart_values"


def descriptions(text: str) -> dict[str, str]:
    """Map the dotted path of each described key of `values.yaml` to its description, in the order of the file."""
    found: dict[str, str] = {}
    path: list[str] = []
    pending: str | None = None
    for line in text.splitlines():
        if described := _DESCRIPTION.match(line):
            pending = described["text"]
        elif key := _KEY.match(line):
            path = [*path[: len(key["indent"]) // 2], key["key"]]
            if pending is not None:
                found[".".join(path)] = pending
            pending = None
    return found


def undescribed(values: dict[str, Any], described: dict[str, str], prefix: str = "") -> Iterator[str]:
    """Yield the path of every leaf that neither has a description nor lies below a key that has one."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        below = any(other.startswith(f"{path}.") for other in described)
        if path in described and not below:
            continue
        if isinstance(value, dict) and value:
            yield from undescribed(value, described, f"{path}.")
        elif path not in described:
            yield path


def table(text: str) -> str:
    """Return the Markdown table of all described keys with their defaults.

    Raises ChartValuesError when a key has no description, so that a new value cannot go undocumented.
    """
    values = yaml.safe_load(text)
    described = descriptions(text)
    if missing := list(undescribed(values, described)):
        raise ChartValuesError(f"values.yaml: describe with a comment that starts with `# --`: {', '.join(missing)}")
    rows = ["| Key | Default | What it does |", "|---|---|---|"]
    for path, description in described.items():
        below = any(other.startswith(f"{path}.") for other in described)
        default = "" if below else f"`{json.dumps(_lookup(values, path))}`"
        rows.append(f"| `{path}` | {default} | {description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def readme_with(readme: str, new_table: str) -> str:
    """Return `readme` with `new_table` between the two marks; raises ChartValuesError where they are missing."""
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ChartValuesError(f"README.md: the marks {_BEGIN} and {_END} are missing")
    return f"{before}{_BEGIN}\n{new_table}\n{_END}{after}"


def _lookup(values: dict[str, Any], path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found[key]
    return found


def main() -> int:
    """Rewrite the README, or with `--check` exit 1 when it is behind."""
    readme = _CHART / "README.md"
    old = readme.read_text("utf-8")
    try:
        new = readme_with(old, table((_CHART / "values.yaml").read_text("utf-8")))
    except ChartValuesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if "--check" in sys.argv[1:]:
        if new == old:
            return 0
        print("error: helm/tradewise/README.md is behind values.yaml: run scripts/chart_values.py", file=sys.stderr)
        return 1
    readme.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
