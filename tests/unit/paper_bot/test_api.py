"""Every route answers as docs/bot-api.md and its schema say."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.paper_bot.serving import AUTHORIZED, Served, serving
from tests.unit.paper_bot.support import TOKEN, schema

ROUTES = {"state": "state", "drain": "drain", "performance": "performance", "trades": "trades", "ledger": "ledger"}
CONTROLS = {"start": "running", "pause": "paused", "stop": "stopped"}


def assert_documented(document: dict[str, Any], name: str) -> None:
    """The answer is valid, and the reference bot sends exactly the members that are documented."""
    whole = schema(name)
    jsonschema.validate(document, whole, format_checker=jsonschema.FormatChecker())
    assert set(document) == set(whole["$defs"][name]["properties"])


async def every_item(served: Served, route: str, limit: int) -> list[dict[str, Any]]:
    """Follow the cursors to the end."""
    items: list[dict[str, Any]] = []
    path = f"/api/v1/{route}?limit={limit}"
    cursor: str | None = ""
    while cursor is not None:
        page = (await served.ask(f"{path}&cursor={cursor}" if cursor else path)).document
        assert_documented(page, route)
        items += page["items"]
        cursor = page["next_cursor"]
    return items


async def test_ping_needs_no_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.ask("/api/v1/ping", headers={})
        assert (answer.status, answer.document) == (200, {"status": "pong"})
        assert_documented(answer.document, "ping")


@pytest.mark.parametrize("ticks", [0, 1, 60])
async def test_documents_follow_the_schema_from_the_first_moment_on(tmp_path: Path, ticks: int) -> None:
    async with serving(tmp_path) as served:
        served.run(ticks)
        for route, name in ROUTES.items():
            answer = await served.ask(f"/api/v1/{route}")
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "no-store"
            assert_documented(answer.document, name)


async def test_what_is_unknown_is_null(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        performance = (await served.ask("/api/v1/performance")).document
        state = (await served.ask("/api/v1/state")).document
        assert (performance["win_rate"], performance["max_drawdown"], state["last_tick_at"]) == (None, None, None)
        assert state["trading_state"] == "running"
        assert [flow["id"] for flow in state["rejected_cash_flows"]] == ["too-much"]


async def test_the_figures_follow_from_the_ledger_and_the_trades(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.run(120)
        told = (await served.ask("/api/v1/performance")).document
        entries = await every_item(served, "ledger", 9)
        trades = await every_item(served, "trades", 4)
        figure = {
            name: Decimal(value)
            for name, value in told.items()
            if isinstance(value, str) and name != "as_of" and name != "currency"
        }
        assert len(trades) == told["closed_trades"] > 10
        assert figure["equity"] == figure["capital_base"] + figure["realized_profit"] + figure["open_profit"]
        assert figure["equity"] == figure["cash"] + figure["position_value"]
        assert figure["cash"] == sum(Decimal(entry["amount"]) for entry in entries) == Decimal(entries[0]["balance"])
        assert figure["realized_profit"] == sum(Decimal(trade["profit"]) for trade in trades)
        assert figure["fees_paid"] == -sum(Decimal(entry["amount"]) for entry in entries if entry["kind"] == "fee")
        won = sum(Decimal(trade["profit"]) > 0 for trade in trades)
        assert abs(figure["win_rate"] - Decimal(won) / len(trades)) < Decimal("0.00000001")


async def test_controls_answer_with_the_state_and_can_be_repeated(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for control, expected in [*CONTROLS.items(), *CONTROLS.items()]:
            for _ in range(2):
                answer = await served.ask(f"/api/v1/{control}", "POST")
                assert (answer.status, answer.document["trading_state"]) == (200, expected)
                assert_documented(answer.document, "state")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer \xe4\xf6\xfc"},
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/state", "/api/v1/unheard-of", "/"])
async def test_nothing_without_the_token(tmp_path: Path, path: str, headers: dict[str, str]) -> None:
    async with serving(tmp_path) as served:
        for method in ("GET", "POST"):
            answer = await served.ask(path, method, headers)
            assert (answer.status, answer.document["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in answer.body.decode()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/v1/state/", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/api/v1/state", 405, "method_not_allowed"),
        ("GET", "/api/v1/start", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/drain", 405, "method_not_allowed"),
        ("BREW", "/api/v1/ping", 405, "method_not_allowed"),
        ("GET", "/api/v1/trades?limit=0", 400, "invalid_limit"),
        ("GET", "/api/v1/trades?limit=201", 400, "invalid_limit"),
        ("GET", "/api/v1/trades?limit=many", 400, "invalid_limit"),
        ("GET", "/api/v1/ledger?cursor=%00", 400, "invalid_cursor"),
        ("GET", "/api/v1/ledger?cursor=YmVmb3JlOjA", 400, "invalid_cursor"),
        ("GET", "/api/v1/ledger?cursor=", 400, "invalid_cursor"),
    ],
)
async def test_errors_are_problems(tmp_path: Path, method: str, path: str, status: int, code: str) -> None:
    async with serving(tmp_path) as served:
        answer = await served.ask(path, method)
        assert (answer.status, answer.document["code"], answer.document["status"]) == (status, code, status)
        assert answer.headers["content-type"] == "application/problem+json"
        assert_documented(answer.document, "problem")
        if status == 405:
            assert answer.headers["allow"] in {"GET, HEAD", "POST", "GET, HEAD, POST"}


async def test_head_is_get_without_the_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        got, head = await served.ask("/api/v1/state"), await served.ask("/api/v1/state", "HEAD")
        assert head.status == 200
        assert head.headers == got.headers
        assert (await served.ask("/api/v1/ping", "HEAD", AUTHORIZED)).body == b""


async def test_a_failing_disk_is_told_and_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.bot.close()
        answer = await served.ask("/api/v1/stop", "POST")
        assert (answer.status, answer.document["code"]) == (503, "disk_failed")
        assert served.bot.trader.state == "running"
