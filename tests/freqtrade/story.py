"""A freqtrade that a person has registered, and all that TradeWise has ever said of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from tests.api import Person
from tests.waiting import until

#: Seconds between two looks in these tests.
INTERVAL_S: Final = 1.0
#: A look is due within an interval and its tenth, is written within two seconds, and the machine has other work.
ONE_LOOK_S: Final = 1.1 * INTERVAL_S + 4.0
#: Three looks that fail at once.
THREE_LOOKS_S: Final = 3 * 1.1 * INTERVAL_S + 4.0
#: Three looks that each wait for an answer until they give up.
THREE_WAITS_S: Final = 3 * (1.1 * INTERVAL_S + 10.0) + 4.0
#: What the simulated account holds, and how far prices may have carried it in a test.
WALLET: Final = Decimal(5000)
_DRIFT: Final = Decimal(150)


class Change(msgspec.Struct, frozen=True):
    """One line of a history: what it says, and why."""

    state: str
    reason: str | None = None
    trading_state: str | None = None


CONNECTED: Final = Change("connected")


class Story:
    """One registration."""

    def __init__(self, person: Person, bot_id: str, admin: asyncpg.Connection) -> None:
        self.person = person
        self.bot_id = bot_id
        self.admin = admin

    async def view(self) -> dict[str, Any]:
        """The bot as its owner sees it."""
        shown: dict[str, Any] = await self.person.call("GET", f"/bots/{self.bot_id}", status=200)
        return shown

    async def until(self, holds: Callable[[dict[str, Any]], bool], what: str, *, within_s: float) -> dict[str, Any]:
        """Wait until its owner sees what is wanted, in time."""

        seen: list[dict[str, Any]] = []

        async def there() -> bool:
            seen[:] = [await self.view()]
            return holds(seen[0])

        await until(there, deadline_s=within_s, every_s=0.1, what=what)
        return seen[0]

    async def until_status(self, status: str, reason: str | None = None, *, within_s: float) -> dict[str, Any]:
        """Wait until it has this status for this reason."""
        return await self.until(
            lambda view: (view["status"], view["reason"]) == (status, reason), f"{status} ({reason})", within_s=within_s
        )

    async def until_trading(self, state: str, *, within_s: float = ONE_LOOK_S) -> dict[str, Any]:
        """Wait until it is told to trade, to be stopped or to be paused."""
        return await self.until(lambda view: view["health"]["trading_state"] == state, state, within_s=within_s)

    async def ping(self) -> dict[str, Any]:
        """What a look at it now tells."""
        shown: dict[str, Any] = await self.person.call("POST", f"/bots/{self.bot_id}/ping", status=200)
        return shown

    async def until_looked(self, times: int, *, within_s: float) -> None:
        """Wait until so many more looks have ended."""
        for _ in range(times):
            seen = (await self.view())["health"]["observed_at"]
            await self.until(
                lambda view, seen=seen: view["health"]["observed_at"] != seen,  # type: ignore[misc]
                "another look",
                within_s=within_s,
            )

    async def wish(self, action: str) -> dict[str, Any]:
        """Have TradeWise tell it to start, stop or pause its trading; how it stands with that at once."""
        path = f"/bots/{self.bot_id}/trading"
        taken: dict[str, Any] = (await self.person.call("POST", path, json={"action": action}, status=202))["trading"]
        return taken

    async def attempts(self) -> int:
        """How often it was asked for what was wished last."""
        count: int = await self.admin.fetchval(
            "select attempts from bot_trading where bot_id = $1::text::uuid", self.bot_id
        )
        return count

    async def told_of_trading(self) -> list[tuple[str, str | None, str | None, str]]:
        """Every event of a wish and of what came of it, oldest first: kind, reason, detail, who wished it."""
        rows = await self.admin.fetch(
            "select kind, reason, detail, actor from bot_events where bot_id = $1::text::uuid"
            " and kind like 'trading%' order by id",
            self.bot_id,
        )
        return [(row["kind"], row["reason"], row["detail"], row["actor"]) for row in rows]

    async def statuses(self) -> list[Change]:
        """Every status that was ever told of it, oldest first."""
        rows = await self.admin.fetch(
            "select to_status, reason from bot_events where bot_id = $1::text::uuid and kind = 'status'"
            " and cause = 'agent' order by id",
            self.bot_id,
        )
        return [Change(row["to_status"], row["reason"]) for row in rows]

    async def told_of_counters(self) -> int:
        """How often its figures were said to have begun anew."""
        count: int = await self.admin.fetchval(
            "select count(*) from bot_events where bot_id = $1::text::uuid and kind = 'counter_reset'", self.bot_id
        )
        return count

    async def changes(self) -> list[Change]:
        """Every change of its health, oldest first."""
        rows = await self.admin.fetch(
            "select state, reason, trading_state from bot_health_changes where bot_id = $1::text::uuid order by at",
            self.bot_id,
        )
        return [Change(row["state"], row["reason"], row["trading_state"]) for row in rows]

    async def identity(self) -> str:
        """Which process, by its own word, it was last seen to be."""
        identity = await self.admin.fetchval("select identity from bot_health where id = $1::text::uuid", self.bot_id)
        return str(identity)

    async def snapshots(self) -> list[asyncpg.Record]:
        """Every set of figures that was kept, oldest first."""
        return list(
            await self.admin.fetch(
                "select * from performance_snapshots where bot_id = $1::text::uuid order by observed_at", self.bot_id
            )
        )

    async def assert_never_down(self, *, looks_take_long: bool = False) -> None:
        """In the whole history nobody was ever told that it is down, or that it came back.

        A look that outlasts three of these tests' short intervals leaves a gap in what is known, and no more.
        """
        assert await self.statuses() == [CONNECTED]
        found = {change.state for change in await self.changes()}
        assert found <= ({"healthy", "unknown"} if looks_take_long else {"healthy"}), await self.changes()

    async def assert_figures_hold(self) -> None:
        """Its equity is near what it has, or unknown: never the cash alone, as if it had lost what it holds."""
        for row in await self.snapshots():
            if row["equity"] is not None:
                assert abs(row["equity"] - WALLET) < _DRIFT, dict(row)
