"""The chart as a whole: it lints, every manifest is valid in every Kubernetes version, and two renders are one."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate.utils
import pytest
import yaml
from packaging.version import Version

from tests.helm import chart

ROOT = chart.PATH.parents[1]
OLDEST = Version(yaml.safe_load((chart.PATH / "Chart.yaml").read_text("utf-8"))["kubeVersion"].removeprefix(">=")[:-2])
KUBERNETES = [version for version in kubernetes_validate.utils.all_versions() if Version(version) >= OLDEST]
CUSTOM_RESOURCES = {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}
"""Kinds that clusters get from elsewhere, for which the validator carries no schema."""

# The validator reads its megabytes of schemas anew for every object.
_read_schema = functools.cache(kubernetes_validate.utils.schema_contents)


@pytest.fixture(scope="module", autouse=True)
def _schemas_read_once() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", _read_schema)
        yield


@pytest.mark.parametrize("case", chart.CASES)
def test_lints_strictly(case: str) -> None:
    done = chart.helm("lint", "--strict", chart.PATH, "--values", chart.PATH / f"ci/{case}-values.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def _fault(manifest: chart.Manifest, version: str) -> str | None:
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    try:
        kubernetes_validate.utils.validate(manifest, version, strict=True)
    except kubernetes_validate.utils.SchemaNotFoundError:
        return None if manifest["kind"] in CUSTOM_RESOURCES else f"{name}: {version} knows no such kind"
    except kubernetes_validate.utils.ValidationError as error:
        return f"{name}: {'.'.join(str(part) for part in error.path)}: {error.message}"
    return None


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("case", chart.CASES)
def test_every_manifest_is_valid(case: str, version: str) -> None:
    faults = [fault for manifest in chart.render(case) if (fault := _fault(manifest, version))]
    assert not faults


def test_the_validator_sees_unknown_fields_and_kinds() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
    assert "prots" in (_fault(service, KUBERNETES[0]) or "")
    assert "no such kind" in (_fault({**service, "kind": "Servant"}, KUBERNETES[0]) or "")


@pytest.mark.parametrize("case", chart.CASES)
def test_renders_the_same_twice(case: str) -> None:
    assert chart.template_text(case) == chart.template_text(case)


@pytest.mark.parametrize("case", chart.CASES)
def test_makes_no_secret(case: str) -> None:
    assert not chart.of_kind(chart.render(case), "Secret")


@pytest.mark.parametrize("case", chart.CASES)
def test_names_are_unique_and_short_and_in_the_namespace(case: str) -> None:
    objects = chart.render(case)
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(names) == len(set(names))
    assert max(len(name) for _, name in names) <= 63
    ours = [item for item in objects if item["kind"] != "ConfigMap"]  # the extra objects of ci/everything
    assert {item["metadata"]["namespace"] for item in ours} == {"trading"}


def test_everything_renders_every_template() -> None:
    text = chart.template_text("everything")
    templates = {path.relative_to(chart.PATH).as_posix() for path in chart.PATH.glob("templates/**/*.yaml")}
    assert {name for name in templates if f"# Source: tradewise/{name}\n" not in text} == set()


def test_version_of_the_program_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    chart_file = yaml.safe_load((chart.PATH / "Chart.yaml").read_text("utf-8"))
    assert chart_file["appVersion"] == project["version"]
    assert f"tradewise/tradewise:{project['version']}" in chart_file["annotations"]["artifacthub.io/images"]


def test_the_table_of_values_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/chart_values.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_schema_knows_every_default_and_no_more() -> None:
    """A key in values.yaml that the schema lacks would fail by itself; one that only the schema has is a leftover."""
    schema = json.loads((chart.PATH / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((chart.PATH / "values.yaml").read_text("utf-8"))
    shared = set(values["defaults"])
    assert set(schema["properties"]) - set(values) == {"enabled"}  # for the condition of an umbrella chart
    assert set(schema["properties"]["defaults"]["properties"]) == shared
    for section, known in [
        (values["api"], schema["properties"]["api"]),
        *((values["agents"][name], schema["properties"]["agents"]["properties"][name]) for name in chart.AGENTS),
    ]:
        assert set(known["properties"]) == shared | set(section)


def test_works_inside_an_umbrella_chart(tmp_path: Path) -> None:
    parent = tmp_path / "umbrella"
    shutil.copytree(chart.PATH, parent / "charts/tradewise")
    dependency = {"name": "tradewise", "version": "0.1.0", "condition": "tradewise.enabled"}
    (parent / "Chart.yaml").write_text(
        yaml.safe_dump({"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": [dependency]})
    )
    own = yaml.safe_load((chart.PATH / "ci/minimal-values.yaml").read_text("utf-8"))
    shared = {"imageRegistry": "registry.example.com", "somethingOfAnotherChart": {"a": 1}}
    (parent / "values.yaml").write_text(yaml.safe_dump({"global": shared, "tradewise": {**own, "enabled": True}}))
    done = chart.helm("template", "release-a", parent)
    assert done.returncode == 0, done.stderr
    assert 'image: "registry.example.com/tradewise/tradewise:' in done.stdout


def _notes(tmp_path: Path, case: str, *settings: str) -> str:
    """NOTES.txt as an operator sees it; `helm template` leaves it out, so a copy of the chart shows it as an object."""
    copy = tmp_path / "chart"
    shutil.copytree(chart.PATH, copy, dirs_exist_ok=True)
    text = (copy / "templates/NOTES.txt").read_text("utf-8")
    (copy / "templates/_notes.tpl").write_text('{{- define "notes" -}}\n' + text + "{{- end -}}\n")
    (copy / "templates/notes.yaml").write_text('kind: Notes\ntext: {{ include "notes" . | quote }}\n')
    sets = [argument for setting in settings for argument in ("--set-json", setting)]
    values = chart.PATH / f"ci/{case}-values.yaml"
    done = chart.helm("template", "release-a", copy, "--values", values, "--show-only", "templates/notes.yaml", *sets)
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["text"])


def test_notes_tell_the_address_and_warn(tmp_path: Path) -> None:
    notes = _notes(tmp_path, "minimal")
    assert "https://tradewise.example.com" in notes
    assert "port-forward service/release-a-tradewise 8000:80" in notes
    assert "image.digest is empty" in notes
    assert "networkPolicy.clients is empty" in notes
    assert "At most 56 connections" in notes  # five processes of ten and a listener each, and the migration
    loose = _notes(tmp_path, "minimal", 'publicUrl="http://t.example"', 'database.sslMode="prefer"')
    assert "publicUrl is not https" in loose
    assert "may be in clear" in loose
    assert "networkPolicy.enabled=false" in _notes(tmp_path, "minimal", "networkPolicy.enabled=false")


def test_notes_have_nothing_to_warn_of_in_a_sound_setup(tmp_path: Path) -> None:
    notes = _notes(tmp_path, "ha")
    assert "WARNING" not in notes
    assert "port-forward" not in notes
    assert "Second factors" not in notes


def test_notes_tell_what_is_missing_without_a_data_key(tmp_path: Path) -> None:
    notes = _notes(tmp_path, "minimal")
    assert "answers 503 (data_key_missing)" in notes
    assert "create secret generic tradewise-data-key --from-file=data.json=./data.json" in notes


def test_notes_tell_of_proxies_vault_and_the_redirect_uri(tmp_path: Path) -> None:
    assert "config.trustedProxies is empty" in _notes(tmp_path, "ha", "config.trustedProxies=[]")
    everything = _notes(tmp_path, "everything")
    assert "https://tradewise.example.com:8443/sign-in/oidc/callback" in everything
    assert "not https" not in everything
    plain = _notes(tmp_path, "everything", 'encryption.vault.address="http://vault:8200"')
    assert "encryption.vault.address is not https" in plain
    assert "networkPolicy.vault is empty" not in everything
    assert "networkPolicy.vault is empty" in _notes(tmp_path, "everything", "networkPolicy.vault=[]")
