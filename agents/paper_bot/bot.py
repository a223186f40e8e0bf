"""One bot on its disk: every change of the trader is durable before anybody can see it."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from . import log
from .config import Config
from .money import text
from .records import Entry
from .schedule import Schedule
from .store import Store, Table
from .trader import Figures, Positions, Trader, TradingState

_BATCH = 25
"""Ticks made up for in one transaction: few enough that requests are answered in between."""


class Bot:
    """Joins the trader with its store and its schedule. Opening it applies the cash flows that are new to its ledger.

    Raises StoreError when the data directory cannot be used, sqlite3.Error when the disk fails later.
    """

    def __init__(self, config: Config, now: datetime) -> None:
        self.config = config
        self.started_at = now
        self._store = Store(config.data_dir, config.identity())
        self._trader = Trader(config.strategy, config.market, config.fees, now)
        snapshot = self._store.load()
        if snapshot is not None:
            self._trader.restore(snapshot)
        self._apply_new_flows(now)
        self._schedule = Schedule(config.interval, self._trader.last_tick_at, now)

    @property
    def trader(self) -> Trader:
        """The trading state, to be read only."""
        return self._trader

    def seconds_to_next_tick(self, now: datetime) -> float:
        """How long to wait until a tick is due; zero or less when one is."""
        return (self._schedule.next_at - now).total_seconds()

    def make_due_ticks(self, now: datetime) -> int:
        """Make the ticks that are due, a bounded number of them, in one transaction; returns how many."""
        ended = self._trader.market_ended
        due = list(islice(iter(lambda: self._schedule.due(now), None), _BATCH))
        for moment in due:
            self._trader.tick(moment)
        if due:
            self._save()
        if self._schedule.dropped:
            log.event("ticks_dropped", count=self._schedule.dropped)
            self._schedule.dropped = 0
        if self._trader.market_ended and not ended:
            log.event("market_ended", tick=self._trader.tick_count)
        return len(due)

    def set_state(self, state: TradingState) -> None:
        """Run, pause or stop trading; repeating it changes nothing. Raises sqlite3.Error and leaves it as it was."""
        before, draining = self._trader.state, self._trader.draining
        if state == before and draining is None:
            return
        self._trader.set_state(state)
        try:
            self._save()
        except sqlite3.Error:
            self._trader.state, self._trader.draining = before, draining
            raise
        log.event("trading_state", state=state)

    def wind_down(self, positions: Positions, now: datetime) -> None:
        """Cancel orders and make none any more; with `close`, sell everything. Repeating it changes nothing.

        What was sold is durable before it is told; that the bot winds down is not, so that its next process trades.
        """
        if self._trader.draining in {positions, "close"}:
            return
        # Nothing waits to be stored between two changes, so this is all that there is to go back to.
        before, draining = self._trader.drain().snapshot, self._trader.draining
        self._trader.wind_down(positions, now)
        try:
            self._save()
        except sqlite3.Error:
            self._trader.restore(before)
            self._trader.draining = draining
            raise
        log.event("drain", positions=positions, open_positions=self.figures().open_positions)

    def figures(self) -> Figures:
        """The performance at the last mark."""
        return self._trader.figures()

    def rejected_flows(self) -> list[dict[str, object]]:
        """The newest withdrawals that were refused."""
        return self._store.rejected_flows()

    def page(self, table: Table, limit: int, before: int | None) -> tuple[list[dict[str, object]], int | None]:
        """Records from the newest on, and the id to go on from."""
        return self._store.page(table, limit=limit, before=before)

    def close(self) -> None:
        """Give the data directory back. Everything is stored already."""
        self._store.close()

    def _apply_new_flows(self, now: datetime) -> None:
        known = self._store.flow_ids()
        for flow in self.config.cash_flows:
            if flow.id not in known:
                self._trader.apply_flow(flow, now)
        self._save()

    def _save(self) -> None:
        changes = self._trader.drain()
        self._store.save(changes)
        _log_entries(changes.entries)


def _log_entries(entries: Sequence[Entry]) -> None:
    """One event for each cash flow and each fill; a fee belongs to its fill and needs no line of its own."""
    for entry in entries:
        if entry.kind == "fee":
            continue
        facts = {"amount": entry.amount, "quantity": entry.quantity, "price": entry.price, "requested": entry.requested}
        told = {name: text(value) for name, value in facts.items() if value is not None}
        log.event(entry.kind, entry=entry.id, flow_id=entry.flow_id, venue=entry.venue, reason=entry.reason, **told)
