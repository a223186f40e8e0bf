"""Each house rule finds what it is for, and leaves alone what only looks like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lint import code, settings, text
from lint.__main__ import check
from lint.source import Finding, Source, sources

SERVICE = "control_plane/bots/service.py"
TEST = "tests/unit/test_bots.py"

# What a rule must find is put together from parts where the rule would find it in this file too.
_HOST = "registry.npm" + "js.org"
_HOME = "/ho" + "me/ada/venv"
_NOTE = "TO" + "DO"


def within(line: str) -> str:
    """Put a line into a function."""
    return f"def f() -> None:\n    {line}\n"


def found(files: dict[str, str]) -> list[Finding]:
    return list(check({path: Source(path, content) for path, content in files.items()}))


def rules(path: str, content: str) -> list[str]:
    return [finding.rule for finding in found({path: content})]


@pytest.mark.parametrize(
    ("path", "content", "rule"),
    [
        ("control_plane/x.py", "a = 1\n" * 501, "too-long"),
        ("policies/x.sql", "select 1;\n" * 501, "too-long"),
        ("frontend/x.css", "a{}\n" * 501, "too-long"),
        ("docs/x.md", f"fetch it from https://{_HOST}/x\n", "registry-host"),
        ("docs/x.md", f"run {_HOME}/bin/python\n", "machine-path"),
        (SERVICE, f"a = 1  # {_NOTE}: later\n", "unfinished"),
        (SERVICE, "raise NotImplemented" + "Error\n", "unfinished"),
        (SERVICE, "a = 1  # pragma: no" + " cover\n", "unfinished"),
        (SERVICE, "session.commit()\n", "transaction"),
        ("agents/poller/record.py", "connection.execute(\"select set_config('a', 'b', true)\")\n", "transaction"),
        (SERVICE, within('session.execute(text(f"select {name}"))'), "built-sql"),
        (SERVICE, within('connection.fetch("select %s" % name)'), "built-sql"),
        (SERVICE, within('connection.fetchrow("select " + name)'), "built-sql"),
        (SERVICE, within('connection.fetchval("select {}".format(name))'), "built-sql"),
        (SERVICE, within('connection.exec_driver_sql(", ".join(names))'), "built-sql"),
        (SERVICE, within('session.execute(text(_SELECT + f" where {name}"))'), "built-sql"),
        (TEST, "import time\ntime.sleep(1)\n", "sleeping-test"),
        (TEST, "import asyncio\nasync def f() -> None:\n    await asyncio.sleep(1)\n", "sleeping-test"),
        (TEST, "from asyncio import sleep\n", "sleeping-test"),
        (TEST, "from unittest import mock\n", "mock"),
        (TEST, "from unittest.mock import patch\n", "mock"),
        (TEST, "import unittest.mock\n", "mock"),
        (SERVICE, "def f() -> None:\n    import json\n", "inner-import"),
        (SERVICE, "def f() -> None:\n    import json  # lazy:\n", "inner-import"),
        (
            SERVICE,
            "def f() -> None:\n    import json  # lazy: slow\n    json.dumps(1)\n    import csv\n",
            "inner-import",
        ),
        (SERVICE, "def f() -> None:\n    if a:\n        pass\n    else:\n        import csv\n", "inner-import"),
        (SERVICE, "class A:\n    async def f(self) -> None:\n        from json import loads\n", "inner-import"),
    ],
)
def test_a_breach_is_found(path: str, content: str, rule: str) -> None:
    assert rules(path, content) == [rule]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("control_plane/x.py", "a = 1\n" * 500),
        ("docs/x.md", "a line\n" * 501),
        ("docs/x.md", "see https://example.org/tmp/x and `apt-get install docker.io`\n"),
        (SERVICE, "path = f'{base}/tmp/x'\n"),
        (SERVICE, "folder = mktemp('XXXXXX')\n"),
        ("control_plane/database/sessions.py", "session.commit()\n"),
        ("agents/paper_bot/store.py", "connection.commit()\n"),
        (TEST, "session.commit()\n"),
        (SERVICE, within('session.execute(text("select " "1"))')),
        (SERVICE, within('session.execute(text(f"select 1"))')),
        (SERVICE, within('session.execute(text(f"select {_COLUMNS} from bots"))')),
        (SERVICE, within('session.execute(text(_SELECT + " where id = :id"))')),
        (SERVICE, within('logger.info("%s" % name)')),
        (SERVICE, within("session.execute(statement + other)")),
        (SERVICE, '_PAGES = {sort: text(f"{_SELECT} order by {order}") for sort, order in _ORDERS.items()}\n'),
        (SERVICE, "import time\ntime.sleep(1)\n"),
        ("tests/waiting.py", "import time\ntime.sleep(1)\n"),
        ("tests/servers/slow.py", "import asyncio\nnap = asyncio.sleep\n"),
        (TEST, "import asyncio\nasync def f() -> None:\n    await asyncio.sleep(0)\n"),
        (TEST, "from unittest import TestCase\n"),
        (SERVICE, "def f() -> None:\n    import json  # lazy: costs a second where nobody needs it\n"),
        (SERVICE, "def f() -> None:\n    from json import (\n        loads,  # lazy: as above\n    )\n"),
        (SERVICE, "def f() -> None:\n    import json  # lazy: costs a second where nobody needs it\n    import csv\n"),
        (SERVICE, "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json\n"),
    ],
)
def test_what_only_looks_like_a_breach_is_left_alone(path: str, content: str) -> None:
    assert rules(path, content) == []


def test_a_finding_names_the_place_and_the_rule() -> None:
    (finding,) = found({SERVICE: "a = 1\nsession.commit()\n"})
    assert str(finding).startswith(f"{SERVICE}:2: commit() belongs in control_plane/database")
    assert str(finding).endswith("[transaction]")


_SETTINGS = """
class Other:
    elsewhere: int = 1

class Settings:
    database_url: str | None = None
    poll_interval: float = 15.0

    def method(self) -> None:
        inner: int = 1

_FOREIGN = frozenset({"engine_dir"})
"""


def test_settings_and_their_documentation_must_name_the_same_variables() -> None:
    documentation = "- `TRADEWISE_DATABASE_URL`\n- `TRADEWISE_ENGINE_DIR`\n- `TRADEWISE_GONE`\n"
    assert [(finding.path, finding.line, finding.message) for finding in found(
        {settings.SETTINGS: _SETTINGS, settings.DOCUMENTATION: documentation}
    )] == [
        (settings.SETTINGS, 7, "TRADEWISE_POLL_INTERVAL is not described in docs/configuration.md"),
        (settings.DOCUMENTATION, 3, "TRADEWISE_GONE is described, but no setting has that name"),
    ]  # fmt: skip


def test_settings_without_any_documentation_are_found() -> None:
    assert [finding.message for finding in found({settings.SETTINGS: _SETTINGS})] == [
        "docs/configuration.md is missing"
    ]


def test_only_our_own_text_is_looked_at(tmp_path: Path) -> None:
    ours = ["Makefile", ".ci/run", "agents/paper_bot/Dockerfile", "control_plane/app.py", "docs/x.md"]
    others = [
        ".venv/lib/x.py",
        "frontend/node_modules/a/index.js",
        "control_plane/dashboard/assets/dist/app.js",
        "a.png",
    ]
    for name in [*ours, *others]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff" if name == "a.png" else b"a = 1\n")
    assert sorted(source.path for source in sources(tmp_path)) == sorted(ours)


def test_every_rule_says_what_it_is_for() -> None:
    assert all(rule.__doc__ for rule in (*text.RULES, *code.RULES))
