"""What was committed survives a kill at any byte; what cannot be trusted is refused."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agents.paper_bot.bot import Bot
from agents.paper_bot.store import FILE_NAME, Store, StoreError
from tests.unit.paper_bot.support import SECOND, START, assert_adds_up, config_of, deposit, handover, seeded

TICKS = 40


def document_for(data_dir: Path, **changes: Any) -> dict[str, Any]:
    return handover({"type": "grid", "span": "0.05", "levels": 20}, seeded(), data_dir=data_dir, **changes)


def run_to(bot: Bot, tick: int) -> None:
    """Let the clock go on second by second from the bot's last tick, and make what is due."""
    for second in range(bot.trader.tick_count + 1, tick + 1):
        bot.make_due_ticks(START + second * SECOND)


def open_bot(data_dir: Path, now: datetime = START) -> Bot:
    return Bot(config_of(document_for(data_dir)), now)


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Path]:
    """The files of a bot as a kill leaves them: copied while it runs, nothing flushed or closed."""
    living, dead = tmp_path / "living", tmp_path / "dead"
    living.mkdir()
    bot = open_bot(living)
    run_to(bot, TICKS)
    shutil.copytree(living, dead)
    yield dead
    bot.close()


def test_a_torn_log_leaves_an_earlier_tick_from_which_the_bot_comes_to_the_same_end(
    killed: Path, tmp_path: Path
) -> None:
    log_name = f"{FILE_NAME}-wal"
    base, whole = (killed / FILE_NAME).read_bytes(), (killed / log_name).read_bytes()
    reference = open_bot(killed)
    assert reference.trader.tick_count == TICKS
    expected, trades = reference.figures(), reference.page("trades", 200, None)
    reference.close()
    assert expected.closed_trades > 0
    found = set()
    step = len(whole) // 60 + 1
    for length in range(0, len(whole), step):
        torn = tmp_path / f"torn-{length}"
        torn.mkdir()
        (torn / FILE_NAME).write_bytes(base)
        if length:
            (torn / log_name).write_bytes(whole[:length])
        bot = open_bot(torn)
        found.add(bot.trader.tick_count)
        assert_adds_up(bot.figures())
        run_to(bot, TICKS)
        assert bot.figures() == expected
        assert bot.page("trades", 200, None) == trades
        bot.close()
    assert len(found) > 10


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    bot = open_bot(tmp_path)
    with pytest.raises(StoreError, match="another process"):
        open_bot(tmp_path)
    bot.close()
    open_bot(tmp_path).close()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="mount a volume"):
        open_bot(tmp_path / "absent")


@pytest.mark.parametrize(
    "damage", [b"not a database at all, but long enough to be looked at" * 50, b"SQLite format 3\x00" * 300]
)
def test_a_damaged_file(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    with pytest.raises(StoreError, match="restore it from a backup"):
        open_bot(tmp_path)


def test_a_ledger_that_somebody_changed(tmp_path: Path) -> None:
    bot = open_bot(tmp_path)
    run_to(bot, 3)
    bot.close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    snapshot = json.loads(connection.execute("SELECT document FROM snapshot").fetchone()[0])
    snapshot["ledger"]["cash"] = "1000000"
    with connection:
        connection.execute("UPDATE snapshot SET document = ?", (json.dumps(snapshot),))
    connection.close()
    with pytest.raises(StoreError, match="does not add up"):
        open_bot(tmp_path)


@pytest.mark.parametrize(
    ("part", "field", "value", "named"),
    [
        (None, "bot_id", "another", "bot_id"),
        ("config", "currency", "EUR", "currency"),
        ("strategy", "symbol", "ETH/USDT", "symbol"),
        ("strategy", "type", "dca", "strategy type"),
    ],
)
def test_another_bots_ledger(tmp_path: Path, part: str | None, field: str, value: str, named: str) -> None:
    open_bot(tmp_path).close()
    document = handover({"type": "grid"}, seeded(), data_dir=tmp_path)
    place = {None: document, "config": document["config"], "strategy": document["config"]["strategy"]}[part]
    place[field] = value
    with pytest.raises(StoreError, match=f"another {named}"):
        Bot(config_of(document), START)


def test_flows_are_applied_once_and_a_longer_list_tops_up(tmp_path: Path) -> None:
    for _ in range(2):
        bot = open_bot(tmp_path)
        assert bot.figures().capital_base == 10000
        bot.close()
    longer = [deposit("10000"), deposit("500", "second"), deposit("-20000", "third")]
    for _ in range(2):
        bot = Bot(config_of(document_for(tmp_path, flows=longer)), START)
        assert bot.figures().capital_base == 10500
        assert [flow["flow_id"] for flow in bot.rejected_flows()] == ["third"]
        bot.close()


def test_capital_counts_only_without_cash_flows(tmp_path: Path) -> None:
    document = handover(data_dir=tmp_path, flows=[])
    document["config"]["capital"] = "2500"
    for _ in range(2):
        bot = Bot(config_of(document), START)
        assert bot.figures().capital_base == 2500
        bot.close()
    document["cash_flows"] = [deposit("1")]
    assert config_of(document).cash_flows[0].amount == 1


def test_pages_go_from_the_newest_to_the_oldest_without_gaps(tmp_path: Path) -> None:
    bot = open_bot(tmp_path)
    run_to(bot, TICKS)
    everything, end = bot.page("entries", 200, None)
    assert end is None
    paged: list[dict[str, object]] = []
    before: int | None = None
    while True:
        items, before = bot.page("entries", 7, before)
        paged += items
        if before is None:
            break
    assert paged == everything
    assert [item["id"] for item in everything] == list(range(len(everything), 0, -1))
    bot.close()


def test_the_trading_state_outlives_the_process(tmp_path: Path) -> None:
    bot = open_bot(tmp_path)
    assert bot.trader.state == "running"
    bot.set_state("paused")
    bot.close()
    again = open_bot(tmp_path)
    assert again.trader.state == "paused"
    again.close()


def test_a_store_can_be_closed_and_opened_by_anybody_of_the_same_identity(tmp_path: Path) -> None:
    Store(tmp_path, {"bot_id": "one"}).close()
    store = Store(tmp_path, {"bot_id": "one"})
    assert store.load() is None
    store.close()
