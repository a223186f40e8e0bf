"""The migration: three modes, none of which can deadlock an install or clash with an immutable Job."""

from __future__ import annotations

import pytest

from tests.helm import chart


def _job(*settings: str, case: str = "minimal") -> chart.Manifest:
    (job,) = chart.of_kind(chart.render(case, *settings), "Job").values()
    return job


def _name(*settings: str) -> str:
    return str(_job(*settings)["metadata"]["name"])


@pytest.mark.parametrize("mode", ["job", "hook"])
def test_needs_nothing_that_the_chart_makes(mode: str) -> None:
    pod = _job(f'migrations.mode="{mode}"')["spec"]["template"]["spec"]
    assert "serviceAccountName" not in pod
    (container,) = pod["containers"]
    assert container["args"] == ["db", "migrate"]
    reference = chart.environment(container)["TRADEWISE_MIGRATION_DATABASE_URL"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "tradewise-db-migration", "key": "uri"}


def test_is_an_ordinary_job_by_default_and_never_vanishes_by_itself() -> None:
    job = _job()
    assert "annotations" not in job["metadata"]
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert job["spec"]["backoffLimit"] == 3
    assert job["spec"]["activeDeadlineSeconds"] == 1800
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    "setting",
    [
        'image.tag="9.9.9"',
        'database.migration.existingSecret="another"',
        'database.sslMode="prefer"',
        'migrations.rerun="again"',
        'migrations.resources.limits.memory="1Gi"',
        'defaults.podLabels={"team":"platform"}',
    ],
)
def test_another_template_is_another_job(setting: str) -> None:
    assert _name(setting) != _name()


@pytest.mark.parametrize("setting", ["api.replicas=5", 'migrations.annotations={"a":"b"}', "ingress.enabled=true"])
def test_what_does_not_concern_it_leaves_it_alone(setting: str) -> None:
    assert _name(setting) == _name()


def test_hook_mode_runs_before_the_pods_and_keeps_the_log_of_a_failure() -> None:
    job = _job(case="ha")
    assert job["metadata"]["name"] == "release-a-tradewise-migrate"
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-weight": "0",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }


def test_none_leaves_it_to_the_operator_while_pods_still_wait() -> None:
    objects = chart.render("minimal", 'migrations.mode="none"', 'database.migration.existingSecret=""')
    assert not chart.of_kind(objects, "Job")
    for deployment in chart.of_kind(objects, "Deployment").values():
        assert deployment["spec"]["template"]["spec"]["initContainers"][0]["name"] == "wait-for-schema"


@pytest.mark.parametrize("case", chart.CASES)
def test_no_hook_runs_after_the_pods(case: str) -> None:
    hooks = {item["metadata"].get("annotations", {}).get("helm.sh/hook", "") for item in chart.render(case)}
    assert hooks <= {"", "test", "pre-install,pre-upgrade"}
