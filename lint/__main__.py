"""`python -m lint`: check the whole repository; one line a finding, exit status 1 when there is any."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from lint import code, settings, text
from lint.source import Finding, Source, sources


def check(files: dict[str, Source]) -> Iterator[Finding]:
    """Yield all findings in a set of files, given by their paths."""
    for source in files.values():
        for rule in text.RULES:
            yield from rule(source)
        if source.suffix == ".py":
            for rule in code.RULES:
                yield from rule(source)
    if settings.SETTINGS in files and settings.DOCUMENTATION in files:
        yield from settings.undocumented(files[settings.SETTINGS], files[settings.DOCUMENTATION])
    elif settings.SETTINGS in files:
        yield files[settings.SETTINGS].finding(1, "undocumented", f"{settings.DOCUMENTATION} is missing")


def main() -> int:
    """Check the repository that this file lies in."""
    root = Path(__file__).resolve().parents[1]
    findings = list(check({source.path: source for source in sources(root)}))
    for finding in findings:
        print(finding)
    print(f"{len(findings)} breaches of the house rules" if findings else "House rules: all kept")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
