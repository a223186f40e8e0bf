"""What the chart refuses, and that the message tells what to change."""

from __future__ import annotations

import pytest

from tests.helm import chart

_EXTRA_ENV = '[{{"name":"{name}","value":"x"}}]'
_VAULT = (
    'encryption={"provider":"vault","existingSecret":"",'
    '"vault":{"address":"https://vault.example.com","tokenFile":"/vault/secrets/token"}}'
)
_AGENTS = " ".join(chart.AGENTS)
_PARTS = ("api", *chart.AGENTS)
_HOLDERS = {
    **dict.fromkeys(["TRADEWISE_KEK", "TRADEWISE_KEK_PREVIOUS", "TRADEWISE_VAULT_TOKEN"], _AGENTS),
    **dict.fromkeys(["TRADEWISE_DATA_KEY", "TRADEWISE_DATA_KEY_FILE", "TRADEWISE_DATA_KEY_PREVIOUS"], "api"),
    "TRADEWISE_TELEGRAM_LOGIN_KEY": "api",
    "TRADEWISE_TELEGRAM_BOT_TOKEN": "notifier",
    "TRADEWISE_OIDC_CLIENT_SECRET": "notifier",
    "TRADEWISE_MIGRATION_DATABASE_URL": "",
}
"""Variables with a secret that `minimal` does not set, and the parts that may be given them."""


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
        ('hosting.egress="everywhere"', ["hosting.egress", "must be one of"]),
        ('hosting.egressAllow=["exchange.example"]', ["hosting.egressAllow.0"]),
        ('agents.launcher.botSubnets="10.0.0.0/4"', ["agents.launcher.botSubnets"]),
        ('database.sslMode="verify-full"', ["database.ca.existingSecret"]),
        ("httpRoute.enabled=true", ["httpRoute.parentRefs", "at least 1"]),
        ('metrics.serviceMonitor.interval="often"', ["metrics.serviceMonitor.interval"]),
        ("defaults.podSecurityContext.runAsNonRoot=false", ["defaults.podSecurityContext.runAsNonRoot"]),
        ("api.podSecurityContext.runAsUser=0", ["api.podSecurityContext.runAsUser"]),
        ('api.podSecurityContext.seccompProfile.type="Unconfined"', ["api.podSecurityContext.seccompProfile.type"]),
        ("api.securityContext.privileged=true", ["api.securityContext.privileged"]),
        ('encryption.provider="env"', ["encryption.provider", "must be one of"]),
        ('encryption.vault.adress="https://v"', ["encryption.vault", "adress is not allowed"]),
        ('encryption.vault.address="vault.example.com"', ["encryption.vault.address"]),
        ('encryption.vault.address="https://token@vault.example.com"', ["encryption.vault.address"]),
        ('encryption.vault.transitKey="a/b"', ["encryption.vault.transitKey"]),
        ('encryption.vault.tokenFile="token"', ["encryption.vault.tokenFile"]),
        ('oidc.issuer="http://login.example.com"', ["oidc.issuer"]),
        ('telegram.botName="@bot"', ["telegram.botName"]),
        ('config.trustedProxies=["10.0.0.1"]', ["config.trustedProxies.0"]),
        ("config.sessionIdle=59", ["config.sessionIdle"]),
        ("agents.scheduler.audit.retentionMonths=0", ["agents.scheduler.audit.retentionMonths"]),
        ("agents.scheduler.audit.checkpointInterval=0.5", ["agents.scheduler.audit.checkpointInterval"]),
        ("agents.scheduler.history.snapshotMonths=0", ["agents.scheduler.history.snapshotMonths"]),
        ("agents.scheduler.history.hourlyMonths=1.5", ["agents.scheduler.history.hourlyMonths"]),
        ("agents.scheduler.history.dailyYears=101", ["agents.scheduler.history.dailyYears"]),
        ('agents.scheduler.keySuite="rsa"', ["agents.scheduler.keySuite", "must be one of"]),
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
        (["config.sessionIdle=7200", "config.sessionLifetime=3600"], "config.sessionIdle (7200) is above"),
        (['config.trustedProxies=["0.0.0.0/0"]'], "config.trustedProxies holds 0.0.0.0/0: anybody could claim"),
        (['config.trustedProxies=["::/0"]'], "config.trustedProxies holds ::/0"),
        (
            ['encryption.vault.address="https://v:8200"'],
            "encryption.vault.address is set and encryption.provider is file",
        ),
        (['encryption.provider="vault"'], "encryption.existingSecret is set and encryption.provider is vault"),
        ([_VAULT, 'encryption.vault.address=""'], "encryption.vault.address is required"),
        ([_VAULT, 'encryption.vault.token.existingSecret="t"'], "and encryption.vault.tokenFile are both set"),
        ([_VAULT, 'encryption.vault.tokenFile=""'], "encryption.vault.token.existingSecret is required"),
        ([_VAULT, 'encryption.vault.tokenFile=""'], "create secret generic tradewise-vault-token --from-file=token="),
        (['oidc.issuer="https://login.example.com"'], "oidc.clientId is required with oidc.issuer"),
        (['oidc.clientId="tradewise"'], "oidc.clientId or oidc.clientSecret is set without oidc.issuer"),
        (['oidc.clientSecret.existingSecret="s"'], "oidc.clientId or oidc.clientSecret is set without oidc.issuer"),
        (
            ['oidc={"issuer":"https://login.example.com","clientId":"t"}', "agents.notifier.enabled=false"],
            "oidc.issuer is set and agents.notifier.enabled is false",
        ),
        (['telegram.botName="example_bot"'], "telegram.loginKey.existingSecret is required"),
        (['telegram.botName="example_bot"'], 'login-key="$(printf %s "$BOT_TOKEN" | sha256sum | cut -d \' \' -f 1)"'),
        (['telegram.loginKey.existingSecret="t"'], "telegram.loginKey.existingSecret is set without telegram.botName"),
        (
            ['encryption.dataKey={"existingSecret":"tradewise-kek","key":"kek.json"}'],
            "encryption.existingSecret and encryption.dataKey name the same Secret (tradewise-kek)",
        ),
        (
            ['encryption.dataKey.existingSecret="tradewise-docker-tls"'],
            "encryption.dataKey and agents.launcher.docker name the same Secret (tradewise-docker-tls)",
        ),
    ],
)
def test_what_the_schema_cannot_say_is_refused_too(settings: list[str], message: str) -> None:
    assert message in chart.refusal("minimal", *settings)


@pytest.mark.parametrize(
    ("name", "variable"),
    [(name, variable) for variable, holders in _HOLDERS.items() for name in _PARTS if name not in holders.split()],
)
def test_a_variable_with_a_secret_is_refused_where_it_does_not_belong(name: str, variable: str) -> None:
    part = name if name == "api" else f"agents.{name}"
    message = chart.refusal("minimal", f"{part}.extraEnv={_EXTRA_ENV.format(name=variable)}")
    assert f"{part}.extraEnv sets {variable}: {name} must not hold it, only: " in message


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            'api.extraVolumes=[{"name":"keys","secret":{"secretName":"tradewise-kek"}}]',
            "api.extraVolumes reads the Secret tradewise-kek of encryption.existingSecret: api must not hold it",
        ),
        (
            'api.extraVolumes=[{"name":"keys","projected":{"sources":[{"secret":{"name":"tradewise-kek"}}]}}]',
            "api.extraVolumes reads the Secret tradewise-kek of encryption.existingSecret",
        ),
        (
            'api.extraEnv=[{"name":"X","valueFrom":{"secretKeyRef":{"name":"tradewise-smtp","key":"url"}}}]',
            "api.extraEnv reads the Secret tradewise-smtp of agents.notifier.smtp: api must not hold it, only: "
            "notifier",
        ),
        (
            'api.initContainers=[{"name":"x","envFrom":[{"secretRef":{"name":"tradewise-db-migration"}}]}]',
            "api.initContainers reads the Secret tradewise-db-migration of database.migration: api must not hold it",
        ),
        (
            'agents.poller.extraEnvFrom=[{"secretRef":{"name":"tradewise-docker-tls"}}]',
            "agents.poller.extraEnvFrom reads the Secret tradewise-docker-tls of agents.launcher.docker",
        ),
        (
            'defaults.extraEnvFrom=[{"secretRef":{"name":"tradewise-db-api"}}]',
            "agents.launcher.extraEnvFrom reads the Secret tradewise-db-api of database.api",
        ),
    ],
)
def test_extras_cannot_hand_a_part_the_secret_of_another(setting: str, message: str) -> None:
    assert message in chart.refusal("minimal", setting)


def test_another_key_of_a_shared_secret_is_nobodys_business() -> None:
    extra = '[{"name":"X","valueFrom":{"secretKeyRef":{"name":"tradewise-smtp","key":"other"}}}]'
    assert "- name: X" in chart.template_text("minimal", f"api.extraEnv={extra}")
