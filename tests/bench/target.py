"""Bots for the poller to look at, in a process of their own and as cheap as Python makes them: `-m tests.bench.target`.

They speak our bot API. It reads one line of JSON, `{"ports": 1000, "crowd": false}`, tells its ports on one line, and
then for each line that it reads how often each route was asked. Its CPU counts as nobody's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any, Final

import uvloop

TOKEN: Final = "bench-token-0123456789abcdef"
BOT_ID: Final = "bench"
_BACKLOG: Final = 4096
#: In a crowd each bot has an address of its own, from this one on.
FIRST: Final = int(IPv4Address("127.1.0.0"))
_NAMES: Final = {200: "OK", 401: "Unauthorized", 404: "Not Found", 503: "Service Unavailable"}
_AUTHORIZED: Final = f"Bearer {TOKEN}\r\n".encode()


def address_of(number: int) -> str:
    """Where a crowd's bot listens. None ends in 0 or 255."""
    high, low = divmod(number, 250)
    return str(IPv4Address(FIRST + high * 256 + low + 1))


def conduct_of(number: int) -> str:
    """How a bot of a crowd behaves: of a hundred, two hang, one is refused, one answers 503 and one in no language."""
    return {0: "hang", 1: "hang", 2: "refuse", 3: "ail", 4: "babble"}.get(number % 100, "answer")


def _conduct_at(address: str) -> str:
    distance = int(IPv4Address(address)) - FIRST
    return conduct_of(distance // 256 * 250 + distance % 256 - 1)


def _reply(status: int, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_NAMES[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Bots:
    """What all of them answer, renewed each second: time goes on and figures move."""

    def __init__(self, *, crowd: bool) -> None:
        self.crowd = crowd
        self.asked: Counter[bytes] = Counter()
        self.began = datetime.now(UTC)
        self.answers: dict[bytes, bytes] = {}
        self.refusal = _reply(401, b'{"code": "unauthorized"}')
        self.unknown = _reply(404, b'{"code": "not_found"}')
        self.ailing = _reply(503, b'{"code": "unavailable"}')
        self.babble = _reply(200, b"<html>welcome</html>")
        self.renew()

    def renew(self) -> None:
        """As of now."""
        now = datetime.now(UTC)
        open_profit = f"{(now.timestamp() % 1000) / 10 - 50:.2f}"
        state = {
            "bot_id": BOT_ID, "version": "1.4.0", "api_version": "1.1", "trading_state": "running", "simulated": True,
            "currency": "USDT", "strategy": "dca", "symbol": "BTC/USDT", "started_at": self.began.isoformat(),
            "last_tick_at": now.isoformat(), "tick_interval_seconds": 1.0,
        }  # fmt: skip
        performance = {
            "as_of": now.isoformat(), "currency": "USDT", "simulated": True,
            "equity": f"{10125.5 + float(open_profit):.2f}", "cash": "7500.00", "position_value": "2500",
            "capital_base": "10000", "realized_profit": "125.5", "open_profit": open_profit, "fees_paid": "3.5",
            "win_rate": "0.625", "closed_trades": 8, "open_positions": 1, "max_drawdown": "0.031",
        }  # fmt: skip
        for route, value in {"ping": {"status": "pong"}, "state": state, "performance": performance}.items():
            self.answers[f"/api/v1/{route}".encode()] = _reply(200, json.dumps(value).encode())

    def answer(self, head: bytes) -> bytes:
        """What one request is answered."""
        path = head.split(b" ", 2)[1]
        self.asked[path] += 1
        found = self.answers.get(path)
        if found is None:
            return self.unknown
        if path != b"/api/v1/ping" and _AUTHORIZED not in head + b"\r\n":
            return self.refusal
        return found


class _Connection(asyncio.Protocol):
    def __init__(self, bots: Bots) -> None:
        self._bots = bots
        self._begun = b""
        self._conduct = "answer"
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._bots.crowd:
            self._conduct = _conduct_at(transport.get_extra_info("sockname")[0])

    def data_received(self, data: bytes) -> None:
        data = self._begun + data
        *heads, self._begun = data.split(b"\r\n\r\n")
        for head in heads:
            if self._conduct == "answer":
                self._transport.write(self._bots.answer(head))
            elif self._conduct == "ail":
                self._transport.write(self._bots.ailing)
            elif self._conduct == "babble":
                self._transport.write(self._bots.babble)


async def _serve(ports: int, *, crowd: bool) -> None:
    bots = Bots(crowd=crowd)
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: _Connection(bots), "0.0.0.0" if crowd else "127.0.0.1", 0, backlog=_BACKLOG)
        for _ in range(ports)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    ended = asyncio.Event()

    def tell() -> None:
        for _ in sys.stdin:
            asked = {path.decode(): count for path, count in list(bots.asked.items())}
            print(json.dumps(asked), flush=True)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=tell, daemon=True).start()
    while not ended.is_set():
        bots.renew()
        try:
            await asyncio.wait_for(ended.wait(), 1.0)
        except TimeoutError:
            continue


if __name__ == "__main__":
    wanted = json.loads(sys.stdin.readline())
    uvloop.run(_serve(wanted["ports"], crowd=wanted["crowd"]))
