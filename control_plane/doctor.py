"""``tradewise doctor``: one line for each part that must be right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from control_plane.database.check import database_faults, role_faults
from control_plane.database.embedded import EmbeddedServer, EmbeddedServerError
from control_plane.database.logins import has_logins, login_url
from control_plane.database.roles import API
from control_plane.database.urls import without_password
from control_plane.database.visit import DatabaseUnreachableError, visiting
from control_plane.security.keyproviders import KeyProviderError
from control_plane.settings import Settings, SettingsError

EngineReport = Callable[[], tuple[bool, str]]
ContainmentReport = Callable[[Settings], tuple[bool, str]]
KeysReport = Callable[[Settings], Awaitable[str]]


async def examine(
    read: Callable[[], Settings],
    engine: EngineReport,
    containment: ContainmentReport,
    keys: KeysReport,
    tell: Callable[[str], None],
) -> bool:
    """Tell what is right and what is not, with the remedy. Returns whether nothing is wrong."""
    try:
        settings = read()
    except SettingsError as error:
        tell(f"FAULT  configuration  {error}")
        return False
    tell("ok     configuration  every TRADEWISE_ variable is understood")
    verdicts = [*await _database(settings), await _keys(settings, keys), _engine(engine)]
    if verdicts[-1][0]:
        good, words = containment(settings)
        verdicts.append((good, "containment", words))
    for good, name, words in verdicts:
        tell(f"{'ok    ' if good else 'FAULT '} {name:<14} {words}")
    return all(good for good, _, _ in verdicts)


async def _database(settings: Settings) -> list[tuple[bool, str, str]]:
    try:
        url = _api_url(settings)
    except EmbeddedServerError as error:
        return [(False, "database", str(error))]
    try:
        async with visiting(url) as connection:
            faults = await database_faults(connection)
            role = await role_faults(connection)
    except DatabaseUnreachableError as error:
        return [(False, "database", str(error))]
    return [
        (True, "database", f"{without_password(url)} answers"),
        (not faults, "policies", "; ".join(faults) or "schema and policies are as this program carries them"),
        (not role, "database role", "; ".join(role) or "bound by row-level security"),
    ]


def _api_url(settings: Settings) -> str:
    if settings.database_url is None:
        return EmbeddedServer(settings.data_dir).url(API)
    # `up` is given an administrator's connection and makes the API's own from it; alone, the API is given its own.
    if has_logins(settings.data_dir):
        return login_url(settings.database_url, settings.data_dir, API)
    return settings.database_url


async def _keys(settings: Settings, ready: KeysReport) -> tuple[bool, str, str]:
    # Handed in, because a provider may speak HTTP; it is tried with something that is no secret.
    try:
        words = await ready(settings)
    except KeyProviderError as error:
        return False, "key provider", str(error)
    return True, "key provider", f"{settings.key_provider}: {words}"


def _engine(engine: EngineReport) -> tuple[bool, str, str]:
    good, words = engine()
    return good, "engine", words
