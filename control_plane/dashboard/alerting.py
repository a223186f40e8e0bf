"""Alerts in words: kinds, states of channels and messages, and what went wrong on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from control_plane.alerts.schemas import ChannelView, IncidentView
from control_plane.dashboard.reasons import Words

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "bot_down": ("Bot down", "It does not answer, or what we run for you has ended in error."),
    "credential_expired": ("Credentials refused", "It answers, and does not accept the credentials any more."),
    "trading_stopped": ("Trading stopped", "It runs, and has stopped or paused trading that it had been doing."),
    "drawdown": ("Drawdown", "Its own index has fallen too far below the highest value that it has had."),
    "not_watched": ("Not watched", "TradeWise itself has not been able to look at it."),
}
CHANNELS: Final[Mapping[str, str]] = {"webhook": "Webhook", "email": "E-mail", "telegram": "Telegram"}
TYPES: Final[Mapping[str, str]] = {
    "incident.opened": "Incident",
    "incident.reopened": "Incident, again",
    "incident.resolved": "Over",
    "incident.reminder": "Reminder",
    "incidents.summary": "Summary",
    "channel.test": "Test",
    "channel.code": "Code",
    "channel.disabled": "A channel was given up",
}
_ERRORS: Final[Mapping[str, str]] = {
    "timeout": "no answer in time",
    "unreachable": "nothing answers there",
    "redirected": "it redirects elsewhere",
    "egress_refused": "an address that may not be called",
    "too_large": "its answer's head is too long",
    "bad_payload": "what answers there does not speak HTTP",
    "not_sent": "TradeWise could not send it just now",
    "cannot_open": "its secret cannot be opened",
    "channel_off": "the channel was switched off before",
    "no_verified_address": "the member has left, or has no verified address",
    "platform_key_pending": "no key to seal mails with yet",
    "chat_not_found": "the bot knows no such chat",
    "chat_closed": "the bot was blocked or removed there",
    "telegram_not_set_up": "the operator has set up no Telegram bot",
    "telegram_token_unreadable": "the operator's Telegram token cannot be read",
    "telegram_unreachable": "Telegram cannot be reached",
    "failing": "nothing got through for three days",
    "gone": "it answered 410 Gone",
}
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "pending": ("On its way", "busy"),
    "held": ("Held in quiet hours", "idle"),
    "summarised": ("In a summary", "idle"),
    "sent": ("Sent", "good"),
    "failed": ("Given up", "bad"),
    "delivered": ("Delivered", "good"),
    "again": ("To be tried again", "warn"),
}


def error_words(error: str | None) -> str | None:
    """Why a message did not go."""
    if error is None:
        return None
    status = error.partition("_")[2]
    if error.startswith("http_") and status.isdigit():
        return f"it answered {status}"
    return _ERRORS.get(error, error.replace("_", " "))


def state_words(state: str) -> Words:
    """The state of a message, or the outcome of a try."""
    label, tone = _STATES.get(state, (state, "idle"))
    return Words(label, tone, "")


def channel_words(channel: ChannelView) -> Words:
    """Whether a channel tells anybody anything."""
    if not channel.verified:
        return Words("Waits for its code", "warn", "")
    if channel.disabled_at is not None:
        return Words(f"Given up: {error_words(channel.disabled_reason)}", "bad", "")
    if not channel.enabled:
        return Words("Off", "idle", "")
    if channel.failing_since is not None:
        return Words("Fails of late", "warn", "")
    return Words("On", "good", "")


def incident_words(incident: IncidentView) -> Words:
    """Whether an incident goes on."""
    if incident.state == "closed":
        return Words("Over", "idle", "")
    return Words("Open", "bad" if incident.severity == "critical" else "warn", "")


FILTERS: Final[Mapping[str, Any]] = {
    "alert_kind": lambda kind: KINDS[kind][0],
    "alert_kind_text": lambda kind: KINDS[kind][1],
    "channel_kind": lambda kind: CHANNELS[kind],
    "message_type": lambda kind: TYPES.get(kind, kind),
    "error_words": error_words,
    "state_words": state_words,
    "channel_words": channel_words,
    "incident_words": incident_words,
}
