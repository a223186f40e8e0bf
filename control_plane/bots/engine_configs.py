"""Changes of how a bot is asked: its credential and its public configuration, which have to go together."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row

from control_plane.bots.intake import check_fits, checked_credentials, checked_engine_config
from control_plane.bots.kinds import HOSTED_TYPES
from control_plane.bots.schemas import PatchBot
from control_plane.engines.configs import encode_config
from control_plane.errors import unacceptable
from control_plane.security.credentials import Credential


def changed_credential(row: Row[Any], data: PatchBot) -> Credential | None:
    """The new credential, where there is one. Raises 422."""
    if data.credentials is msgspec.UNSET:
        return None
    credential = checked_credentials(row.engine, data.credentials, hosted=row.bot_type in HOSTED_TYPES)
    if data.engine_config is msgspec.UNSET and row.bot_type not in HOSTED_TYPES:
        check_fits(checked_engine_config(row.engine, row.engine_config), credential)
    return credential


def changed_engine_config(row: Row[Any], data: PatchBot, credential: Credential | None) -> dict[str, str]:
    """The columns of another public configuration; empty where it is the same. Raises 422.

    One that wants another kind of credential comes with it: the stored one can be opened by nobody here, to be asked.
    """
    if data.engine_config is msgspec.UNSET:
        return {}
    if row.bot_type in HOSTED_TYPES:
        raise unacceptable("engine_config", "is for external bots; what a bot that we run shall do is its config")
    new = checked_engine_config(row.engine, data.engine_config)
    old = checked_engine_config(row.engine, row.engine_config)
    check_fits(new, credential)
    if new is None or new == old:
        return {}
    if credential is None and old is not None and new.credential_kind != old.credential_kind:
        raise unacceptable(
            "credentials", "are required: the new engine_config wants another kind", code="credentials_required"
        )
    return {"engine_config": encode_config(new), "api_part": new.part}
