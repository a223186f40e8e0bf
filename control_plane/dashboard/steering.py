"""A bot's trading in words: what it can be told, and how it stands with what was wished of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from control_plane.dashboard.reasons import Words, reason_words
from control_plane.dashboard.wording import read

#: What a bot's trading can be told: the action, its button, and what to say first where it can cost money.
_TRADING: Final = (
    ("start", "Start trading", "It opens positions again, with the money that it has."),
    ("pause", "Pause trading", None),
    ("stop", "Stop trading", "It makes no more orders, not even to exit: nobody tends what it has open."),
)
_ASKED: Mapping[str, str] = {"running": "start", "paused": "pause", "stopped": "stop"}


def trading_actions(bot: Any) -> tuple[tuple[str, str, str | None], ...]:
    """What the bot's trading can be told: action, label, and the sentence to confirm where it can cost money."""
    trading, health = read(bot, "trading"), read(bot, "health")
    offered = read(trading, "actions") or ()
    if read(bot, "status") not in {"running", "connected"}:
        return ()
    simulated = read(health, "simulated") is True
    answered = read(trading, "confirmed_at") is not None or read(trading, "problem") is not None
    under_way = read(trading, "wanted") is not None and not answered
    # What it does already needs no button, unless something else was just wished.
    already = None if under_way else _ASKED.get(str(read(health, "trading_state")))
    return tuple(
        (action, label, None if simulated and action == "start" else sentence)
        for action, label, sentence in _TRADING
        if action in offered and action != already
    )


def trading_words(bot: Any) -> Words | None:
    """How it stands with what was wished of the bot's trading; nothing where its state shows it."""
    trading = read(bot, "trading")
    wanted, problem = read(trading, "wanted"), read(trading, "problem")
    if wanted is None:
        return None
    verb = _ASKED.get(str(wanted), str(wanted))
    if problem is not None:
        why = reason_words(str(problem), read(trading, "problem_detail"))
        text = "" if why is None else why.text
        return Words(f"To {verb} its trading: not confirmed", "bad", text, read(trading, "remedy"))
    if read(trading, "confirmed_at") is None:
        return Words(f"To {verb} its trading: under way", "busy", "It counts as done when its own state shows it.")
    return None


def reason_label(code: str) -> str:
    """The short name of a reason, for what has its sentence elsewhere."""
    found = reason_words(code)
    return "" if found is None else found.label
