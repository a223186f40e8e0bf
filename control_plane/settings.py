"""One frozen settings object, read once from the environment (prefix ``TRADEWISE_``).

Every field is described in ``docs/configuration.md``; a house rule keeps the two in step.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from control_plane.mail.relay import SmtpRelay, parse_relay, parse_sender
from control_plane.plans import DEFAULT_PLANS, Plan, parse_plans
from control_plane.security.egress import MODES, Destination, Mode, parse_destination

PREFIX = "TRADEWISE_"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """A setting that cannot be used. The message names the variable, what is wrong and what is accepted."""

    code = "invalid_setting"

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable}: {problem}")
        self.variable = variable


class PortRange(msgspec.Struct, frozen=True):
    """Host ports that hosted bots may be published on, both ends included."""

    first: int
    last: int


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can set. Durations are seconds, sizes are bytes unless a name says otherwise."""

    database_url: str | None = None
    agent_database_url: str | None = None
    migration_database_url: str | None = None
    database_pool_size: int = 10
    data_dir: Path = Path(".tradewise")
    key_provider: Literal["file", "env", "vault"] = "file"
    kek_file: Path | None = None
    kek: str | None = None
    kek_previous: tuple[str, ...] = ()
    key_suite: Literal["x25519", "mlkem768-x25519"] = "x25519"
    vault_address: str | None = None
    vault_token: str | None = None
    vault_token_file: Path | None = None
    vault_namespace: str | None = None
    vault_ca_file: Path | None = None
    vault_transit_mount: str = "transit"
    vault_transit_key: str = "tradewise"
    data_key_file: Path | None = None
    data_key: str | None = None
    data_key_previous: tuple[str, ...] = ()
    runtime: Literal["docker"] = "docker"
    docker_host: str | None = None
    base_image: str | None = None
    freqtrade_base_image: str | None = None
    image_pull: Literal["missing", "never"] = "missing"
    allowed_images: tuple[str, ...] = ("tradewise/*",)
    image_digests: Literal["optional", "required"] = "optional"
    paper_bot_image: str = "tradewise/paper-bot:latest"
    freqtrade_image: str = "tradewise/freqtrade-bot:latest"
    plans: Mapping[str, Plan] = DEFAULT_PLANS
    bot_subnets: ipaddress.IPv4Network = ipaddress.IPv4Network("10.208.0.0/12")
    bot_egress: Mode = "public"
    bot_egress_allow: tuple[Destination, ...] = ()
    egress_guard: Literal["enforce", "off"] = "enforce"
    guard_image: str | None = None
    publish_address: str = "127.0.0.1"
    port_range: PortRange = PortRange(21000, 29999)
    start_deadline: float = 120.0
    stop_grace: float = 30.0
    drain_deadline: float = 30.0
    reconcile_interval: float = 15.0
    liveness_deadline: float = 300.0
    orphans: Literal["remove", "report"] = "remove"
    orphan_grace: float = 300.0
    orphan_limit: int = 5
    stats_interval: float = 30.0
    stats_retention_days: int = 7
    poll_interval: float = 15.0
    reading_interval: float = 60.0
    poll_buffer: int = 150_000
    egress_allow: tuple[Network, ...] = ()
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    secure_cookies: bool = True
    trusted_proxies: tuple[Network, ...] = ()
    require_verified_email: bool = False
    smtp_url: SmtpRelay | None = None
    mail_from: str = "TradeWise <tradewise@localhost>"
    mail_dir: Path | None = None
    telegram_bot_token: str | None = None
    telegram_bot_name: str | None = None
    telegram_login_key: str | None = None
    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: str | None = None
    oidc_name: str = "single sign-on"
    audit_retention_months: int = 24
    audit_checkpoint_interval: float = 300.0
    session_idle: float = 7 * 86400.0
    session_lifetime: float = 30 * 86400.0
    password_memory_kib: int = 65536
    password_time_cost: int = 3
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_address: str = "127.0.0.1"
    metrics_port: int | None = None

    def __repr__(self) -> str:
        """Settings carry connection strings and keys: show nothing but the type."""
        return "Settings(...)"

    @property
    def effective_kek_file(self) -> Path:
        """Where the ``file`` key provider keeps key-encryption keys."""
        return self.kek_file or self.data_dir / "keys" / "kek.json"

    @property
    def effective_guard_image(self) -> str:
        """The image that the guard's program runs in: any with Python."""
        return self.guard_image or self.paper_bot_image

    @property
    def effective_mail_dir(self) -> Path:
        """Where mails become files while there is no relay."""
        return self.mail_dir or self.data_dir / "mail"

    @property
    def effective_data_key_file(self) -> Path:
        """Where the API keeps the data key for its own secrets (seeds of second factors)."""
        return self.data_key_file or self.data_dir / "keys" / "data.json"


def _text(raw: str) -> str:
    return raw


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not lowest <= int(raw) <= highest:
            raise ValueError(f"expected a whole number from {lowest} to {highest}")
        return int(raw)

    return parse


def _seconds(lowest: float, highest: float) -> Callable[[str], float]:
    def parse(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            value = float("nan")
        if not lowest <= value <= highest:
            raise ValueError(f"expected seconds from {lowest:g} to {highest:g}")
        return value

    return parse


def _flag(raw: str) -> bool:
    lowered = raw.lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError("expected true or false")


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise ValueError(f"expected one of: {', '.join(choices)}")
        return raw

    return parse


def _words(raw: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in raw.split(",")) if word)


def _networks(raw: str) -> tuple[Network, ...]:
    found: list[Network] = []
    for word in _words(raw):
        try:
            found.append(ipaddress.ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is not a network such as 10.0.0.0/8 or 192.168.1.7/32 ({error})") from error
    return tuple(found)


def _destinations(raw: str) -> tuple[Destination, ...]:
    found: list[Destination] = []
    for word in _words(raw):
        try:
            found.append(parse_destination(word))
        except ValueError as error:
            raise ValueError(f"{word!r} {error}") from error
    return tuple(found)


def _pool(raw: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(raw)
    except ValueError as error:
        raise ValueError(f"expected an IPv4 network such as 10.208.0.0/12 ({error})") from error
    if not 8 <= network.prefixlen <= 24 or not network.is_private:
        raise ValueError("expected a private IPv4 network from /8 to /24, such as 10.208.0.0/12")
    return network


def _hex_key(raw: str) -> str:
    # The value is no part of the message: it is a key.
    if len(raw) != 64 or not set(raw.lower()) <= set("0123456789abcdef"):
        raise ValueError("expected 64 hexadecimal digits: the SHA-256 of the bot's token")
    return raw.lower()


def _address(raw: str) -> str:
    try:
        return str(ipaddress.ip_address(raw))
    except ValueError as error:
        raise ValueError("expected an IP address such as 127.0.0.1") from error


def _port_range(raw: str) -> PortRange:
    first, dash, last = raw.partition("-")
    if not (dash and first.strip().isdigit() and last.strip().isdigit()):
        raise ValueError("expected a range such as 21000-29999")
    if not 1024 <= int(first) <= int(last) <= 65535:
        raise ValueError("expected two ports from 1024 to 65535, the lower one first")
    return PortRange(int(first), int(last))


def _postgres_url(raw: str) -> str:
    # The parser's own message is dropped, and so is its cause: both may repeat a password.
    try:
        port = make_url(raw).port if raw.startswith(("postgresql://", "postgres://")) else -1
    except (ArgumentError, ValueError):
        port = -1
    if port is not None and not 0 < port < 65536:
        raise ValueError("expected a URL such as postgresql://user:password@host:5432/tradewise")
    return raw


_PARSERS: dict[str, Callable[[str], Any]] = {
    "database_url": _postgres_url,
    "agent_database_url": _postgres_url,
    "migration_database_url": _postgres_url,
    "database_pool_size": _whole(1, 500),
    "data_dir": Path,
    "key_provider": _one_of("file", "env", "vault"),
    "kek_file": Path,
    "kek": _text,
    "kek_previous": _words,
    "key_suite": _one_of("x25519", "mlkem768-x25519"),
    "vault_address": _text,
    "vault_token": _text,
    "vault_token_file": Path,
    "vault_namespace": _text,
    "vault_ca_file": Path,
    "vault_transit_mount": _text,
    "vault_transit_key": _text,
    "data_key_file": Path,
    "data_key": _text,
    "data_key_previous": _words,
    "runtime": _one_of("docker"),
    "docker_host": _text,
    "base_image": _text,
    "freqtrade_base_image": _text,
    "image_pull": _one_of("missing", "never"),
    "allowed_images": _words,
    "image_digests": _one_of("optional", "required"),
    "paper_bot_image": _text,
    "plans": parse_plans,
    "bot_subnets": _pool,
    "bot_egress": _one_of(*MODES),
    "bot_egress_allow": _destinations,
    "egress_guard": _one_of("enforce", "off"),
    "guard_image": _text,
    "freqtrade_image": _text,
    "publish_address": _address,
    "port_range": _port_range,
    "start_deadline": _seconds(5, 3600),
    "stop_grace": _seconds(1, 3600),
    "drain_deadline": _seconds(0, 3600),
    "reconcile_interval": _seconds(0.2, 3600),
    "liveness_deadline": _seconds(0, 86400),
    "orphans": _one_of("remove", "report"),
    "orphan_grace": _seconds(0, 86400),
    "orphan_limit": _whole(1, 10000),
    "stats_interval": _seconds(1, 3600),
    "stats_retention_days": _whole(1, 366),
    "poll_interval": _seconds(0.2, 86400),
    "reading_interval": _seconds(0.2, 86400),
    "poll_buffer": _whole(1000, 10_000_000),
    "egress_allow": _networks,
    "public_url": _text,
    "allowed_hosts": _words,
    "secure_cookies": _flag,
    "trusted_proxies": _networks,
    "require_verified_email": _flag,
    "smtp_url": parse_relay,
    "mail_from": parse_sender,
    "mail_dir": Path,
    "telegram_bot_token": _text,
    "telegram_bot_name": _text,
    "telegram_login_key": _hex_key,
    "oidc_issuer": _text,
    "oidc_client_id": _text,
    "oidc_client_secret": _text,
    "oidc_name": _text,
    "audit_retention_months": _whole(1, 1200),
    "audit_checkpoint_interval": _seconds(1, 86400),
    "session_idle": _seconds(60, 365 * 86400),
    "session_lifetime": _seconds(60, 365 * 86400),
    "password_memory_kib": _whole(19456, 4194304),
    "password_time_cost": _whole(1, 20),
    "log_level": _one_of("debug", "info", "warning", "error"),
    "metrics_address": _address,
    "metrics_port": _whole(1, 65535),
}


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read settings from ``environ`` (default: the process environment); ``overrides`` win.

    An empty or blank variable counts as unset. Raises :class:`SettingsError` for a value that does not parse, and for a
    variable with our prefix that no setting has: a typo must not silently leave a default in force.
    """
    source = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for variable, raw in source.items():
        if not variable.startswith(PREFIX) or not raw.strip():
            continue
        name = variable.removeprefix(PREFIX).lower()
        parse = _PARSERS.get(name)
        if parse is None:
            if name in _FOREIGN:
                continue
            raise SettingsError(variable, "no such setting; see docs/configuration.md for the list")
        try:
            values[name] = parse(raw.strip())
        except ValueError as error:
            raise SettingsError(variable, str(error)) from error
    values.update(overrides)
    if values.get("docker_host") is None and source.get("DOCKER_HOST"):
        values["docker_host"] = source["DOCKER_HOST"]
    if values.get("key_provider") == "env" and not values.get("kek"):
        raise SettingsError(f"{PREFIX}KEK", "must hold the key-encryption key where TRADEWISE_KEY_PROVIDER is env")
    if values.get("key_provider") == "vault":
        if not str(values.get("vault_address", "")).startswith(("https://", "http://")):
            raise SettingsError(f"{PREFIX}VAULT_ADDRESS", "must be Vault's URL where TRADEWISE_KEY_PROVIDER is vault")
        if not values.get("vault_token") and not values.get("vault_token_file"):
            raise SettingsError(
                f"{PREFIX}VAULT_TOKEN_FILE",
                "must name Vault's token (or TRADEWISE_VAULT_TOKEN hold it) for that provider",
            )
    return Settings(**values)


# Read by the tools that set a machine up (agents/launcher/engine.py, Makefile), not by the program.
_FOREIGN = frozenset({"engine_dir", "test_database_url", "chromium", "screenshots"})
