"""The processes of one installation: what each is told, and nothing that another one's duty needs."""

from __future__ import annotations

import os

from control_plane.identity.handover import web_tier_secrets
from control_plane.settings import PREFIX, Settings
from control_plane.supervisor import ChildSpec, inherited, own_command

AGENTS = ("scheduler", "launcher", "poller", "notifier")
#: How every agent reaches the key-encryption keys.
_KEY_SETTINGS = tuple(
    f"{PREFIX}{name}"
    for name in (
        "KEK", "KEK_PREVIOUS", "KEY_SUITE", "VAULT_ADDRESS", "VAULT_TOKEN", "VAULT_TOKEN_FILE", "VAULT_NAMESPACE",
        "VAULT_CA_FILE", "VAULT_TRANSIT_MOUNT", "VAULT_TRANSIT_KEY",
    )
)  # fmt: skip
#: Settings that only agents may have: the web tier gets neither keys nor the engine nor another role's connection.
_AGENTS_ONLY = frozenset(_KEY_SETTINGS) | frozenset(
    f"{PREFIX}{name}"
    for name in (
        "KEK_FILE", "KEY_PROVIDER", "DOCKER_HOST", "AGENT_DATABASE_URL", "SMTP_URL", "TELEGRAM_BOT_TOKEN",
        "OIDC_CLIENT_SECRET",
    )
)  # fmt: skip
#: And what only the web tier may have.
_API_ONLY = frozenset(
    f"{PREFIX}{name}" for name in ("DATA_KEY", "DATA_KEY_FILE", "DATA_KEY_PREVIOUS", "TELEGRAM_LOGIN_KEY")
)
#: And what only the agent that speaks to the world outside may have.
_NOTIFIER_ONLY = tuple(f"{PREFIX}{name}" for name in ("SMTP_URL", "OIDC_CLIENT_SECRET", "TELEGRAM_BOT_TOKEN"))
_NEVER_INHERITED = frozenset({f"{PREFIX}DATABASE_URL", f"{PREFIX}MIGRATION_DATABASE_URL", *_AGENTS_ONLY, *_API_ONLY})


def api_process(settings: Settings, database: str, host: str, port: int) -> ChildSpec:
    """The web tier, connected to ``database`` as its own role. It gets no key that opens anything."""
    https = (settings.public_url or "").startswith("https://")
    environment = {
        **_inherited_settings(settings),
        f"{PREFIX}DATABASE_URL": database,
        # A folder of its own, where nothing is: the machine's holds the agents' keys.
        f"{PREFIX}DATA_DIR": str((settings.data_dir / "api").resolve()),
        f"{PREFIX}DATA_KEY_FILE": str(settings.effective_data_key_file.resolve()),
        f"{PREFIX}SECURE_COOKIES": "true" if https else "false",
        **web_tier_secrets(settings),
    }
    return ChildSpec("api", own_command("api", "--host", host, "--port", str(port)), environment)


def agent_process(settings: Settings, kind: str, database: str, engine: str | None) -> ChildSpec:
    """One agent, connected to ``database`` as its own role. ``engine`` is the launcher's."""
    environment = {**_inherited_settings(settings), f"{PREFIX}AGENT_DATABASE_URL": database}
    environment[f"{PREFIX}KEY_PROVIDER"] = settings.key_provider
    environment[f"{PREFIX}KEK_FILE"] = str(settings.effective_kek_file.resolve())
    environment.update({name: os.environ[name] for name in _KEY_SETTINGS if name in os.environ})
    if kind == "notifier":
        environment |= {name: os.environ[name] for name in _NOTIFIER_ONLY if name in os.environ}
    if kind == "launcher":
        for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        if engine is not None:
            environment[f"{PREFIX}DOCKER_HOST"] = engine
    return ChildSpec(f"agent {kind}", own_command("agent", kind), environment)


def _inherited_settings(settings: Settings) -> dict[str, str]:
    given = {
        name: value for name, value in os.environ.items() if name.startswith(PREFIX) and name not in _NEVER_INHERITED
    }
    if settings.egress_allow:
        given[f"{PREFIX}EGRESS_ALLOW"] = ",".join(map(str, settings.egress_allow))
    given[f"{PREFIX}POLL_INTERVAL"] = f"{settings.poll_interval:g}"
    given[f"{PREFIX}READING_INTERVAL"] = f"{settings.reading_interval:g}"
    given[f"{PREFIX}DATA_DIR"] = str(settings.data_dir.resolve())
    return {**inherited(), **given}
