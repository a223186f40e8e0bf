"""States, events and scopes in words: what a page says about a bot, and what can be asked of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from control_plane.bots.kinds import HOSTED_TYPES
from control_plane.dashboard.reasons import Words, readable, reason_words

_UNCONFIRMED: Final = "orders_unconfirmed"

_STATUSES: Mapping[str, tuple[str, str, str]] = {
    "inactive": ("Stopped", "idle", "The bot is not running."),
    "starting": ("Starting", "busy", "The bot is being started."),
    "running": ("Running", "good", "The bot is running and answers its checks."),
    "stopping": ("Stopping", "busy", "The bot is finishing its work and stops."),
    "connected": ("Connected", "good", "The bot answers and accepts our credentials."),
}

#: What may be wrong with a bot that answers its checks, with its tone.
_ANSWERING: Mapping[str, str] = {"loop_stalled": "bad", "exchange_unreachable": "bad", "recovering": "busy"}

_EVENTS: Mapping[str, tuple[str, str]] = {
    "registered": ("Registered", "good"),
    "changed": ("Changed", "idle"),
    "start": ("Start asked for", "busy"),
    "stop": ("Stop asked for", "busy"),
    "restart": ("Restart asked for", "busy"),
    "deleted": ("Removed", "idle"),
    "drain": ("Winds its trading down", "busy"),
    "drained": ("Has wound its trading down", "good"),
    "subscription_cancelled": ("Its subscription was cancelled", "idle"),
    "counter_reset": ("Began anew", "warn"),
    "trading_confirmed": ("Trading changed, as wished", "good"),
}

_SCOPES: Mapping[str, str] = {
    "bots:read": "See bots and their figures",
    "bots:write": "Register, change, start and stop bots",
    "bots:redirect": "Send a bot's stored credentials to another address",
    "templates:read": "See templates and the marketplace",
    "templates:write": "Make, change and publish templates",
    "subscriptions:read": "See subscriptions and what they are worth",
    "subscriptions:write": "Subscribe, pause, resume and cancel",
    "keys:read": "See which API keys there are",
    "keys:write": "Make, rotate and revoke API keys",
    "alerts:read": "See alerts, and whom they are told to",
    "alerts:write": "Say which alerts are told, and to whom",
}

#: What may be chosen for a bot that we run, the usual first: the value, its name, and what it means.
CRASH_CHOICES: Final = (
    (
        "on_failure",
        "After a failure",
        "It is started again where it ended in error, and stays ended where it ended in good order.",
    ),
    ("always", "Always", "It is started again however it ended."),
    ("never", "Never", "It stays ended until you start it again yourself."),
)
STOP_CHOICES: Final = (
    (
        "keep",
        "Keep positions",
        "Its open orders are cancelled. Its positions stay, and nobody tends them until it runs again.",
    ),
    (
        "close",
        "Close positions",
        "Its open orders are cancelled and its positions are sold at the market. A restart keeps them all the same.",
    ),
)

#: Where a tenant's bots may connect to, as it may be chosen.
REACH_CHOICES: Final = (
    ("public", "The internet", "Every public IPv4 address, at every port."),
    ("listed", "Only what you list", "The addresses that you name, and no others."),
    ("none", "Nothing", "No address at all, and no name is resolved."),
)

#: Whether the rules of what bots may reach are enforced, by what their guard says.
_GUARDS: Mapping[str, tuple[str, str]] = {
    "holds": ("Enforced", "good"),
    "unknown": ("Not confirmed", "warn"),
    "failed": ("Could not be set up", "bad"),
    "off": ("Not enforced", "bad"),
}

_CAUSES = {"person": "by a person", "key": "by an API key", "agent": "by TradeWise", "system": "by TradeWise"}


def bot_words(bot: Any) -> Words:
    """Say in one label and one sentence how a bot is, with the remedy where something is wrong.

    `bot` is a bot as `GET /bots/{id}` reads: an object or a mapping.
    """
    status, health = str(read(bot, "status")), read(bot, "health")
    if status == "error":
        found = reason_words(read(bot, "reason") or read(health, "reason"), _detail(bot))
        return found or Words("Error", "bad", "The bot is in error and gave no reason.")
    label, tone, text = _STATUSES.get(status, (readable(status), "idle", ""))
    if status == "inactive" and not is_hosted(bot):
        return _unconnected(bot)
    if status not in {"running", "connected"}:
        return _underway(bot, Words(label, tone, text))
    return _qualified(label, tone, text, health, read(read(bot, "trading"), "state"))


def _underway(bot: Any, plain: Words) -> Words:
    """A hosted bot that is stopped or on its way, with the reason that the launcher gives for it."""
    why = reason_words(read(bot, "reason"), _detail(bot))
    if why is None:
        return plain
    warns = read(bot, "status") == "starting" or read(bot, "reason") == _UNCONFIRMED
    tone = "warn" if warns else plain.tone
    return Words(why.label, tone, why.text, why.remedy)


def _qualified(label: str, tone: str, text: str, health: Any, newest: str | None) -> Words:
    """A bot that is up, with what its last checks say against it. ``newest`` is what it said of its trading since."""
    state, trading = read(health, "state"), newest or read(health, "trading_state")
    if state == "unhealthy":
        why = reason_words(read(health, "reason"), read(health, "detail"))
        if why and read(health, "reason") in _ANSWERING:
            return Words(why.label, _ANSWERING[read(health, "reason")], why.text, why.remedy)
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
    if hosted and not wanted and read(bot, "status") == "stopping":
        return (("start", "Start"), ("stop-now", "Stop at once"))
    if not wanted:
        return (("start", "Start" if hosted else "Watch"),)
    if hosted and read(bot, "status") == "error":
        return (("restart", "Start again"), ("stop", "Leave it stopped"))
    if hosted:
        return (("stop", "Stop"), ("restart", "Restart"), ("ping", "Check now"))
    return (("ping", "Check now"), ("stop", "Stop watching"))


def cause_words(cause: str) -> str:
    """Words for who or what caused an event."""
    return _CAUSES.get(cause, readable(cause).lower())


def event_words(event: Any) -> Words:
    """Say what happened in one line of a bot's history, with the sentence that belongs to it."""
    kind, status = str(read(event, "kind")), read(event, "to_status")
    if kind == "trading":
        return Words(f"Asked to {read(event, 'reason')} its trading", "busy", "")
    if kind == "trading_not_confirmed":
        why = reason_words(read(event, "reason"), read(event, "detail"))
        return Words("Trading not changed, or not confirmed", "bad", "" if why is None else why.text)
    if kind == "drain":
        told = reason_words(read(event, "reason"), read(event, "detail"))
        return told or Words(*_EVENTS[kind], str(read(event, "detail") or ""))
    if status is None:
        label, tone = _EVENTS.get(kind, (readable(kind), "idle"))
        detail = read(event, "reason") if kind == "changed" else read(event, "detail")
        return Words(label, tone, str(detail).replace("_", " ").capitalize() if detail else "")
    label, tone, _ = _STATUSES.get(status, (readable(status), "bad" if status == "error" else "idle", ""))
    why = reason_words(read(event, "reason"), read(event, "detail"))
    if why is None:
        return Words(label, tone, str(read(event, "detail") or ""))
    # Connected, with something wrong about its trading.
    return Words(why.label, "warn" if status == "connected" else tone, why.text)


def copy_words(copy: Any) -> str:
    """How one copy of a hosted bot is, or how it ended."""
    if read(copy, "finished_at") is None:
        return "Runs" if read(copy, "state") == "running" else "Is being made"
    code = read(copy, "exit_code")
    if read(copy, "oom_killed"):
        return "Ended: it used more memory than it is allowed"
    if code is None:
        return "Ended: removed, or never started"
    return f"Ended by signal {code - 128}" if code > 128 else f"Ended with exit code {code}"


def orders_warning(bot: Any) -> Words | None:
    """A warning where the last copy ended without having shown that no order of it is open; none if the state tells."""
    if read(bot, "orders_unconfirmed") is not True or read(bot, "reason") == _UNCONFIRMED:
        return None
    return reason_words(_UNCONFIRMED)


def choice_words(value: str, choices: tuple[tuple[str, str, str], ...]) -> str:
    """The name of what was chosen, inside of a sentence."""
    return next((name.lower() for known, name, _ in choices if known == value), readable(value).lower())


def guard_words(egress: Any) -> Words:
    """Say whether the rules of what bots may reach hold; `egress` as `GET /tenants/{id}/egress` reads."""
    guard = str(read(egress, "guard"))
    if guard == "holds" and not read(egress, "applied"):
        return Words("Being applied", "busy", "The rules are on their way to the firewall. They hold within seconds.")
    label, tone = _GUARDS.get(guard, (readable(guard), "warn"))
    return Words(label, tone, str(read(egress, "note") or ""))


def scope_words(scope: str) -> str:
    """What a key with this scope may do."""
    return _SCOPES.get(scope, readable(scope.replace(":", " ")))


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
