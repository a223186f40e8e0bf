"""What `tradewise up` hands to the API process alone."""

from __future__ import annotations

from control_plane.identity.telegram import login_key_of
from control_plane.settings import PREFIX, Settings


def web_tier_secrets(settings: Settings) -> dict[str, str]:
    """Variables for the API: its data key, and what follows from Telegram's token, which could act as the bot."""
    given = {"DATA_KEY_FILE": str(settings.effective_data_key_file.resolve())}
    if settings.data_key is not None:
        given = {"DATA_KEY": settings.data_key, "DATA_KEY_PREVIOUS": ",".join(settings.data_key_previous)}
    if settings.telegram_login_key is not None:
        given["TELEGRAM_LOGIN_KEY"] = settings.telegram_login_key
    elif settings.telegram_bot_token is not None:
        given["TELEGRAM_LOGIN_KEY"] = login_key_of(settings.telegram_bot_token).hex()
    return {f"{PREFIX}{name}": value for name, value in given.items()}
