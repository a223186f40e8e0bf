"""What runs: hardened everywhere, each part with its own secrets only, and able to roll without an outage."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.settings import load_settings
from tests.helm import chart

_OF_SECRETS = {
    "TRADEWISE_SMTP_URL": "smtp://user:secret@relay.example:587",
    "TRADEWISE_OIDC_CLIENT_SECRET": "secret",
    "TRADEWISE_TELEGRAM_LOGIN_KEY": "ab" * 32,
}
SELECTOR = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}


def _all_pods() -> list[Any]:
    return [
        pytest.param(pod, id=f"{case}-{name}") for case in chart.CASES for name, pod in chart.pods(chart.render(case))
    ]


def _deployments(case: str, *settings: str) -> dict[str, chart.Manifest]:
    return chart.by_component(chart.render(case, *settings), "Deployment")


def _main(deployment: chart.Manifest) -> chart.Manifest:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


@pytest.mark.parametrize("pod", _all_pods())
def test_meets_the_restricted_profile(pod: chart.Manifest) -> None:
    spec = pod["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in chart.containers(pod):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not own.get("privileged")
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("pod", _all_pods())
def test_has_no_token_no_service_links_and_a_bounded_tmp(pod: chart.Manifest) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert next(volume for volume in spec["volumes"] if volume["name"] == "tmp")["emptyDir"]["sizeLimit"]
    for container in spec["containers"]:
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize("pod", _all_pods())
def test_mounts_only_what_it_declares(pod: chart.Manifest) -> None:
    declared = {volume["name"] for volume in pod["spec"]["volumes"]}
    mounted = {mount["name"] for container in chart.containers(pod) for mount in container.get("volumeMounts", [])}
    assert mounted == declared


@pytest.mark.parametrize("case", chart.CASES)
def test_selectors_hold_nothing_that_a_version_changes(case: str) -> None:
    for deployment in _deployments(case).values():
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert set(selector) == SELECTOR
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    budgets = chart.of_kind(chart.render(case), "PodDisruptionBudget").values()
    services = chart.of_kind(chart.render(case), "Service").values()
    assert all(set(budget["spec"]["selector"]["matchLabels"]) == SELECTOR for budget in budgets)
    assert all(set(service["spec"]["selector"]) == SELECTOR for service in services)


def test_pod_labels_of_the_operator_cannot_break_a_selector() -> None:
    label = 'defaults.podLabels={"app.kubernetes.io/component":"mine","team":"platform"}'
    labels = _deployments("minimal", label)["api"]["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "api"
    assert labels["team"] == "platform"


@pytest.mark.parametrize("case", chart.CASES)
def test_every_part_logs_in_as_itself(case: str) -> None:
    logins: dict[str, tuple[str, str]] = {}
    for name, pod in chart.pods(chart.render(case)):
        for container in chart.containers(pod):
            for variable, entry in chart.environment(container).items():
                if variable.endswith("DATABASE_URL"):
                    reference = entry["valueFrom"]["secretKeyRef"]
                    login = (reference["name"], reference["key"])
                    assert logins.setdefault(name, login) == login
    assert set(logins) == {"api", "migrate", *chart.AGENTS}
    assert len(set(logins.values())) == len(logins)


@pytest.mark.parametrize("case", chart.CASES)
def test_the_program_accepts_what_the_chart_sets(case: str) -> None:
    """An unknown or malformed TRADEWISE_ variable stops the program, so the chart must speak its language exactly."""
    for _, pod in chart.pods(chart.render(case)):
        for container in chart.containers(pod):
            env = {
                name: entry.get("value", _OF_SECRETS.get(name, "postgresql://role:secret@db.example:5432/tradewise"))
                for name, entry in chart.environment(container).items()
            }
            load_settings(env)


def test_plain_http_is_told_to_the_program() -> None:
    env = chart.environment(_main(_deployments("minimal", 'publicUrl="http://tradewise.example"')["api"]))
    assert env["TRADEWISE_SECURE_COOKIES"]["value"] == "false"
    assert load_settings({name: entry.get("value", "") for name, entry in env.items()}).secure_cookies is False


def test_commands() -> None:
    deployments = _deployments("minimal")
    assert _main(deployments["api"])["args"] == ["api", "--host", "0.0.0.0", "--port", "8000"]
    for name in chart.AGENTS:
        assert _main(deployments[name])["args"] == ["agent", name]
    for deployment in deployments.values():
        waiting = deployment["spec"]["template"]["spec"]["initContainers"][0]
        assert (waiting["command"], waiting["args"]) == (["tradewise"], ["db", "check", "--wait", "300"])


@pytest.mark.parametrize("case", chart.CASES)
def test_probes(case: str) -> None:
    for name, deployment in _deployments(case).items():
        main = _main(deployment)
        ports = {port["name"]: port["containerPort"] for port in main["ports"]}
        assert ports == ({"http": 8000, "metrics": 9000} if name == "api" else {"metrics": 9000})
        paths = {probe: main[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
        assert paths == {
            "startupProbe": "/health/live",
            "readinessProbe": "/health/ready",
            "livenessProbe": "/health/live",
        }
        get = main["readinessProbe"]["httpGet"]
        assert get["port"] == ("http" if name == "api" else "metrics")
        if name == "api":
            allowed = chart.environment(main)["TRADEWISE_ALLOWED_HOSTS"]["value"].split(",")
            assert get["httpHeaders"][0]["value"] in allowed


@pytest.mark.parametrize("case", chart.CASES)
def test_autoscaling_owns_the_number_of_copies(case: str) -> None:
    scaled = {
        item["spec"]["scaleTargetRef"]["name"]
        for item in chart.of_kind(chart.render(case), "HorizontalPodAutoscaler").values()
    }
    assert bool(scaled) is (case != "minimal")
    for deployment in _deployments(case).values():
        assert ("replicas" in deployment["spec"]) is (deployment["metadata"]["name"] not in scaled)


@pytest.mark.parametrize(
    ("case", "guarded"),
    [("minimal", set()), ("ha", {"api", "launcher", "poller"}), ("everything", {"api", "scheduler"})],
)
def test_disruption_budgets_only_over_several_copies(case: str, guarded: set[str]) -> None:
    budgets = chart.by_component(chart.render(case), "PodDisruptionBudget")
    assert set(budgets) == guarded
    for budget in budgets.values():
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert "minAvailable" not in budget["spec"]


def test_rolls_without_an_outage() -> None:
    api = _deployments("minimal")["api"]["spec"]
    assert api["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert _main({"spec": api})["lifecycle"]["preStop"]["sleep"]["seconds"] == 5
    assert api["template"]["spec"]["terminationGracePeriodSeconds"] > 5
    assert {item["topologyKey"] for item in api["template"]["spec"]["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }


def test_a_component_overrides_the_defaults_down_to_zero_and_false() -> None:
    settings = ("defaults.replicas=3", "agents.poller.replicas=0", "agents.poller.topologySpread=false")
    poller = _deployments("minimal", *settings)["poller"]["spec"]
    assert poller["replicas"] == 0
    assert "topologySpreadConstraints" not in poller["template"]["spec"]
    assert _deployments("minimal", *settings)["scheduler"]["spec"]["replicas"] == 3


def test_an_agent_that_is_off_leaves_nothing_behind() -> None:
    objects = chart.render("minimal", 'agents.launcher={"enabled":false}')
    assert "launcher" not in {chart.component(item) for item in objects}
    assert "poller" in {chart.component(item) for item in objects}


def test_service_accounts() -> None:
    accounts = chart.of_kind(chart.render("everything"), "ServiceAccount")
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    used = {
        name: deployment["spec"]["template"]["spec"]["serviceAccountName"]
        for name, deployment in _deployments("everything").items()
    }
    assert len(set(used.values())) == len(used)
    assert used.pop("launcher") == "engine-user"
    assert set(used.values()) == set(accounts)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((), "tradewise/tradewise:0.1.0"),
        (('image.tag="2.0.0"',), "tradewise/tradewise:2.0.0"),
        (('image.registry="r.example"',), "r.example/tradewise/tradewise:0.1.0"),
        (
            ('image.registry="r.example"', 'global.imageRegistry="g.example/mirror/"'),
            "g.example/mirror/tradewise/tradewise:0.1.0",
        ),
        (('image.tag="2.0.0"', f'image.digest="sha256:{"a" * 64}"'), f"tradewise/tradewise@sha256:{'a' * 64}"),
    ],
)
def test_one_image_everywhere(settings: tuple[str, ...], expected: str) -> None:
    objects = chart.render("minimal", *settings)
    assert {container["image"] for _, pod in chart.pods(objects) for container in chart.containers(pod)} == {expected}


def test_pull_secrets_reach_every_pod() -> None:
    for case in ("ha", "everything"):
        for _, pod in chart.pods(chart.render(case)):
            assert pod["spec"]["imagePullSecrets"] == [{"name": "registry-login"}]
