"""Who sees which secret: a table, and nobody sees what it does not grant. Who reads which setting: as the docs say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from control_plane.settings import load_settings
from tests.helm import chart

WHOLE = "*"
Reference = tuple[str, str]
"""A Secret and a key in it; `WHOLE` stands for all its keys."""

AGENTS = {f"{name}/{name}" for name in chart.AGENTS}
EVERY_POD = {
    "migrate/migrate",
    *(f"{part}/{container}" for part in ("api", *chart.AGENTS) for container in (part, "wait-for-schema")),
}
ALLOWED: dict[str, set[str]] = {
    "database.api": {"api/api", "api/wait-for-schema"},
    "database.migration": {"migrate/migrate"},
    "database.ca": EVERY_POD,
    **{f"agents.{name}.database": {f"{name}/{name}", f"{name}/wait-for-schema"} for name in chart.AGENTS},
    "encryption": AGENTS,
    "encryption.vault.token": AGENTS,
    "encryption.vault.ca": AGENTS,
    "encryption.dataKey": {"api/api"},
    "agents.launcher.docker": {"launcher/launcher"},
    "agents.notifier.smtp": {"notifier/notifier"},
    "oidc.clientSecret": {"notifier/notifier"},
    "telegram.loginKey": {"api/api"},
}
"""For each value that names a Secret, the containers (`part/container`) that see it. All others do not."""

VAULT = (
    'encryption={"provider":"vault","existingSecret":"",'
    '"vault":{"address":"https://vault.example.com","tokenFile":"/vault/secrets/token"}}'
)
RENDERS = [*((case,) for case in chart.CASES), ("minimal", VAULT)]

API_VARIABLES = {
    *("TRADEWISE_DATABASE_URL", "TRADEWISE_DATABASE_POOL_SIZE", "PGSSLMODE", "PGSSLROOTCERT", "TZ"),
    *("TRADEWISE_LOG_LEVEL", "TRADEWISE_METRICS_ADDRESS", "TRADEWISE_METRICS_PORT"),
    *(
        "TRADEWISE_PUBLIC_URL",
        "TRADEWISE_ALLOWED_HOSTS",
        "TRADEWISE_TRUSTED_PROXIES",
        "TRADEWISE_REQUIRE_VERIFIED_EMAIL",
    ),
    *("TRADEWISE_SESSION_IDLE", "TRADEWISE_SESSION_LIFETIME", "TRADEWISE_POLL_INTERVAL", "TRADEWISE_EGRESS_ALLOW"),
    "TRADEWISE_READING_INTERVAL",
    *("TRADEWISE_DATA_KEY_FILE", "TRADEWISE_TELEGRAM_BOT_NAME", "TRADEWISE_TELEGRAM_LOGIN_KEY"),
    *("TRADEWISE_OIDC_ISSUER", "TRADEWISE_OIDC_CLIENT_ID", "TRADEWISE_OIDC_NAME"),
    *("TRADEWISE_PLANS", "TRADEWISE_BOT_EGRESS", "TRADEWISE_BOT_EGRESS_ALLOW", "TRADEWISE_EGRESS_GUARD"),
}
"""Everything that the API may be told."""


def _defaults() -> dict[str, Any]:
    return dict(yaml.safe_load((chart.PATH / "values.yaml").read_text("utf-8")))


def _named(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of all maps in `values` that name a Secret."""
    if "existingSecret" in values:
        yield prefix.removesuffix(".")
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _named(value, f"{prefix}{key}.")


def _volume(volume: dict[str, Any]) -> set[Reference]:
    """What of Secrets a volume holds."""
    sources = [(volume["secret"], "secretName")] if "secret" in volume else []
    sources += [(part["secret"], "name") for part in volume.get("projected", {}).get("sources", []) if "secret" in part]
    return {(source[name], item["key"]) for source, name in sources for item in source.get("items", [{"key": WHOLE}])}


def seen_by(pod: chart.Manifest, container: chart.Manifest) -> set[Reference]:
    """All that a container can read of Secrets: variables, whole environments, and mounted files."""
    volumes = {volume["name"]: _volume(volume) for volume in pod["spec"]["volumes"]}
    found = {reference for mount in container.get("volumeMounts", []) for reference in volumes[mount["name"]]}
    for entry in container.get("env", []):
        if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
            found.add((reference["name"], reference["key"]))
    return found | {
        (entry["secretRef"]["name"], WHOLE) for entry in container.get("envFrom", []) if "secretRef" in entry
    }


def _values(render: tuple[str, ...]) -> dict[str, Any]:
    """The values of a render as far as they name Secrets, flat: path to map."""
    defaults, own = _defaults(), yaml.safe_load((chart.PATH / f"ci/{render[0]}-values.yaml").read_text("utf-8"))
    own |= {"encryption": {"provider": "vault", "vault": {"tokenFile": "x"}}} if render[1:] else {}
    found = {}
    for path in _named(defaults):
        merged: dict[str, Any] = {}
        for source in (defaults, own):
            at: Any = source
            for key in path.split("."):
                at = at.get(key, {})
            merged |= at
        found[path] = merged
    return found


@pytest.mark.parametrize("render", RENDERS, ids="-".join)
def test_each_secret_is_in_exactly_the_containers_that_the_table_allows(render: tuple[str, ...]) -> None:
    expected: dict[Reference, set[str]] = {}
    for path, value in _values(render).items():
        if value["existingSecret"]:
            expected[value["existingSecret"], value.get("key", WHOLE)] = ALLOWED[path]
    found: dict[Reference, set[str]] = defaultdict(set)
    for part, pod in chart.pods(chart.render(*render)):
        for container in chart.containers(pod):
            for reference in seen_by(pod, container):
                found[reference].add(f"{part}/{container['name']}")
    assert found == expected


def test_the_table_has_every_value_that_names_a_secret() -> None:
    assert set(ALLOWED) == set(_named(_defaults()))


def test_everything_names_every_secret_but_that_of_the_other_provider() -> None:
    empty = {path for path, value in _values(("everything",)).items() if not value["existingSecret"]}
    assert empty == {"encryption"}


def test_secrets_are_seen_in_every_place_that_can_hold_one() -> None:
    """The eyes of these tests are tried on a pod that has a secret in each place."""
    volumes = [
        {"name": "a", "secret": {"secretName": "s1"}},
        {"name": "b", "secret": {"secretName": "s2", "items": [{"key": "k"}]}},
        {"name": "c", "projected": {"sources": [{"secret": {"name": "s3"}}, {"serviceAccountToken": {}}]}},
        {"name": "unmounted", "secret": {"secretName": "s6"}},
    ]
    container = {
        "volumeMounts": [{"name": name} for name in "abc"],
        "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s4", "key": "k"}}}, {"name": "Y", "value": "1"}],
        "envFrom": [{"secretRef": {"name": "s5"}}, {"configMapRef": {"name": "c"}}],
    }
    seen = seen_by({"spec": {"volumes": volumes}}, container)
    assert seen == {("s1", WHOLE), ("s2", "k"), ("s3", WHOLE), ("s4", "k"), ("s5", WHOLE)}


@pytest.mark.parametrize("render", RENDERS, ids="-".join)
def test_no_volume_with_a_secret_is_writable_or_open_to_others(render: tuple[str, ...]) -> None:
    for _, pod in chart.pods(chart.render(*render)):
        holding = {volume["name"] for volume in pod["spec"]["volumes"] if _volume(volume)}
        for volume in pod["spec"]["volumes"]:
            assert volume.get("secret", {}).get("defaultMode", 0o440) == 0o440
        for container in chart.containers(pod):
            for mount in container.get("volumeMounts", []):
                assert mount.get("readOnly", False) or mount["name"] not in holding


def _environments(render: tuple[str, ...]) -> dict[str, dict[str, chart.Manifest]]:
    """The variables of each part's main container."""
    return {
        name: chart.environment(item["spec"]["template"]["spec"]["containers"][0])
        for name, item in chart.by_component(chart.render(*render), "Deployment").items()
    }


@pytest.mark.parametrize("render", RENDERS, ids="-".join)
def test_the_api_is_told_nothing_else(render: tuple[str, ...]) -> None:
    told = set(_environments(render)["api"])
    assert told <= API_VARIABLES
    if render == ("everything",):
        assert told == API_VARIABLES


def test_the_api_finds_its_data_key_where_it_is_mounted() -> None:
    api = chart.by_component(chart.render("everything"), "Deployment")["api"]["spec"]["template"]["spec"]
    (main,) = api["containers"]
    assert chart.environment(main)["TRADEWISE_DATA_KEY_FILE"]["value"] == "/etc/tradewise/data-key/data.json"
    assert {"name": "data-key", "mountPath": "/etc/tradewise/data-key", "readOnly": True} in main["volumeMounts"]
    (volume,) = (volume["secret"] for volume in api["volumes"] if volume["name"] == "data-key")
    assert volume["items"] == [{"key": "data-key.json", "path": "data.json"}]
    assert "TRADEWISE_DATA_KEY_FILE" not in _environments(("minimal",))["api"]


def test_agents_find_the_keys_or_vault() -> None:
    for name in chart.AGENTS:
        file = _environments(("minimal",))[name]
        assert file["TRADEWISE_KEY_PROVIDER"]["value"] == "file"
        assert file["TRADEWISE_KEK_FILE"]["value"] == "/etc/tradewise/kek/kek.json"
        assert not [variable for variable in file if "VAULT" in variable]
        vault = _environments(("everything",))[name]
        assert {
            variable: entry["value"] for variable, entry in vault.items() if re.search("VAULT|KE[YK]_P", variable)
        } == {
            "TRADEWISE_KEY_PROVIDER": "vault",
            "TRADEWISE_VAULT_ADDRESS": "https://vault.example.internal:8200/proxied",
            "TRADEWISE_VAULT_NAMESPACE": "platform/trading",
            "TRADEWISE_VAULT_TRANSIT_MOUNT": "transit/eu",
            "TRADEWISE_VAULT_TRANSIT_KEY": "tradewise-prod",
            "TRADEWISE_VAULT_CA_FILE": "/etc/tradewise/vault-ca/ca.crt",
            "TRADEWISE_VAULT_TOKEN_FILE": "/etc/tradewise/vault-token/token",
        }
        injected = _environments(("minimal", VAULT))[name]
        assert injected["TRADEWISE_VAULT_TOKEN_FILE"]["value"] == "/vault/secrets/token"
        assert not {"TRADEWISE_KEK_FILE", "TRADEWISE_VAULT_CA_FILE", "TRADEWISE_VAULT_NAMESPACE"} & set(injected)


def test_settings_arrive_as_they_were_given() -> None:
    told = {
        name: load_settings({variable: entry["value"] for variable, entry in environment.items() if "value" in entry})
        for name, environment in _environments(("everything",)).items()
    }
    api, scheduler = told["api"], told["scheduler"]
    assert [str(network) for network in api.trusted_proxies] == ["10.0.3.0/24", "fd00:3::/64"]
    assert (api.session_idle, api.session_lifetime) == (86400, 1209600)
    assert api.reading_interval == told["poller"].reading_interval
    assert (api.poll_interval, api.egress_allow) == (told["poller"].poll_interval, told["poller"].egress_allow)
    # A large number must not be written as 1.5e+06.
    assert told["poller"].poll_buffer == 1_500_000
    notifier = told["notifier"]
    assert (notifier.poll_interval, notifier.egress_allow) == (api.poll_interval, api.egress_allow)
    assert notifier.plans == told["poller"].plans == told["launcher"].plans == api.plans != load_settings({}).plans
    assert notifier.public_url == api.public_url == "https://tradewise.example.com:8443"
    assert (api.oidc_name, api.telegram_bot_name) == ("Example account", "example_trading_bot")
    assert (api.oidc_issuer, api.oidc_client_id) == (told["notifier"].oidc_issuer, told["notifier"].oidc_client_id)
    assert (scheduler.audit_retention_months, scheduler.audit_checkpoint_interval) == (84, 60)
    assert scheduler.key_suite == "mlkem768-x25519"
    kept = (scheduler.snapshot_retention_months, scheduler.hourly_retention_months, scheduler.daily_retention_years)
    assert kept == (6, 36, 7)


def test_defaults_of_the_chart_are_those_of_the_program() -> None:
    ours, theirs = _environments(("minimal",)), load_settings({})
    for part, names in {
        "api": (
            "session_idle",
            "session_lifetime",
            "poll_interval",
            "reading_interval",
            "require_verified_email",
            "trusted_proxies",
        ),
        "poller": ("poll_interval", "reading_interval", "poll_buffer"),
        "scheduler": (
            "key_suite",
            "audit_retention_months",
            "audit_checkpoint_interval",
            "snapshot_retention_months",
            "hourly_retention_months",
            "daily_retention_years",
        ),
        "notifier": ("poll_interval", "egress_allow", "plans", "mail_from"),
    }.items():
        told = load_settings({name: entry["value"] for name, entry in ours[part].items() if "value" in entry})
        assert [getattr(told, name) for name in names] == [getattr(theirs, name) for name in names]
    # A large number must not be written as 2.592e+06.
    assert ours["api"]["TRADEWISE_SESSION_LIFETIME"]["value"] == "2592000"


def _readers() -> dict[str, set[str]]:
    """Who reads which variable, from docs/configuration.md."""
    page = (chart.PATH.parents[1] / "docs/configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `(TRADEWISE_\w+)` \|[^|]+\|[^|]+\| ([a-z, ]+) \|", page, re.MULTILINE)
    everybody = {"api", *chart.AGENTS}
    groups = {"all": everybody, "agents": set(chart.AGENTS)}
    return {name: {part for word in said.split(", ") for part in groups.get(word, {word})} for name, said in rows}


@pytest.mark.parametrize("render", RENDERS, ids="-".join)
def test_parts_are_told_only_what_they_read(render: tuple[str, ...]) -> None:
    readers = _readers()
    assert len(readers) > 50
    # One size for all in the chart, although agents do not read it.
    shared = {"TRADEWISE_DATABASE_POOL_SIZE"}
    for part, environment in _environments(render).items():
        for variable in {name for name in environment if name.startswith("TRADEWISE_")} - shared:
            assert part in readers[variable], f"{part} does not read {variable}"
