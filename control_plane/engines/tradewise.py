"""Our own bot API (`docs/bot-api.md`): what is known of the family without calling a bot."""

from __future__ import annotations

from typing import Final

from control_plane.engines.family import Capability, Family
from control_plane.security.credentials import TradewiseCredential

FAMILY: Final = Family(
    name="tradewise",
    title="TradeWise bot API",
    about="Our own paper bot, or any bot that speaks our documented API.",
    credential=TradewiseCredential,
    capabilities=frozenset(Capability),
    provenance={
        "latency_ms": "The time of ping, or of state in a short look.",
        "trading_state": "state: trading_state.",
        "loop_age_s": "state: the time since last_tick_at.",
        "simulated": "state: simulated.",
        "version": "state: version.",
        "identity": "state: bot_id.",
        "started_at": "state: started_at.",
        "currency": "state: currency.",
        "equity": "performance: equity, cash and positions at current prices, before the fees of selling.",
        "capital_base": "performance: capital_base, deposits less withdrawals.",
        "realized_profit": "performance: realized_profit, net of fees.",
        "open_profit": "performance: open_profit.",
        "win_rate": "performance: win_rate, a share of closed trades.",
        "max_drawdown": "performance: max_drawdown, a share of the highest time-weighted return.",
        "closed_trades": "performance: closed_trades.",
        "open_positions": "performance: open_positions.",
    },
)
