"""Rules for every template of the dashboard: it compiles, and a strict content security policy suits it."""

import re
from pathlib import Path

import pytest

from control_plane.dashboard.assets import AssetManifest
from control_plane.dashboard.templating import TEMPLATES, create_environment

NAMES = sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html"))
ASSETS = AssetManifest(
    directory=Path(),
    files={name: name for name in ("app.js", "app.css", "chart.js", "chart.css", "docs.js", "docs.css", "logo.svg")},
)

FORBIDDEN = {
    "a style attribute": re.compile(r"<[^>]*\sstyle="),
    "a style element": re.compile(r"<style\b"),
    "an inline script": re.compile(r"<script\b(?![^>]*\bsrc=)"),
    "an event handler": re.compile(r"<[^>]*\son[a-z]+="),
    "a script address": re.compile(r"javascript:", re.IGNORECASE),
    "htmx that evaluates": re.compile(r"\bhx-(?:on|vals|vars|headers)\b"),
    "another origin": re.compile(r"(?:src|href|action)=\"(?:https?:)?//"),
    "an unescaped value": re.compile(r"\|\s*safe\b"),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_template_compiles(name: str) -> None:
    assert create_environment(ASSETS).get_template(name).name == name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_that_the_content_security_policy_would_stop(name: str, what: str) -> None:
    assert not FORBIDDEN[what].search((TEMPLATES / name).read_text())


@pytest.mark.parametrize("name", NAMES)
def test_every_posting_form_carries_the_csrf_token(name: str) -> None:
    text = (TEMPLATES / name).read_text()
    for form in re.findall(r"<form\b[^>]*method=\"post\".*?</form>", text, re.DOTALL):
        assert "csrf()" in form


def test_what_people_typed_is_escaped() -> None:
    page = (
        create_environment(ASSETS)
        .get_template("error.html")
        .render(
            viewer=None,
            csrf_token="t",
            current_path="/",
            flash=[],
            status=404,
            title="<b>",
            detail='"><script>alert(1)</script>',
            code="not_found",
        )
    )
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
