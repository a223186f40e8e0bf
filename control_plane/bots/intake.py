"""What may come in for a bot: addresses, credentials, configurations, and which fields go together. No database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.bots import freqtrade_config
from control_plane.bots.models import HOSTED_ENGINES
from control_plane.bots.schemas import CreateBot
from control_plane.engines.configs import ConfigError, check_together, decode_config
from control_plane.engines.family import EngineConfig
from control_plane.engines.registry import family_of
from control_plane.errors import unacceptable
from control_plane.security.addresses import UrlRefused, check_literal_host, parse_bot_url
from control_plane.security.credentials import (
    ENGINES,
    Credential,
    CredentialError,
    decode_credentials,
)
from control_plane.settings import Settings

CONFIG_LIMIT: Final = 64 * 1024
#: What our hosted bot insists on, too.
SHORTEST_HOSTED_TOKEN: Final = 8
#: Why a bot that we run has none of it.
_OURS: Final = {
    "api_url": "is for external bots; a bot that we run gets its address from us",
    "engine_config": "is for external bots; what a bot that we run shall do is its config",
}


def checked_url(settings: Settings, raw: str) -> str:
    """``raw`` in its normal form. Raises 422 for what is not http(s) or points where the poller may not go."""
    try:
        url = parse_bot_url(raw)
        check_literal_host(url, settings.egress_allow)
    except UrlRefused as error:
        raise unacceptable("api_url", error.message, code=error.code) from error
    return str(url)


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a bot's address: who gets what is sent there. For addresses that were checked once."""
    parsed = parse_bot_url(url)
    return parsed.scheme, parsed.host, parsed.port


def checked_credentials(engine: str, raw: Mapping[str, Any] | None, *, hosted: bool) -> Credential | None:
    """Typed credentials. Raises 422 naming the field, never a value.

    The token or password of a bot that we run guards a port that we publish: it may not be a few letters.
    """
    if raw is None:
        return None
    try:
        credential = decode_credentials(engine, raw)
    except CredentialError as error:
        field = error.field if error.field in {"engine", "credentials"} else f"credentials.{error.field}"
        raise unacceptable(field, error.message, code=error.code) from error
    if hosted and len(credential.secret) < SHORTEST_HOSTED_TOKEN:
        raise unacceptable(
            f"credentials.{credential.__struct_fields__[-1]}",
            f"must have at least {SHORTEST_HOSTED_TOKEN} characters",
            code="credentials_invalid",
        )
    return credential


def checked_engine_config(engine: str, raw: Mapping[str, Any] | str | None) -> EngineConfig | None:
    """A family's public configuration. Raises 422 naming the field."""
    try:
        return decode_config(family_of(engine), raw)
    except ConfigError as error:
        field = f"engine_config.{error.field}" if error.field else "engine_config"
        raise unacceptable(field, error.message, code="engine_config_invalid") from error


def check_fits(config: EngineConfig | None, credential: Credential | None) -> None:
    """Whether they go together. Raises 422 naming the field of the credential that does not."""
    if misfit := check_together(config, credential):
        raise unacceptable(f"credentials.{misfit[0]}", misfit[1], code="credentials_invalid")


def checked_config(engine: str, config: Mapping[str, Any] | None, *, alone: bool) -> bytes | None:
    """A private configuration as it is sealed. Raises 422 where it is too large, or cannot work with its engine.

    ``alone`` tells that there is no template to say the rest.
    """
    if config is None:
        return None
    if engine == "freqtrade":
        freqtrade_config.check_part(config)
        if alone:
            freqtrade_config.check_whole(config)
    encoded = msgspec.json.encode(config)
    if len(encoded) > CONFIG_LIMIT:
        raise unacceptable("config", f"is larger than {CONFIG_LIMIT // 1024} KiB", code="config_too_large")
    return encoded


def check_shape(data: CreateBot) -> None:
    """Which fields go together. Raises 422 naming the one that does not fit."""
    if data.engine not in ENGINES:
        raise unacceptable("engine", f"is not one of {', '.join(sorted(ENGINES))}", code="engine_unknown")
    if data.bot_type == "external":
        if data.api_url is None:
            raise unacceptable("api_url", "is required for an external bot: where its API answers")
        if data.credentials is None:
            raise unacceptable("credentials", f"are required for an external bot: {_credential_fields(data.engine)}")
        for field in ("template_id", "config", "crash_policy", "on_stop"):
            if getattr(data, field) is not None:
                raise unacceptable(field, "is for bots that we run; leave it out for an external one")
        return
    if data.engine not in HOSTED_ENGINES:
        raise unacceptable(
            "engine",
            f"we run bots of {', '.join(HOSTED_ENGINES)}; register others as external",
            code="engine_not_hosted",
        )
    for field in ("api_url", "engine_config"):
        if getattr(data, field) is not None:
            raise unacceptable(field, _OURS[field])
    if data.engine == "freqtrade" and data.template_id is None and data.config is None:
        raise unacceptable(
            "config", "is required for a freqtrade bot without a template: freqtrade's own, with strategy_source"
        )
    if data.bot_type == "shared" and data.template_id is None:
        raise unacceptable("template_id", "is required for a shared bot: which template its followers subscribe to")


def _credential_fields(engine: str) -> str:
    fields = msgspec.structs.fields(ENGINES[engine])
    if not any(field.required for field in fields):
        return "send an empty object where the bot asks for none"
    return ", ".join(field.name for field in fields)
