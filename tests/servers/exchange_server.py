"""A small spot exchange over HTTP, with as much of Binance's public REST interface as freqtrade needs in simulation.

Prices follow a wave of the clock, so that candles, tickers and order books agree with each other and with every other
server of this kind. Nothing here takes orders. `requests` holds what was asked. In `maintenance` it answers 503, with
`answering` cleared it takes calls and is silent.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from tests.servers.loopback import LoopbackServer, Reply, Request, json_reply

MINUTE_MS = 60_000
_WAVE_MINUTES = 30
_STEPS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
_SPREAD = 0.0001


class ExchangeServer(LoopbackServer):
    """Two markets against USDT, liquid and calm."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__()
        self.host = host
        self.middles = {"BTC": 50_000.0, "ETH": 2_500.0}
        """The price of each coin about which its wave goes."""
        self.amplitude = 0.01
        self.maintenance = False
        """True: every answer is 503, as in an outage."""
        self.answering = asyncio.Event()
        self.answering.set()

    @property
    def ccxt_config(self) -> dict[str, Any]:
        """What `exchange.ccxt_config` of a freqtrade configuration needs to come here instead."""
        api = {"public": f"{self.url}/api/v3", "private": f"{self.url}/api/v3", "v1": f"{self.url}/api/v1"}
        return {"urls": {"api": api}, "options": {"fetchMarkets": {"types": ["spot"]}}}

    def price(self, coin: str, at_ms: float) -> float:
        """What one coin costs at a moment."""
        turn = 2 * math.pi * at_ms / MINUTE_MS / _WAVE_MINUTES
        return self.middles[coin] * (1 + self.amplitude * math.sin(turn))

    async def handle(self, request: Request) -> Reply:
        await self.answering.wait()
        if self.maintenance:
            return json_reply({"code": -1, "msg": "system is under maintenance"}, 503)
        answers: dict[str, Callable[[dict[str, str]], Any]] = {
            "/api/v3/ping": lambda _query: {},
            "/api/v3/time": lambda _query: {"serverTime": _now_ms()},
            "/api/v3/exchangeInfo": self._information,
            "/api/v3/klines": self._candles,
            "/api/v3/depth": self._book,
            "/api/v3/ticker/24hr": self._tickers,
            "/api/v3/ticker/price": self._prices,
            "/api/v3/ticker/bookTicker": self._best,
            "/api/v3/trades": lambda _query: [],
        }
        answer = answers.get(request.path)
        if answer is None:
            return json_reply({"code": -1102, "msg": "no such endpoint"}, 404)
        return json_reply(answer(dict(request.query)))

    def _information(self, _query: dict[str, str]) -> dict[str, Any]:
        return {
            "timezone": "UTC",
            "serverTime": _now_ms(),
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": [_market(coin) for coin in self.middles],
        }

    def _candles(self, query: dict[str, str]) -> list[list[Any]]:
        step = _STEPS[query["interval"]] * MINUTE_MS
        limit = min(int(query.get("limit", "500")), 1000)
        newest = _now_ms() // step * step
        last = min(int(query.get("endTime", str(newest))), newest) // step * step
        first = last - (limit - 1) * step
        if "startTime" in query:
            first = -(-int(query["startTime"]) // step) * step
            last = min(last, first + (limit - 1) * step)
        return [self._candle(_coin(query), at, step) for at in range(first, last + 1, step)]

    def _candle(self, coin: str, at: int, step: int) -> list[Any]:
        ends = min(at + step - 1, _now_ms())
        opened, closed = self.price(coin, at), self.price(coin, ends)
        high, low = max(opened, closed) * 1.0002, min(opened, closed) * 0.9998
        figures = [f"{value:.2f}" for value in (opened, high, low, closed)]
        return [at, *figures, "100.0", at + step - 1, f"{100 * closed:.2f}", 50, "50.0", f"{50 * closed:.2f}", "0"]

    def _book(self, query: dict[str, str]) -> dict[str, Any]:
        middle = self.price(_coin(query), _now_ms())
        depth = range(1, min(int(query.get("limit", "100")), 100) + 1)
        return {
            "lastUpdateId": _now_ms(),
            "bids": [[f"{middle * (1 - step * _SPREAD):.2f}", "10.0"] for step in depth],
            "asks": [[f"{middle * (1 + step * _SPREAD):.2f}", "10.0"] for step in depth],
        }

    def _tickers(self, query: dict[str, str]) -> Any:
        return self._each(query, self._ticker)

    def _prices(self, query: dict[str, str]) -> Any:
        return self._each(query, lambda coin: {"symbol": f"{coin}USDT", "price": f"{self.price(coin, _now_ms()):.2f}"})

    def _best(self, query: dict[str, str]) -> Any:
        names = ("symbol", "bidPrice", "bidQty", "askPrice", "askQty")
        return self._each(query, lambda coin: {name: self._ticker(coin)[name] for name in names})

    def _each(self, query: dict[str, str], make: Any) -> Any:
        return make(_coin(query)) if "symbol" in query else [make(coin) for coin in self.middles]

    def _ticker(self, coin: str) -> dict[str, Any]:
        now = _now_ms()
        price, middle = self.price(coin, now), self.middles[coin]
        return {
            "symbol": f"{coin}USDT",
            "priceChange": f"{price - middle:.2f}",
            "priceChangePercent": f"{100 * (price / middle - 1):.2f}",
            "weightedAvgPrice": f"{middle:.2f}",
            "prevClosePrice": f"{middle:.2f}",
            "lastPrice": f"{price:.2f}",
            "lastQty": "1.0",
            "bidPrice": f"{price * (1 - _SPREAD):.2f}",
            "bidQty": "10.0",
            "askPrice": f"{price * (1 + _SPREAD):.2f}",
            "askQty": "10.0",
            "openPrice": f"{middle:.2f}",
            "highPrice": f"{middle * (1 + self.amplitude):.2f}",
            "lowPrice": f"{middle * (1 - self.amplitude):.2f}",
            "volume": "100000.0",
            "quoteVolume": f"{100_000 * middle:.2f}",
            "openTime": now - 86_400_000,
            "closeTime": now,
            "firstId": 1,
            "lastId": 1000,
            "count": 1000,
        }


def _coin(query: dict[str, str]) -> str:
    return query["symbol"].removesuffix("USDT")


def _now_ms() -> int:
    return int(time.time() * 1000)


def _market(coin: str) -> dict[str, Any]:
    return {
        "symbol": f"{coin}USDT",
        "status": "TRADING",
        "baseAsset": coin,
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"},
            {"filterType": "NOTIONAL", "minNotional": "5.0", "applyMinToMarket": True, "maxNotional": "9000000.0"},
        ],
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
    }
