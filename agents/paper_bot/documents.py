"""What the bot API answers: documents made of figures and records, with decimals and times as texts."""

from datetime import datetime
from decimal import Decimal

from . import API_VERSION, __version__, timestamps
from .bot import Bot
from .money import text

Document = dict[str, object]


def state(bot: Bot) -> Document:
    """Who the bot is, whether it trades and how fresh it is."""
    config, trader = bot.config, bot.trader
    return {
        "bot_id": config.bot_id,
        "version": __version__,
        "api_version": API_VERSION,
        "trading_state": trader.state,
        "simulated": True,
        "currency": config.currency,
        "strategy": config.strategy_type,
        "symbol": config.symbol,
        "created_at": timestamps.to_text(trader.created_at),
        "started_at": timestamps.to_text(bot.started_at),
        "last_tick_at": _time(trader.last_tick_at),
        "tick_interval_seconds": config.interval.total_seconds(),
        "tick_count": trader.tick_count,
        "last_price": text(trader.price),
        "market_ended": trader.market_ended,
        "rejected_cash_flows": [_rejected(entry) for entry in bot.rejected_flows()],
    }


def drain(bot: Bot) -> Document:
    """How far the bot is with winding down, and what it has open. Its orders and sales are done at once."""
    wanted = bot.trader.draining
    return {
        "state": "none" if wanted is None else "drained",
        "positions": wanted,
        "open_orders": bot.trader.resting_orders(),
        "open_positions": bot.figures().open_positions,
    }


def performance(bot: Bot) -> Document:
    """The figures at the last mark."""
    figures = bot.figures()
    return {
        "as_of": timestamps.to_text(figures.as_of),
        "currency": bot.config.currency,
        "simulated": True,
        "equity": text(figures.equity),
        "cash": text(figures.cash),
        "position_value": text(figures.position_value),
        "capital_base": text(figures.capital_base),
        "realized_profit": text(figures.realized_profit),
        "open_profit": text(figures.open_profit),
        "fees_paid": text(figures.fees_paid),
        "win_rate": _decimal(figures.win_rate),
        "closed_trades": figures.closed_trades,
        "open_positions": figures.open_positions,
        "max_drawdown": _decimal(figures.max_drawdown),
    }


def page(items: list[Document], next_cursor: str | None) -> Document:
    """One page of a list."""
    return {"items": items, "next_cursor": next_cursor}


def _rejected(entry: Document) -> Document:
    return {"id": entry["flow_id"], "amount": entry["requested"], "reason": entry["reason"], "at": entry["at"]}


def _decimal(value: Decimal | None) -> str | None:
    return None if value is None else text(value)


def _time(value: datetime | None) -> str | None:
    return None if value is None else timestamps.to_text(value)
