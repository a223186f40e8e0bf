"""freqtrade: what is known of the family without calling a bot."""

from __future__ import annotations

from typing import Final

from control_plane.engines.family import Capability, Family
from control_plane.security.credentials import FreqtradeCredential

FAMILY: Final = Family(
    name="freqtrade",
    title="freqtrade",
    about="Watched through the API server that comes with it; or run here, with your configuration and strategy.",
    credential=FreqtradeCredential,
    capabilities=frozenset(Capability),
    provenance={
        "latency_ms": "The time of /ping, or of /show_config in a short look.",
        "trading_state": "/show_config: state. paused also where its max_open_trades is 0, as API 2.40 tells a pause.",
        "loop_age_s": "/health: the time since last_process_ts. It turns without an exchange that answers, too.",
        "simulated": "/show_config: dry_run.",
        "version": "/show_config: version.",
        "identity": "Its bot_name and the first start on its database (/health: bot_start_ts).",
        "started_at": "/health: bot_startup_ts, the start of the process or its last reload.",
        "currency": "/show_config: stake_currency.",
        "equity": "/balance: total_bot, what the bot manages, and its own open orders to buy. Unknown while the bot has"
        " no current prices, because it then counts open positions as nothing.",
        "capital_base": "/balance: starting_capital.",
        "realized_profit": "/profit: profit_closed_coin.",
        "open_profit": "/profit: profit_all_coin less profit_closed_coin.",
        "win_rate": "/profit: winrate, a share of closed trades.",
        "max_drawdown": "/profit: max_drawdown, a share of the peak of closed trades only; losses that are open are not"
        " in it.",
        "closed_trades": "/profit: closed_trade_count.",
        "open_positions": "/count: current, or the length of /status while trading is stopped.",
    },
)
