"""States and reasons in words: what a page says about a bot, and what its owner can do about it.

Codes are stable and stored; words are for people and live here alone. A code without words of its own is still shown,
readably, rather than hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOSTED_TYPES = ("platform", "shared")


@dataclass(frozen=True, slots=True)
class Words:
    """A state for people: a short label, a tone that styles it (never the only carrier of meaning), and a sentence."""

    label: str
    tone: str
    text: str
    remedy: str | None = None


_REASONS: Mapping[str, tuple[str, str, str]] = {
    "auth": (
        "Credentials refused",
        "The bot answered, but did not accept the credentials.",
        "Check them in the bot's own configuration, then enter them here again.",
    ),
    "unreachable": (
        "Not reachable",
        "Nothing answered at the bot's address.",
        "Check that the bot is running, that its API is switched on, and that the address and port are open to us.",
    ),
    "timeout": (
        "No answer in time",
        "The address accepted the call, but no answer came in time.",
        "Check whether the bot or its machine is overloaded.",
    ),
    "egress_refused": (
        "Address not allowed",
        "The address is in a private or reserved network, which TradeWise does not call.",
        "Use a public address, or ask your operator to allow this network.",
    ),
    "bad_payload": (
        "Not this kind of bot",
        "Something answered, but not in this engine's language.",
        "Check that the chosen engine is right and that the address leads to the bot's API.",
    ),
    "http_error": (
        "Unexpected answer",
        "The address answered with an error.",
        "Check that the address leads to the bot's API, and what its own log says.",
    ),
    "rate_limited": (
        "Asked too often",
        "The bot asks for fewer calls. We slow down by ourselves.",
        "Nothing needs doing unless it stays so.",
    ),
    "image_missing": (
        "Image missing",
        "The program image of this bot is not on the machine that should run it.",
        "Ask your operator to provide the image, then start the bot again.",
    ),
    "image_not_allowed": (
        "Image not allowed",
        "The program image of this bot is not on the operator's list.",
        "Choose an image from the list, or ask your operator to allow this one.",
    ),
    "config_invalid": (
        "Configuration refused",
        "The bot did not accept its configuration and ended at once.",
        "Correct the configuration, then start the bot again.",
    ),
    "secret_unreadable": (
        "Secret cannot be opened",
        "The stored credentials or configuration of this bot cannot be opened.",
        "Enter them again. Other bots are not affected.",
    ),
    "crash_loop": (
        "Keeps crashing",
        "The bot ended again and again shortly after its start, so we stopped starting it.",
        "Read its last lines below, correct the cause, then start it again.",
    ),
    "exited": (
        "Ended unexpectedly",
        "The bot's process ended although it should run.",
        "We start it again by ourselves. If it stays so, read its last lines below.",
    ),
    "oom": (
        "Out of memory",
        "The bot used more memory than its plan allows and was ended.",
        "Reduce what it keeps in memory, or move it to a larger plan.",
    ),
    "port_conflict": (
        "No free port",
        "The port of this bot is in use by something else.",
        "We try another one by ourselves.",
    ),
    "not_checked_lately": (
        "Not checked lately",
        "The last reading is too old to be trusted; the figures are those of that time.",
        "Nothing needs doing unless it stays so: then ask your operator whether the poller runs.",
    ),
    "engine_unknown": (
        "Unknown kind of bot",
        "The part that calls bots does not know this engine.",
        "Ask your operator to update it.",
    ),
    "engine_unreachable": (
        "Container engine away",
        "The machine that runs the bots does not answer at the moment.",
        "Nothing is started twice; what runs goes on running. Ask your operator if it stays so.",
    ),
    "start_timeout": (
        "Did not become ready",
        "The bot was started but did not answer in time.",
        "Read its last lines below, then start it again.",
    ),
}

_STATUSES: Mapping[str, tuple[str, str, str]] = {
    "inactive": ("Stopped", "idle", "The bot is not running."),
    "starting": ("Starting", "busy", "The bot is being started."),
    "running": ("Running", "good", "The bot is running and answers its checks."),
    "stopping": ("Stopping", "busy", "The bot is finishing its work and stops."),
    "connected": ("Connected", "good", "The bot answers and accepts our credentials."),
}

_CAUSES = {"person": "by a person", "key": "by an API key", "agent": "by TradeWise", "system": "by TradeWise"}


def reason_words(code: str | None, detail: str | None = None) -> Words | None:
    """Words for a reason code, `None` for none. What an agent wrote down itself replaces the general sentence."""
    if code is None:
        return None
    title, text, remedy = _REASONS.get(code, (_readable(code), "The last attempt did not succeed.", None))
    return Words(label=title, tone="bad", text=detail or text, remedy=remedy)


def bot_words(bot: Any) -> Words:
    """Say in one label and one sentence how a bot is, with the remedy where something is wrong.

    `bot` is a bot as `GET /bots/{id}` reads: an object or a mapping.
    """
    status, health = str(read(bot, "status")), read(bot, "health")
    if status == "error":
        found = reason_words(read(bot, "reason") or read(health, "reason"), _detail(bot))
        return found or Words("Error", "bad", "The bot is in error and gave no reason.")
    label, tone, text = _STATUSES.get(status, (_readable(status), "idle", ""))
    if status == "inactive" and not is_hosted(bot):
        return _unconnected(bot)
    if status not in {"running", "connected"}:
        return Words(label, tone, text)
    return _qualified(label, tone, text, health)


def _qualified(label: str, tone: str, text: str, health: Any) -> Words:
    """A bot that is up, with what its last checks say against it."""
    state, trading = read(health, "state"), read(health, "trading_state")
    if state == "unhealthy":
        why = reason_words(read(health, "reason"), read(health, "detail"))
        cause = why.text if why else "Its last checks failed."
        return Words("Checks failing", "warn", cause, why.remedy if why else None)
    if state == "stale":
        why = reason_words(read(health, "reason"), read(health, "detail"))
        old = "The last reading is too old to be trusted; the figures are those of that time."
        return Words("Reading is old", "warn", why.text if why else old, why.remedy if why else None)
    if state == "unknown" or state is None:
        return Words(label, "busy", "It is up; its first check has not come back yet.")
    if trading is not None and trading != "running":
        return Words(f"Trading {trading}", "warn", f"The bot is up and answers, but its trading is {trading}.")
    return Words(label, tone, text)


def _unconnected(bot: Any) -> Words:
    """An external bot that is not connected: switched off, not yet checked, or failing its first checks."""
    health = read(bot, "health")
    if read(bot, "desired") == "stopped":
        return Words("Not watched", "idle", "Checks of this bot are switched off.")
    why = reason_words(read(bot, "reason") or read(health, "reason"), _detail(bot))
    return why or Words("Checking", "busy", "We are calling the bot for the first time.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a registration. `pending` as long as it is not known."""

    words: Words
    pending: bool


def registration_outcome(bot: Any) -> Outcome:
    """Tell what became of a bot that was just registered, from its state as agents saw it."""
    words, status = bot_words(bot), read(bot, "status")
    if is_hosted(bot):
        stopped = status == "inactive" and read(bot, "desired") == "stopped"
        if stopped:
            words = Words("Registered", "good", "The bot is registered and stopped. Start it when you are ready.")
        return Outcome(words=words, pending=not stopped and status in {"inactive", "starting", "stopping"})
    return Outcome(words=words, pending=words.tone == "busy")


def bot_actions(bot: Any) -> tuple[tuple[str, str], ...]:
    """What a person can ask of a bot in its present state: pairs of the action's path and its label."""
    hosted, wanted = is_hosted(bot), read(bot, "desired") == "running"
    if not wanted:
        return (("start", "Start" if hosted else "Watch"),)
    if hosted and read(bot, "status") == "error":
        return (("restart", "Start again"), ("stop", "Leave it stopped"))
    if hosted:
        return (("stop", "Stop"), ("restart", "Restart"), ("ping", "Check now"))
    return (("ping", "Check now"), ("stop", "Stop watching"))


def cause_words(cause: str) -> str:
    """Words for who or what caused an event."""
    return _CAUSES.get(cause, _readable(cause).lower())


def status_words(status: str) -> Words:
    """Words for a bare status, as an event records it."""
    label, tone, text = _STATUSES.get(status, (_readable(status), "bad" if status == "error" else "idle", ""))
    return Words(label, tone, text)


def is_hosted(bot: Any) -> bool:
    """Whether we run the bot ourselves, rather than call one that runs elsewhere."""
    return read(bot, "bot_type") in HOSTED_TYPES


def read(thing: Any, name: str) -> Any:
    """Read a field of an object or of a mapping; `None` where it is absent. A field named `return` may end in `_`."""
    for spelling in (name, f"{name}_"):
        found = thing.get(spelling) if isinstance(thing, Mapping) else getattr(thing, spelling, None)
        if found is not None:
            return found
    return None


def _detail(bot: Any) -> str | None:
    found = read(bot, "reason_detail") or read(read(bot, "health"), "detail")
    return str(found) if found else None


def _readable(code: str) -> str:
    return code.replace("_", " ").capitalize()
