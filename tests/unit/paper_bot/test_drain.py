"""Winding down: no order any more, at once; positions as was asked; and a new process trades again."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from agents.paper_bot.bot import Bot
from tests.unit.paper_bot.serving import AUTHORIZED, Answer, Served, parsed, serving
from tests.unit.paper_bot.support import SECOND, START, config_of, handover, seeded
from tests.unit.paper_bot.test_api import assert_documented


async def drain(served: Served, body: bytes) -> Answer:
    """Ask for a drain, with these bytes as the body."""
    lines = ["POST /api/v1/drain HTTP/1.1", "Host: bot", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in AUTHORIZED.items()]
    return parsed(await served.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body))


async def look(served: Served) -> dict[str, object]:
    return (await served.ask("/api/v1/drain")).document


async def test_nobody_asked(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.run(40)
        told = await look(served)
        assert_documented(told, "drain")
        assert (told["state"], told["positions"]) == ("none", None)
        assert int(str(told["open_orders"])) > 0


@pytest.mark.parametrize("body", [b"", b"{}", b'{"positions": "keep"}'])
async def test_orders_are_cancelled_and_positions_kept(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path) as served:
        served.run(40)
        held = served.bot.figures()
        assert held.open_positions > 0
        answer = await drain(served, body)
        assert answer.status == 202
        assert_documented(answer.document, "drain")
        expected = {"state": "drained", "positions": "keep", "open_orders": 0, "open_positions": held.open_positions}
        assert answer.document == expected == await look(served)
        served.run(40)
        assert served.bot.figures().closed_trades == held.closed_trades
        assert served.bot.figures().open_positions == held.open_positions


async def test_positions_are_sold_where_that_is_asked(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.run(40)
        before = served.bot.figures()
        await drain(served, b'{"positions": "keep"}')
        answer = await drain(served, b'{"positions": "close"}')
        assert answer.document == {"state": "drained", "positions": "close", "open_orders": 0, "open_positions": 0}
        entries = (await served.ask("/api/v1/ledger")).document["items"]
        assert [entry["reason"] for entry in entries[:2]] == ["drain", "drain"]
        after = served.bot.figures()
        assert after.position_value == 0
        assert after.equity == before.equity - (after.fees_paid - before.fees_paid)
        assert after.equity == after.capital_base + after.realized_profit + after.open_profit
        # What was asked is done: asking for less changes nothing.
        assert (await drain(served, b'{"positions": "keep"}')).document["positions"] == "close"


@pytest.mark.parametrize("kind", ["dca", "grid", "momentum", "arbitrage"])
@pytest.mark.parametrize("ticks", [0, 1, 7, 90])
def test_every_strategy_closes_everything_at_any_moment(tmp_path: Path, kind: str, ticks: int) -> None:
    bot = Bot(config_of(handover({"type": kind}, seeded(), data_dir=tmp_path)), START)
    try:
        bot.make_due_ticks(START + ticks * SECOND)
        while bot.trader.tick_count < ticks:
            bot.make_due_ticks(START + ticks * SECOND)
        bot.wind_down("close", START + timedelta(seconds=ticks))
        figures = bot.figures()
        assert (figures.open_positions, bot.trader.resting_orders()) == (0, 0)
        assert figures.position_value == Decimal(0)
        assert figures.equity == figures.cash == figures.capital_base + figures.realized_profit
    finally:
        bot.close()


async def test_a_new_process_trades_again_and_what_was_sold_stays_sold(tmp_path: Path) -> None:
    document = handover({"type": "grid", "span": "0.05", "levels": 20}, seeded(), data_dir=tmp_path)
    bot = Bot(config_of(document), START)
    bot.make_due_ticks(START + 25 * SECOND)
    bot.wind_down("close", START + 25 * SECOND)
    sold = bot.figures()
    bot.close()
    again = Bot(config_of(document), START + 30 * SECOND)
    try:
        assert again.trader.draining is None
        assert again.trader.state == "running"
        assert again.figures().cash == sold.cash == sold.equity
        assert again.trader.resting_orders() > 0
    finally:
        again.close()


async def test_somebody_who_starts_the_bot_wants_no_drain(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.run(40)
        await drain(served, b"")
        assert (await served.ask("/api/v1/start", "POST")).document["trading_state"] == "running"
        told = await look(served)
        assert told["state"] == "none"
        assert int(str(told["open_orders"])) > 0


@pytest.mark.parametrize("body", [b"[]", b'"keep"', b'{"positions": "sell"}', b'{"positions": null}', b"{", b"\xff"])
async def test_another_wish_is_refused(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path) as served:
        answer = await drain(served, body)
        assert (answer.status, answer.document["code"]) == (400, "invalid_drain")
        assert (await look(served))["state"] == "none"


async def test_without_the_token_nothing_is_wound_down(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.ask("/api/v1/drain", "POST", {})
        assert answer.status == 401
        assert served.bot.trader.draining is None


async def test_a_failing_disk_sells_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.run(40)
        before = served.bot.figures()
        served.bot.close()
        answer = await drain(served, json.dumps({"positions": "close"}).encode())
        assert (answer.status, answer.document["code"]) == (503, "disk_failed")
        assert served.bot.trader.draining is None
        assert served.bot.figures() == before
        assert before.position_value > Decimal(0)
