"""What the paper bot's tests share: hand-over documents, candle series and traders without a disk."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from agents.paper_bot.config import Config, parse
from agents.paper_bot.money import text
from agents.paper_bot.records import CashFlow
from agents.paper_bot.trader import Figures, Trader

TOKEN = "a-token-of-the-tests-0123456789"
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "bot-api.schema.json"
NO_FEES = {"maker": "0", "taker": "0"}


def flat(*prices: str) -> list[dict[str, str]]:
    """Candles without a range: each opens at the close before it and moves straight to its own price."""
    opens = [prices[0], *prices[:-1]]
    return [
        {"open": start, "high": max(start, end, key=Decimal), "low": min(start, end, key=Decimal), "close": end}
        for start, end in zip(opens, prices, strict=True)
    ]


def seeded(seed: int = 7, **fields: object) -> dict[str, object]:
    """A lively seeded market: enough movement for every strategy to trade within a few hundred ticks."""
    return {"kind": "seeded", "seed": seed, "start_price": "50000", "volatility": "0.01", **fields}


def given(*prices: str) -> dict[str, object]:
    """A market of flat candles."""
    return {"kind": "candles", "candles": flat(*prices)}


def deposit(amount: str, name: str = "first") -> dict[str, str]:
    """A cash flow of a hand-over document; a withdrawal when the amount is negative."""
    return {"id": name, "amount": amount, "at": "2026-01-31T12:00:00Z"}


def handover(
    strategy: dict[str, object] | None = None,
    market: dict[str, object] | None = None,
    *,
    fees: dict[str, str] | None = None,
    flows: Sequence[dict[str, str]] = (deposit("10000"),),
    data_dir: Path = Path("/nowhere"),
    port: int = 0,
) -> dict[str, Any]:
    """A complete hand-over document."""
    return {
        "bot_id": "bot-1",
        "token": TOKEN,
        "listen": {"host": "127.0.0.1", "port": port},
        "data_dir": str(data_dir),
        "cash_flows": list(flows),
        "config": {
            "currency": "USDT",
            "strategy": {"type": "grid", "symbol": "BTC/USDT", **(strategy or {})},
            "market": market or seeded(),
            "fees": fees or {"maker": "0.001", "taker": "0.001"},
        },
    }


def config_of(document: dict[str, Any]) -> Config:
    """The checked form of a document."""
    return parse(json.dumps(document))


def trader_of(document: dict[str, Any]) -> Trader:
    """A fresh trader whose cash flows have been applied, at START."""
    config = config_of(document)
    trader = Trader(config.strategy, config.market, config.fees, START)
    for flow in config.cash_flows:
        trader.apply_flow(flow, START)
    return trader


def restarted(document: dict[str, Any], trader: Trader) -> Trader:
    """What a new process makes of the stored state, through JSON as on the disk."""
    config = config_of(document)
    again = Trader(config.strategy, config.market, config.fees, START + 500 * SECOND)
    again.restore(json.loads(json.dumps(trader.drain().snapshot)))
    return again


def run(trader: Trader, ticks: int) -> None:
    """Make ticks, one a second from START on."""
    for _ in range(ticks):
        trader.tick(START + (trader.tick_count + 1) * SECOND)


def flow(amount: str, name: str) -> CashFlow:
    """A cash flow as the trader takes it."""
    return CashFlow(name, Decimal(amount), START)


def plain(*values: object) -> tuple[object, ...]:
    """Values with decimals as the texts that the API writes, for comparing several at once."""
    return tuple(text(value) if isinstance(value, Decimal) else value for value in values)


def assert_adds_up(figures: Figures) -> None:
    """The identities that hold exactly at any time."""
    assert figures.equity == figures.cash + figures.position_value
    assert figures.equity == figures.capital_base + figures.realized_profit + figures.open_profit
    assert figures.cash >= 0
    assert figures.position_value >= 0


def schema(name: str) -> dict[str, Any]:
    """One document's part of the published schema."""
    published: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())
    return {"$schema": published["$schema"], "$ref": f"#/$defs/{name}", "$defs": published["$defs"]}
