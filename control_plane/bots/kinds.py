"""Words and rules of bots, apart from the tables: an agent needs these alone, and models load half of the web tier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.engines.family import Action

BOT_TYPES: Final = ("external", "shared", "platform")
#: Bots that we run as containers.
HOSTED_TYPES: Final = ("shared", "platform")

#: The trading states that can be wished for, by the action that leads there.
STATE_OF: Final[Mapping[Action, str]] = {"start": "running", "stop": "stopped", "pause": "paused"}
ACTION_OF: Final[Mapping[str, Action]] = {state: action for action, state in STATE_OF.items()}
#: Seconds from a wish until it must have shown in the bot's state; after that nobody acts on it any more.
CONFIRM_WITHIN_S: Final = 60.0
#: Why a wish was given up that nobody has seen to.
NOBODY: Final = "Nobody has answered for it: the part of TradeWise that calls bots is away, or has not reached it."
#: For how long at most a bot that asks for fewer calls is left alone, in seconds: a longer wish would blind us.
LONGEST_REST_S: Final = 3600.0
#: How long one look at a bot may take, all its calls together, in seconds.
LONGEST_LOOK_S: Final = 20.0


def stale_after_s(interval_s: float) -> float:
    """How old what was seen may be before it is said that nobody looks: three intervals and a little.

    It is of the moment at which its look began, and the next one may only begin when that has ended. So with a short
    interval it is the time of two looks at a bot that hangs: else a poller that waits for it would be called away.
    """
    return max(3 * interval_s + 10.0, interval_s + 2 * LONGEST_LOOK_S)
