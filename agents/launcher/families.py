"""Bot families that we host: which image runs, and what its program is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias
from uuid import UUID

import msgspec

from agents.launcher import freqtrade_document, handover
from agents.launcher.handover import Opened
from control_plane.settings import Settings

CashFlows: TypeAlias = Iterable[Mapping[str, str]]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One family."""

    image: Callable[[Settings], str]
    """The image where neither the template nor the bot names one."""
    document: Callable[[UUID, Opened, CashFlows], bytes]
    """The hand-over document, on one line."""
    ready_state: Callable[[Opened], str | None]
    """The trading state in which a copy counts as started; None where an answer is enough."""


FAMILIES: Final[Mapping[str, Family]] = {
    "tradewise": Family(
        image=lambda settings: settings.paper_bot_image,
        document=handover.document,
        ready_state=lambda _opened: None,
    ),
    "freqtrade": Family(
        image=lambda settings: settings.freqtrade_image,
        document=freqtrade_document.document,
        ready_state=freqtrade_document.ready_state,
    ),
}
