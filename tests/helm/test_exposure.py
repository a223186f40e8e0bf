"""Who may reach whom: network policies, the ways in, and what Prometheus sees."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest

from tests.helm import chart

PRIVATE = [
    *("10.0.0.1", "127.0.0.1", "169.254.169.254", "172.20.1.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("168.63.129.16", "fd00::1", "fe80::1", "::1", "2002:a00:1::1", "64:ff9b::a00:1", "2001:db8::1"),
]


def _policies(case: str, *settings: str) -> dict[str, chart.Manifest]:
    return {
        name: item["spec"] for name, item in chart.by_component(chart.render(case, *settings), "NetworkPolicy").items()
    }


def _reaches(policy: chart.Manifest, address: str) -> bool:
    """Whether an egress rule of `policy` that names networks lets `address` through."""
    wanted = ipaddress.ip_address(address)
    for rule in policy["egress"]:
        for peer in rule.get("to", []):
            if block := peer.get("ipBlock"):
                inside = wanted in ipaddress.ip_network(block["cidr"])
                if inside and not any(wanted in ipaddress.ip_network(net) for net in block.get("except", [])):
                    return True
    return False


@pytest.mark.parametrize("case", chart.CASES)
def test_every_pod_is_denied_by_default_and_has_a_policy_of_its_own(case: str) -> None:
    policies = _policies(case)
    general = policies.pop("network")
    assert general["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in general
    for name, pod in chart.pods(chart.render(case)):
        labels = pod["metadata"]["labels"].items()
        assert general["podSelector"]["matchLabels"].items() <= labels
        assert policies[name]["podSelector"]["matchLabels"].items() <= labels


def test_the_api_reaches_its_database_and_nothing_else() -> None:
    (rule,) = _policies("minimal")["api"]["egress"]
    assert rule == {"ports": [{"protocol": "TCP", "port": 5432}]}
    (pinned,) = _policies("ha")["api"]["egress"]
    assert pinned["to"] == [{"podSelector": {"matchLabels": {"cnpg.io/cluster": "pg-cluster"}}}]


@pytest.mark.parametrize("address", PRIVATE)
def test_the_poller_reaches_no_private_address(address: str) -> None:
    assert not _reaches(_policies("minimal")["poller"], address)


def test_the_poller_reaches_the_internet_and_what_the_operator_names() -> None:
    minimal, everything = _policies("minimal")["poller"], _policies("everything")["poller"]
    assert _reaches(minimal, "93.184.215.14")
    assert _reaches(minimal, "2606:4700::1111")
    assert _reaches(everything, "10.20.3.4")
    assert _reaches(everything, "fd00:20::7")
    assert _reaches(everything, "34.118.0.1")
    assert not _reaches(everything, "34.118.224.9")
    assert not _reaches(everything, "2600:1900::1")


def test_the_poller_reaches_hosted_bots_where_they_are_published() -> None:
    rule = next(rule for rule in _policies("minimal")["poller"]["egress"] if "10.0.0.5/32" in str(rule.get("to")))
    assert rule["ports"] == [{"protocol": "TCP", "port": 21000, "endPort": 29999}]
    assert _reaches(_policies("everything")["poller"], "fd00::5")


def test_the_notifier_reaches_its_relay() -> None:
    (_, anywhere, *_) = _policies("minimal")["notifier"]["egress"]
    assert anywhere == {"ports": [{"protocol": "TCP", "port": 587}]}
    pinned = _policies("everything")["notifier"]["egress"][1]
    assert pinned == {"ports": [{"protocol": "TCP", "port": 465}], "to": [{"ipBlock": {"cidr": "10.0.2.25/32"}}]}


def test_the_notifier_reaches_webhooks_and_no_private_network_but_those_named() -> None:
    minimal, everything = _policies("minimal")["notifier"], _policies("everything")["notifier"]
    assert _reaches(minimal, "93.184.215.14")
    assert not _reaches(minimal, "10.0.0.5")
    assert not _reaches(minimal, "169.254.169.254")
    assert _reaches(everything, "10.20.3.4")
    assert not _reaches(everything, "34.118.224.9")


def _on_port(policy: chart.Manifest, port: int) -> list[chart.Manifest]:
    return [rule for rule in policy["egress"] if {"protocol": "TCP", "port": port} in rule.get("ports", [])]


def test_only_the_notifier_reaches_the_openid_provider() -> None:
    for name, policy in _policies("everything").items():
        rules = _on_port(policy, 8443)
        assert bool(rules) is (name == "notifier")
        assert all(rule["to"] == [{"ipBlock": {"cidr": "10.0.5.0/24"}}] for rule in rules)
    bare = _policies("minimal", 'oidc={"issuer":"https://login.example.com","clientId":"tradewise"}')
    assert _on_port(bare["notifier"], 443)[0] == {"ports": [{"protocol": "TCP", "port": 443}]}
    assert not _on_port(bare["api"], 443)


def test_only_agents_reach_vault() -> None:
    for name, policy in _policies("everything").items():
        rules = _on_port(policy, 8200)
        assert bool(rules) is (name in chart.AGENTS)
        assert all(rule["to"] == [{"ipBlock": {"cidr": "10.0.4.8/32"}}] for rule in rules)
    assert not any(_on_port(policy, 8200) for policy in _policies("minimal").values())


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("https://vault.example.com", 443),
        ("http://vault.example.com/at:9/x", 80),
        ("https://[fd00::8]", 443),
        ("https://[fd00::8]:8201/v", 8201),
    ],
)
def test_the_port_of_vault_follows_its_address(address: str, port: int) -> None:
    (rule,) = _on_port(_policies("everything", f'encryption.vault.address="{address}"')["scheduler"], port)
    assert rule["to"] == [{"ipBlock": {"cidr": "10.0.4.8/32"}}]


def test_only_the_launcher_reaches_the_engine() -> None:
    for name, policy in _policies("ha").items():
        ports = [port["port"] for rule in policy["egress"] for port in rule.get("ports", [])]
        assert (2376 in ports) is (name == "launcher")


def test_the_way_in_is_the_named_clients_and_the_test() -> None:
    api = _policies("ha")["api"]["ingress"][0]
    assert api["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert [next(iter(peer)) for peer in api["from"]] == ["namespaceSelector", "podSelector"]
    assert "from" not in _policies("minimal")["api"]["ingress"][0]
    for name in chart.AGENTS:
        (scrape,) = _policies("minimal")[name]["ingress"]
        assert scrape["ports"] == [{"protocol": "TCP", "port": "metrics"}]


def test_policies_can_be_switched_off() -> None:
    assert not _policies("minimal", "networkPolicy.enabled=false")


def test_nothing_is_exposed_by_default() -> None:
    objects = chart.render("minimal")
    kinds = {item["kind"] for item in objects}
    assert not kinds & {"Ingress", "HTTPRoute", "HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule"}
    services = chart.of_kind(objects, "Service").values()
    assert {service["spec"].get("type", "ClusterIP") for service in services} == {"ClusterIP"}


def test_ingress_and_route_lead_to_the_api() -> None:
    objects = chart.render("everything")
    service = next(item for name, item in chart.of_kind(objects, "Service").items() if not name.endswith("-metrics"))
    (ingress,) = chart.of_kind(objects, "Ingress").values()
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "tradewise.example.com"
    assert rule["http"]["paths"][0]["backend"]["service"] == {
        "name": service["metadata"]["name"],
        "port": {"name": "http"},
    }
    assert ingress["spec"]["tls"] == [{"secretName": "tradewise-tls", "hosts": ["tradewise.example.com"]}]
    (route,) = chart.of_kind(objects, "HTTPRoute").values()
    assert route["spec"]["rules"][0]["backendRefs"] == [{"name": service["metadata"]["name"], "port": 8080}]
    assert route["spec"]["rules"][0]["timeouts"] == {"request": "0s"}


def test_the_route_takes_the_public_host() -> None:
    (route,) = chart.of_kind(chart.render("ha"), "HTTPRoute").values()
    assert route["spec"]["hostnames"] == ["tradewise.example.com"]


@pytest.mark.parametrize("case", chart.CASES)
def test_metrics_never_share_the_service_that_is_exposed(case: str) -> None:
    services = chart.of_kind(chart.render(case), "Service")
    ports = {name: [port["name"] for port in service["spec"]["ports"]] for name, service in services.items()}
    assert all((found == ["metrics"]) is name.endswith("-metrics") for name, found in ports.items())
    assert len([name for name in ports if name.endswith("-metrics")]) == 1 + len(chart.AGENTS)


def test_the_service_monitor_selects_the_metrics_services() -> None:
    objects = chart.render("everything")
    (monitor,) = chart.of_kind(objects, "ServiceMonitor").values()
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    endpoint = monitor["spec"]["endpoints"][0]["port"]
    scraped = [
        name
        for name, service in chart.of_kind(objects, "Service").items()
        if wanted <= service["metadata"]["labels"].items()
        and endpoint in {port["name"] for port in service["spec"]["ports"]}
    ]
    assert len(scraped) == 1 + len(chart.AGENTS)


def _alerts() -> list[dict[str, Any]]:
    (rule,) = chart.of_kind(chart.render("everything"), "PrometheusRule").values()
    return [entry for entry in rule["spec"]["groups"][0]["rules"] if "alert" in entry]


def test_every_alert_has_a_runbook_in_the_docs() -> None:
    page = (chart.PATH.parents[1] / "docs/helm.md").read_text("utf-8")
    headings = {re.sub(r"[^a-z0-9]", "", heading.lower()) for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}
    for alert in _alerts():
        assert alert["annotations"]["runbook_url"].rpartition("#")[2] in headings


def test_alerts_name_services_and_jobs_that_exist() -> None:
    names = {item["metadata"]["name"] for item in chart.render("everything")}
    for alert in _alerts():
        for pattern in re.findall(r'(?:service|deployment|job_name)=~"([^"]+)"', alert["expr"]):
            assert any(re.fullmatch(pattern, name) for name in names), alert["alert"]
