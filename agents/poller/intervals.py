"""How often bots are looked at: shortly, and fully, by the plan of their tenant."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from control_plane.plans import Plan, plan_of
from control_plane.settings import Settings


class Pace(msgspec.Struct, frozen=True):
    """Seconds between two looks at a bot, and between two full ones."""

    check_s: float
    reading_s: float

    @property
    def check(self) -> timedelta:
        """The same as a length of time."""
        return timedelta(seconds=self.check_s)


class Intervals:
    """The pace of every plan: its own where it has one, the installation's elsewhere."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._paces: dict[str, Pace] = {}
        self.shortest_s = min(self._made(plan).check_s for plan in settings.plans.values())

    def of(self, plan: str) -> Pace:
        """The pace of a plan, by its name."""
        pace = self._paces.get(plan)
        if pace is None:
            pace = self._paces[plan] = self._made(plan_of(self._settings.plans, plan))
        return pace

    def _made(self, plan: Plan) -> Pace:
        check = plan.poll_interval or self._settings.poll_interval
        # Every full look is a look.
        return Pace(check, max(check, plan.reading_interval or self._settings.reading_interval))
