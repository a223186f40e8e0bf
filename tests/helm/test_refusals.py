"""What the chart refuses, and that the message tells what to change."""

from __future__ import annotations

import pytest

from tests.helm import chart

_EXTRA_ENV = '[{{"name":"{name}","value":"x"}}]'


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("replicas=2", ["replicas is not allowed"]),
        ("api.replicaz=2", ["api", "replicaz is not allowed"]),
        ("defaults.serviceAccount.creat=true", ["defaults.serviceAccount", "creat is not allowed"]),
        ("agents.poler.enabled=true", ["agents", "poler is not allowed"]),
        ("agents.scheduler.pollInterval=1", ["agents.scheduler", "pollInterval is not allowed"]),
        ("networkPolicy.enbled=true", ["networkPolicy", "enbled is not allowed"]),
        ('api.replicas="two"', ["api.replicas", "integer"]),
        ('config.logLevel="loud"', ["config.logLevel", "must be one of"]),
        ('migrations.mode="post"', ["migrations.mode", "must be one of"]),
        ('image.digest="sha256:abc"', ["image.digest"]),
        ('publicUrl="tradewise.example.com"', ["publicUrl"]),
        ('publicUrl="https://tradewise.example.com/app"', ["publicUrl"]),
        ('agents.poller.egressAllow=["10.0.0.0"]', ["agents.poller.egressAllow.0"]),
        ('agents.launcher.publishAddress="0.0.0.0"', ["agents.launcher.publishAddress"]),
        ('agents.launcher.docker.host="10.0.0.5:2376"', ["agents.launcher.docker.host"]),
        ('agents.launcher.runtime="podman"', ["agents.launcher.runtime", "must be one of"]),
        ('agents.launcher.allowedImages=["a b"]', ["agents.launcher.allowedImages.0"]),
        ('database.sslMode="verify-full"', ["database.ca.existingSecret"]),
        ("httpRoute.enabled=true", ["httpRoute.parentRefs", "at least 1"]),
        ('metrics.serviceMonitor.interval="often"', ["metrics.serviceMonitor.interval"]),
        ("defaults.podSecurityContext.runAsNonRoot=false", ["defaults.podSecurityContext.runAsNonRoot"]),
        ("api.podSecurityContext.runAsUser=0", ["api.podSecurityContext.runAsUser"]),
        ('api.podSecurityContext.seccompProfile.type="Unconfined"', ["api.podSecurityContext.seccompProfile.type"]),
        ("api.securityContext.privileged=true", ["api.securityContext.privileged"]),
        (
            'api.securityContext.capabilities={"drop":["ALL"],"add":["SYS_ADMIN"]}',
            ["api.securityContext.capabilities.add.0"],
        ),
    ],
)
def test_the_schema_names_the_key(setting: str, words: list[str]) -> None:
    message = chart.refusal("minimal", setting)
    assert "don't meet the specifications of the schema" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        (
            "database.api.existingSecret",
            "tradewise-db-api --from-literal=uri='postgresql://tradewise_api:PASSWORD@HOST:5432/tradewise'",
        ),
        ("database.migration.existingSecret", "tradewise-db-migration --from-literal=uri='postgresql://MIGRATOR:"),
        (
            "agents.launcher.database.existingSecret",
            "tradewise-db-launcher --from-literal=uri='postgresql://tradewise_agent_launcher:",
        ),
        (
            "agents.poller.database.existingSecret",
            "tradewise-db-poller --from-literal=uri='postgresql://tradewise_agent_poller:",
        ),
        (
            "agents.scheduler.database.existingSecret",
            "tradewise-db-scheduler --from-literal=uri='postgresql://tradewise_agent_scheduler:",
        ),
        (
            "agents.notifier.database.existingSecret",
            "tradewise-db-notifier --from-literal=uri='postgresql://tradewise_agent_notifier:",
        ),
        ("agents.notifier.smtp.existingSecret", "tradewise-smtp --from-literal=url='smtp://USER:PASSWORD@HOST:587'"),
        ("encryption.existingSecret", "tradewise-kek --from-file=kek.json=./kek.json"),
        (
            "agents.launcher.docker.existingSecret",
            "tradewise-docker-tls --from-file=ca.pem --from-file=cert.pem --from-file=key.pem",
        ),
    ],
)
def test_a_missing_secret_tells_the_one_line_that_makes_it(setting: str, line: str) -> None:
    message = chart.refusal("minimal", f'{setting}=""')
    assert f"{setting} is required" in message
    assert f"kubectl --namespace trading create secret generic {line}" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (['publicUrl=""'], "publicUrl is required"),
        (['agents.launcher.docker.host=""'], "agents.launcher.docker.host is required"),
        (['agents.launcher.publishAddress=""'], "agents.launcher.publishAddress is required"),
        (
            ['agents.poller.database.existingSecret="tradewise-db-api"'],
            "database.api and agents.poller.database read the same login (tradewise-db-api/uri)",
        ),
        (
            ['database.api.existingSecret="tradewise-db-migration"'],
            "database.api and database.migration read the same login",
        ),
        (
            ["api.autoscaling.enabled=true", "api.autoscaling.minReplicas=9"],
            "api.autoscaling.minReplicas (9) is above maxReplicas (6)",
        ),
        (
            [f"defaults.extraEnv={_EXTRA_ENV.format(name='TRADEWISE_LOG_LEVEL')}"],
            "api.extraEnv repeats TRADEWISE_LOG_LEVEL, which the chart sets already",
        ),
        (
            ['agents.poller.extraEnv=[{"name":"A","value":"1"},{"name":"A","value":"2"}]'],
            "agents.poller.extraEnv repeats A, which extraEnv sets already",
        ),
        ([f"api.extraEnv={_EXTRA_ENV.format(name='TRADEWISE_KEK_FILE')}"], "api.extraEnv sets TRADEWISE_KEK_FILE"),
        ([f"api.extraEnv={_EXTRA_ENV.format(name='TRADEWISE_SMTP_URL')}"], "api.extraEnv sets TRADEWISE_SMTP_URL"),
        ([f"api.extraEnv={_EXTRA_ENV.format(name='DOCKER_HOST')}"], "api.extraEnv sets DOCKER_HOST"),
        (
            ['api.extraVolumes=[{"name":"keys","secret":{"secretName":"tradewise-kek"}}]'],
            "api.extraVolumes mounts the Secret tradewise-kek of encryption.existingSecret",
        ),
    ],
)
def test_what_the_schema_cannot_say_is_refused_too(settings: list[str], message: str) -> None:
    assert message in chart.refusal("minimal", *settings)
