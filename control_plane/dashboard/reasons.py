"""Reasons in words: what stands behind a code that an agent wrote down, and what the bot's owner can do about it.

Codes are stable and stored; words are for people and live here alone. A code without words of its own is still shown,
readably, rather than hidden. An agent's own detail replaces the general text; where such a detail ends with its remedy
(the launcher's do), none is given here.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """A state for people: a short label, a tone that styles it (never the only carrier of meaning), and a sentence."""

    label: str
    tone: str
    text: str
    remedy: str | None = None


#: A remedy of the page of a bot alone, which has its log.
_SAID_BELOW = "What it said last is below."

_REASONS: Mapping[str, tuple[str, str, str | None]] = {
    # What the poller finds when it calls a bot (agents/engines/base.py, agents/poller/).
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
        "Nothing needs doing unless it stays so; what was asked of its trading meanwhile, ask again later.",
    ),
    "engine_unknown": (
        "Unknown kind of bot",
        "The part that calls bots does not know this engine.",
        "Ask your operator to update it.",
    ),
    "config_invalid": (
        "Configuration does not fit",
        "What is stored of how this bot is to be read does not fit its kind of bot any more.",
        "Change it: the detail names the field.",
    ),
    "not_trading": (
        "Not ready yet",
        "The bot answers, but has not come up to what it was told yet.",
        "Wait for it to load its markets; if it stays so, its log says why.",
    ),
    "recovering": (
        "Well again",
        "The last look found the bot well again. One more that does, and it counts as well.",
        None,
    ),
    # What is wrong with a bot that answers (agents/poller/trouble.py).
    "loop_stalled": (
        "Trading stands still",
        "The bot answers, but its trading loop does not turn: it neither enters nor exits.",
        "Read its log; if nothing there explains it, restart the bot. What it has open is not tended meanwhile.",
    ),
    "exchange_unreachable": (
        "Cut off from its exchange",
        "The bot answers, but has no prices for its open positions: its exchange does not answer it.",
        "Look whether the exchange is in maintenance, and whether the bot's machine reaches it. Its figures are "
        "unknown meanwhile, not zero.",
    ),
    "clock_skew": (
        "Its clock differs",
        "The bot's clock is behind ours by minutes. Its trading goes on; ages that it tells are wrong by as much.",
        "Set the clock of its machine, best by a time service: exchanges refuse orders from clocks that are off.",
    ),
    "secret_unreadable": (
        "Secret cannot be opened",
        "The stored credentials or configuration of this bot cannot be opened.",
        "Other bots are not affected.",
    ),
    # What the launcher meets when it runs one (agents/launcher/).
    "image_missing": (
        "Image missing",
        "The program image of this bot is not on the machine that should run it. Ask your operator to provide it, then "
        "start the bot again.",
        None,
    ),
    "image_not_allowed": (
        "Image not allowed",
        "The program image of this bot is not on the operator's list. Choose another, or ask your operator to allow "
        "this one.",
        None,
    ),
    "containment_unavailable": (
        "Cannot be kept apart",
        "The firewall that keeps bots from what they must not reach could not be set up, so nothing starts. Tell your "
        "operator; we try again by ourselves.",
        None,
    ),
    "disk_full": (
        "Stores too much",
        "The bot stores more than the plan allows and was ended. Ask your operator for a larger plan, or start one "
        "that stores less.",
        None,
    ),
    "port_conflict": (
        "No free port",
        "The bot could not be reached at a port of the machine: other programs have the ports that are set aside for "
        "bots, or the engine lost the bot's own. It is tried again by itself. If it stays so, ask your operator.",
        None,
    ),
    "account_in_use": (
        "Account in use",
        "Another bot trades on the same exchange account. This one starts by itself as soon as that one has ended.",
        None,
    ),
    "orders_unconfirmed": (
        "Orders unconfirmed",
        "The bot was ended before it confirmed that its orders are cancelled. Look at its exchange account for what is "
        "still open.",
        None,
    ),
    "launch_failed": (
        "Could not be started",
        "The container engine refused to start the bot.",
        "Start it again. If it stays so, ask your operator.",
    ),
    "config_rejected": (
        "Configuration refused",
        "The bot did not accept its configuration and ended at once.",
        "Remove the bot and register it again with a corrected configuration.",
    ),
    "start_timeout": (
        "Did not become ready",
        "The bot was started but did not answer in time.",
        "Read what it said last, then start it again.",
    ),
    "exited": (
        "Ended by itself",
        "The bot ended, and its crash policy does not let us start it again. Start it again yourself, or change its "
        "crash policy.",
        _SAID_BELOW,
    ),
    "oom": (
        "Out of memory",
        "The bot twice used more memory than its plan allows and was ended. Let it use less, or take a larger plan, "
        "then start it again.",
        _SAID_BELOW,
    ),
    "liveness": (
        "Did not answer",
        "The bot ran, but answered no checks for minutes, so it was ended to be started again.",
        "Read what it said last.",
    ),
    "killed": (
        "Ended by force",
        "The bot did not end in time when it was asked to, so it was ended by force.",
        "Check at your exchange what it left open.",
    ),
    "stuck_stopping": (
        "Does not end",
        "The bot does not end, not even by force. Ask your operator to look at the container engine.",
        None,
    ),
    "restarting": ("Starting again", "The bot ended by itself. We start it again.", None),
    "crash_loop": (
        "Keeps ending",
        "The bot ended again and again soon after its start, so we start it no more. Correct the cause, then start it "
        "again.",
        _SAID_BELOW,
    ),
    "platform_stopped": (
        "Stopped with TradeWise",
        "TradeWise itself was stopped. The bot starts again together with it.",
        None,
    ),
    "tenant_suspended": (
        "Suspended",
        "The tenant is suspended, so its bots rest. This one starts again when the tenant is resumed.",
        None,
    ),
    "template_withdrawn": (
        "Template withdrawn",
        "Whoever made its template has withdrawn from TradeWise. Cancel the subscription, or delete the bot.",
        None,
    ),
    # What becomes of a wish about trading (control_plane/bots/trading.py, agents/poller/steer.py).
    "not_confirmed": (
        "Not confirmed",
        "The bot was asked, and has not shown since that it did it.",
        "Look at the bot itself before you rely on it, then ask again.",
    ),
    "control_refused": (
        "The bot refuses",
        "The bot answers that it cannot do this.",
        "Its own log says why. Nothing was changed.",
    ),
    "superseded": (
        "No longer wanted",
        "The bot was stopped, changed or removed before it was asked.",
        None,
    ),
    # What else is worth knowing of a bot (control_plane/bots/warnings.py).
    "same_process": (
        "Registered twice",
        "Another bot of yours is the same process: both show the same figures, and are counted twice.",
        "Remove one of the two, or correct the address of the one that should lead elsewhere.",
    ),
    "counter_reset": (
        "Began anew",
        "The bot told fewer closed trades than before, or another beginning: it runs on another database now.",
        "Nothing needs doing if that was meant; its curve goes on without a jump.",
    ),
    # What follows from not knowing (control_plane/bots/status.py).
    "not_checked_lately": (
        "Not checked lately",
        "The last reading is too old to be trusted; the figures are those of that time.",
        "Nothing needs doing unless it stays so: then ask your operator whether the poller runs.",
    ),
    "engine_unreachable": (
        "Container engine away",
        "The machine that runs the bots does not answer at the moment.",
        "Nothing is started twice; what runs goes on running. Ask your operator if it stays so.",
    ),
}


def reason_words(code: str | None, detail: str | None = None) -> Words | None:
    """Words for a reason code, `None` for none. What an agent wrote down itself replaces the general sentence."""
    if code is None:
        return None
    title, text, remedy = _REASONS.get(code, (readable(code), "The last attempt did not succeed.", None))
    return Words(label=title, tone="bad", text=detail or text, remedy=remedy)


def remedy_of(code: str | None) -> str | None:
    """What the bot's owner can do about a reason; None where there is nothing to do, or no words."""
    return None if code is None or code not in _REASONS else _REASONS[code][2]


def readable(code: str) -> str:
    """A code that has no words of its own, made readable."""
    return code.replace("_", " ").capitalize()


def message_of(code: str | None) -> str | None:
    """What a message tells of a reason, and what can be done about it; None where it has no words."""
    if code is None or code not in _REASONS:
        return None
    _, text, remedy = _REASONS[code]
    return text if remedy in {None, _SAID_BELOW} else f"{text} {remedy}"
