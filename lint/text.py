"""Rules that look at lines of text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lint.source import Finding, Source

MOST_LINES = 500

_PROGRAM_SUFFIXES = frozenset({".py", ".sql", ".js", ".mjs", ".css", ".html"})
_ALSO_PROGRAMS = frozenset({".sh", ".yaml", ".yml", ".toml", ".mako", ".tpl"})

# The brackets keep these patterns from finding themselves.
_REGISTRY = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]org|npmjs[.]com|yarnpkg[.]com|deb[.]debian[.]org|security[.]debian[.]org"
    r"|(?:archive|security|ports)[.]ubuntu[.]com|registry-1[.]docker[.]io|index[.]docker[.]io|proxy[.]golang[.]org"
)
_MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:home/\w|Users/\w|root/|work/|tmp/[\w.])")
_UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b|NotImplemented[E]rror|pragma: no[ ]cover")


def too_long(source: Source) -> Iterator[Finding]:
    """A file of code that nobody can hold in mind at once."""
    if source.suffix in _PROGRAM_SUFFIXES and len(source.lines) > MOST_LINES:
        yield source.finding(
            MOST_LINES + 1, "too-long", f"{len(source.lines)} lines; split a file before it reaches {MOST_LINES}"
        )


def registry_host(source: Source) -> Iterator[Finding]:
    """Where packages come from is a setting of the machine; naming it here would break mirrors and closed networks."""
    yield from _matches(source, _REGISTRY, "registry-host", "a registry's host does not belong in the repository")


def machine_path(source: Source) -> Iterator[Finding]:
    """A path that exists on the writer's machine only."""
    yield from _matches(
        source, _MACHINE_PATH, "machine-path", "a path of one machine does not belong in the repository"
    )


def unfinished(source: Source) -> Iterator[Finding]:
    """A note that something is missing: what is missing is an issue, not a comment."""
    if source.suffix in _PROGRAM_SUFFIXES | _ALSO_PROGRAMS:
        yield from _matches(source, _UNFINISHED, "unfinished", "finish it, or write an issue")


def _matches(source: Source, pattern: re.Pattern[str], rule: str, message: str) -> Iterator[Finding]:
    for number, line in enumerate(source.lines, start=1):
        if found := pattern.search(line):
            yield source.finding(number, rule, f"{found.group().strip()!r}: {message}")


RULES = (too_long, registry_host, machine_path, unfinished)
