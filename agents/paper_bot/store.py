"""Durable state: one SQLite file in the data directory, one transaction per change.

A kill at any moment leaves the last committed transaction: SQLite's write-ahead log drops a torn tail by its checksums,
and `synchronous=FULL` puts every commit on the disk before it is shown. The exclusive lock keeps a second process out.
"""

import json
import sqlite3
from pathlib import Path
from typing import Literal

from .records import document
from .trader import Changes

FILE_NAME = "bot.sqlite"

Table = Literal["entries", "trades"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS snapshot (only INTEGER PRIMARY KEY CHECK (only = 1), document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, flow_id TEXT UNIQUE, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trades (id INTEGER PRIMARY KEY, document TEXT NOT NULL);
"""

_PAGES: dict[Table, str] = {
    "entries": "SELECT id, document FROM entries WHERE id < ? ORDER BY id DESC LIMIT ?",
    "trades": "SELECT id, document FROM trades WHERE id < ? ORDER BY id DESC LIMIT ?",
}

_NEWEST = 2**63 - 1


class StoreError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class Store:
    """The bot's file. Raises StoreError on opening when it is locked, damaged, not writable or another bot's."""

    def __init__(self, data_dir: Path, identity: dict[str, str]) -> None:
        self._connection = _open(data_dir)
        try:
            self._connection.executescript(_SCHEMA)
            self._claim(identity)
            self._check()
        except sqlite3.DatabaseError as problem:
            self.close()
            raise StoreError(
                f"{FILE_NAME} cannot be read ({problem}); restore it from a backup or start a new bot"
            ) from None
        except StoreError:
            self.close()
            raise

    def load(self) -> dict[str, object] | None:
        """The last stored snapshot, or None for a fresh bot."""
        row = self._connection.execute("SELECT document FROM snapshot").fetchone()
        loaded: dict[str, object] | None = json.loads(row[0]) if row else None
        return loaded

    def save(self, changes: Changes) -> None:
        """Store new records and the state after them together, or raise sqlite3.Error and store nothing."""
        entries = [(entry.id, entry.flow_id, json.dumps(document(entry))) for entry in changes.entries]
        trades = [(trade.id, json.dumps(document(trade))) for trade in changes.trades]
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", entries)
            self._connection.executemany("INSERT INTO trades VALUES (?, ?)", trades)
            self._connection.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?)", (json.dumps(changes.snapshot),))

    def page(
        self, table: Table, *, limit: int, before: int | None = None
    ) -> tuple[list[dict[str, object]], int | None]:
        """Records from the newest on, older than `before`; and the id to go on from, None on the last page."""
        rows = self._connection.execute(_PAGES[table], (before or _NEWEST, limit + 1)).fetchall()
        items = [json.loads(row[1]) for row in rows[:limit]]
        return items, rows[limit - 1][0] if len(rows) > limit else None

    def flow_ids(self) -> set[str]:
        """The ids of all cash flows that were applied or rejected before."""
        return {row[0] for row in self._connection.execute("SELECT flow_id FROM entries WHERE flow_id IS NOT NULL")}

    def rejected_flows(self) -> list[dict[str, object]]:
        """The ten newest withdrawals that were refused."""
        query = """SELECT document FROM entries WHERE flow_id IS NOT NULL
            AND json_extract(document, '$.kind') = 'withdrawal_rejected' ORDER BY id DESC LIMIT 10"""
        return [json.loads(row[0]) for row in self._connection.execute(query)]

    def close(self) -> None:
        """Give the file and its lock back."""
        self._connection.close()

    def _claim(self, identity: dict[str, str]) -> None:
        """A data directory belongs to one bot, currency and market for ever: its ledger has no meaning for another."""
        stored = dict(self._connection.execute("SELECT name, value FROM identity").fetchall())
        for name, value in identity.items():
            if stored.get(name, value) != value:
                raise StoreError(
                    f"the ledger in it is for another {name}; use a new data_dir, or the {name} it began with"
                )
        if not stored:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT INTO identity VALUES (?, ?)", identity.items())

    def _check(self) -> None:
        """The newest entry's balance must be the snapshot's cash: both are written by the same transaction."""
        snapshot = self.load()
        newest, _ = self.page("entries", limit=1)
        ledger = snapshot["ledger"] if snapshot else None
        cash = ledger["cash"] if isinstance(ledger, dict) else "0"
        if (newest[0]["balance"] if newest else "0") != cash:
            raise StoreError(f"{FILE_NAME} does not add up; restore it from a backup or start a new bot")


def _open(data_dir: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(data_dir / FILE_NAME, timeout=0, isolation_level=None)
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        # The exclusive lock is taken by the first write transaction and then kept.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
    except sqlite3.Error as problem:
        if connection is not None:
            connection.close()
        raise StoreError(_remedy(problem)) from None
    return connection


def _remedy(problem: sqlite3.Error) -> str:
    name = getattr(problem, "sqlite_errorname", "")
    if name.startswith("SQLITE_BUSY"):
        return "another process of this bot is running on it; stop that one first"
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return "it must be an existing directory that the bot's user can write; mount a volume owned by that user"
    return f"{FILE_NAME} cannot be used ({problem}); restore it from a backup or start a new bot"
