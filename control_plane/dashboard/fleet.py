"""The figures above a list of bots."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from control_plane.dashboard.wording import bot_words, read

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Total:
    """Sums over bots of one currency and one kind of money: simulated and real money never meet in a sum."""

    currency: str
    simulated: bool
    equity: Decimal = Decimal(0)
    profit: Decimal | None = Decimal(0)
    """Realised and open profit together; `None` as soon as one bot's is not known."""
    bots: int = 0
    oldest: datetime | None = None
    """When the oldest of these figures was read."""

    def add(self, latest: Any) -> None:
        """Add the latest figures of one bot."""
        self.bots += 1
        self.equity += Decimal(read(latest, "equity"))
        read_at = read(latest, "observed_at")
        self.oldest = read_at if self.oldest is None else min(self.oldest, read_at)
        realised, still_open = read(latest, "realized_profit"), read(latest, "open_profit")
        if self.profit is None or realised is None or still_open is None:
            self.profit = None
        else:
            self.profit += Decimal(realised) + Decimal(still_open)


@dataclass(slots=True)
class FleetSummary:
    """How many bots there are, how many ask for attention, and what they hold as far as it is known."""

    bots: int = 0
    attention: int = 0
    repeated: int = 0
    """Registrations of a process that another one here is of: each process counts once in everything below."""
    unknown: int = 0
    """Bots whose equity is not known: they are in no total, and the page says so."""
    totals: list[Total] = field(default_factory=list)
    """Of figures that are good for now."""
    past: list[Total] = field(default_factory=list)
    """Of figures that are old: what bots held then is not added to what others hold now."""


def summarise(bots: Iterable[Any]) -> FleetSummary:
    """Sum up bots as the API reads them. Give it all of a tenant's bots: a sum over one page of them would mislead."""
    every = list(bots)
    processes = _processes(every)
    summary = FleetSummary(bots=len(every), repeated=len(every) - len(processes))
    summary.attention = sum(bot_words(bot).tone in {"bad", "warn"} for bot in every)
    now, then = dict[tuple[str, bool], Total](), dict[tuple[str, bool], Total]()
    for process in processes:
        latest = max((read(bot, "latest") for bot in process), key=_good)
        if not _good(latest)[0]:
            summary.unknown += 1
            continue
        currency, simulated = read(latest, "currency"), read(latest, "simulated")
        totals = then if read(latest, "stale") else now
        totals.setdefault((currency, simulated), Total(currency, simulated)).add(latest)
    summary.totals, summary.past = (
        sorted(totals.values(), key=lambda total: (total.simulated, total.currency)) for totals in (now, then)
    )
    return summary


def _good(latest: Any) -> tuple[bool, datetime]:
    """Which of several figures of one process to take: known ones, and of these the newest."""
    known = all(read(latest, name) is not None for name in ("equity", "currency", "simulated"))
    return known, read(latest, "observed_at") or _NEVER


def _processes(bots: list[Any]) -> list[list[Any]]:
    """The bots by the process that they are of, as their warnings of `same_process` tell."""
    group = {read(bot, "id"): [bot] for bot in bots}
    for bot in bots:
        own = read(bot, "id")
        for warning in read(bot, "warnings") or ():
            other = read(warning, "bot_id")
            # A warning names but some of the others: who shares one of these shares all.
            if read(warning, "code") != "same_process" or other not in group or group[other] is group[own]:
                continue
            merged = group[own] + group[other]
            group |= {read(one, "id"): merged for one in merged}
    return list({id(found): found for found in group.values()}.values())
