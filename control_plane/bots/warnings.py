"""What is worth knowing of a bot that is well: that it is registered twice, began anew, or has another time than we."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from control_plane.bots.schemas import WarningView
from control_plane.dashboard.reasons import reason_words

_RESETS_FOR: Final = timedelta(days=1)
_CLOCK_SKEW: Final = "clock_skew"


def resets_since(now: datetime) -> UUID:
    """The least id that an event of the last day can have: ids begin with the time at which they were made."""
    milliseconds = int((now - _RESETS_FOR).timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (0x2 << 62))


def warnings_view(row: Row[Any], health_reason: str | None) -> list[WarningView]:
    """The warnings of one bot, out of the columns that its query has for them."""
    found = [
        _warning("same_process", f"It is the same process as your bot “{twin['name']}”.", bot_id=UUID(twin["id"]))
        for twin in row.twins or ()
    ]
    if row.reset_at is not None:
        found.append(_warning("counter_reset", row.reset_detail, at=row.reset_at))
    if health_reason == _CLOCK_SKEW:
        found.append(_warning(_CLOCK_SKEW, row.health_detail, at=row.observed_at))
    return found


def _warning(code: str, detail: str | None, *, bot_id: UUID | None = None, at: datetime | None = None) -> WarningView:
    words = reason_words(code, detail)
    return WarningView(
        code=code,
        bot_id=bot_id,
        detail="" if words is None else words.text,
        remedy=None if words is None else words.remedy,
        at=at,
    )
