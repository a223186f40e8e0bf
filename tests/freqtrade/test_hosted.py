"""freqtrade itself, hosted: the published program in our container, in simulation, against a small exchange."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api import Api, Person
from tests.freqtrade.house import PASSWORD, STRATEGY, House
from tests.waiting import until

pytestmark = [pytest.mark.freqtrade]


async def start(house: House, person: Person, bot_id: str) -> dict[str, Any]:
    """Start a bot and wait for what becomes of it."""
    await person.call("POST", f"/bots/{bot_id}/start", status=202)
    return await house.outcome(person, bot_id)


async def trades(house: House, view: dict[str, Any], least: int) -> list[dict[str, Any]]:
    """The bot's open trades, once it has so many and each is filled."""

    async def there() -> list[dict[str, Any]]:
        found = await house.ask(view, "status") or []
        filled = [trade for trade in found if trade["amount"] and not trade["has_open_orders"]]
        return filled if len(filled) >= least else []

    return await until(there, what=f"{least} filled trades", deadline_s=60.0, every_s=0.5)


async def test_a_bot_starts_trades_stops_and_knows_its_trades_when_it_starts_again(
    house: House, person: Person
) -> None:
    bot = await house.register(person)
    view = await start(house, person, bot["id"])
    assert (view["status"], view["reason"]) == ("running", None), view
    assert (view["health"]["state"], view["health"]["trading_state"]) == ("healthy", "running")
    assert (view["health"]["simulated"], view["health"]["version"]) == (True, "2026.9")
    assert view["health"]["loop_age_s"] is not None
    before = await trades(house, view, 2)
    assert {trade["pair"] for trade in before} == {"BTC/USDT", "ETH/USDT"}

    await person.call("POST", f"/bots/{bot['id']}/stop", status=202)
    stopped = await house.outcome(person, bot["id"])
    assert (stopped["status"], stopped["exposed_host_port"]) == ("inactive", None)
    ended = await house.rig.last(bot["id"])
    assert (ended["exit_code"], ended["oom_killed"]) == (0, False)

    again = await start(house, person, bot["id"])
    assert again["status"] == "running"
    after = await trades(house, again, 2)
    assert [(trade["trade_id"], trade["open_date"]) for trade in after] == [
        (trade["trade_id"], trade["open_date"]) for trade in before
    ]


async def test_what_is_secret_is_nowhere_to_be_seen_and_the_limits_hold(house: House, person: Person) -> None:
    bot = await house.register(person)
    await start(house, person, bot["id"])
    instance = await house.rig.live(bot["id"])
    assert instance is not None
    inspected = house.rig.engine.api.inspect_container(instance["container_id"])
    secrets = (PASSWORD, "planted-exchange-key", "planted-exchange-secret", "planted-strategy-secret")
    processes = str(house.rig.engine.api.top(instance["container_id"]))
    for secret in secrets:
        assert secret not in str(inspected)
        assert secret not in processes
    image = house.rig.engine.images.get(instance["image"])
    assert inspected["Config"]["Env"] == image.attrs["Config"]["Env"]
    assert inspected["HostConfig"]["Memory"] == 512 * 2**20
    used = house.rig.engine.api.stats(instance["container_id"], stream=False)
    assert 100 * 2**20 < used["memory_stats"]["usage"] < 500 * 2**20
    assert used["pids_stats"]["current"] < 64
    state = house.rig.engine.api.inspect_container(instance["container_id"])["State"]
    assert (state["Running"], state["OOMKilled"]) == (True, False)
    # The configuration is on a file system of memory, for its one user to read; nothing of it is on the volume.
    found = _inside(house, instance["container_id"], _LOOK)
    assert found["modes"] == "0o400 0o400"
    assert found["planted_on_disk"] == "0"


async def test_a_bot_that_is_told_to_come_up_stopped_is_healthy_and_does_not_trade(
    house: House, person: Person
) -> None:
    bot = await house.register(person, config=house.config(initial_state="stopped"))
    view = await start(house, person, bot["id"])
    assert view["status"] == "running"
    assert (view["health"]["state"], view["health"]["trading_state"]) == ("healthy", "stopped")
    assert await house.ask(view, "trades") == {"trades": [], "trades_count": 0, "offset": 0, "total_trades": 0}


async def test_a_bot_spends_no_more_than_its_capital(house: House, person: Person) -> None:
    bot = await house.register(person, config=house.config(available_capital=300))
    view = await start(house, person, bot["id"])
    shown = await house.ask(view, "show_config")
    assert (shown["available_capital"], shown["bot_name"]) == (300, bot["id"])
    bought = await trades(house, view, 2)
    # An order at the market may cost a little more than it was reckoned with.
    assert 250 < sum(trade["stake_amount"] for trade in bought) < 301
    balance = await house.ask(view, "balance")
    assert balance["starting_capital"] == 300


async def test_money_in_orders_that_wait_is_still_the_bots(house: House, person: Person) -> None:
    far_below = {"price_side": "same", "use_order_book": True, "order_book_top": 50}
    types = {"entry": "limit", "exit": "limit", "stoploss": "limit"}
    bot = await house.register(
        person, config=house.config(available_capital=300, entry_pricing=far_below, order_types=types)
    )
    view = await start(house, person, bot["id"])

    async def waiting() -> Any:
        found = await house.ask(view, "status") or []
        return len(found) == 2 and all(trade["has_open_orders"] and not trade["amount"] for trade in found)

    await until(waiting, what="two orders that wait", deadline_s=60.0, every_s=0.5)
    before = (await house.ask(view, "balance"))["total_bot"]
    assert before < 100
    at = (await person.call("POST", f"/bots/{bot['id']}/ping", status=200))["health"]["observed_at"]

    async def figures() -> Any:
        latest = (await person.call("GET", f"/bots/{bot['id']}", status=200))["latest"]
        return latest if latest and latest["observed_at"] >= at else None

    latest = await until(figures, what="figures of that moment")
    assert 299 < float(latest["equity"]) < 301


async def test_a_subscribers_capital_is_what_their_bot_trades_with(house: House, api: Api, person: Person) -> None:
    config = house.config()
    template = await person.call(
        "POST",
        "/templates",
        json={
            "name": "Eager",
            "engine": "freqtrade",
            "strategy_type": "momentum",
            "risk_level": "high",
            "hosting": "dedicated",
            "currency": "USDT",
            "minimum_allocation": "100",
            "parameters": {"max_open_trades": 2},
            "config": {name: value for name, value in config.items() if name != "stake_currency"},
        },
        status=201,
    )
    await person.call("POST", f"/templates/{template['id']}/publish", status=200)
    follower = await api.person("bob")
    subscription = await follower.call(
        "POST", "/subscriptions", json={"template_id": template["id"], "allocation_amount": "450.50"}, status=201
    )
    view = await house.outcome(follower, subscription["bot_id"])
    assert (view["status"], view["engine"], view["health"]["trading_state"]) == ("running", "freqtrade", "running")

    async def figures() -> Any:
        latest = (await follower.call("GET", f"/bots/{view['id']}", status=200))["latest"]
        return latest if latest and latest["capital_base"] else None

    latest = await until(figures, what="a first snapshot", deadline_s=30.0)
    assert (latest["capital_base"], latest["currency"]) == ("450.50000000", "USDT")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"exchange": {"name": "nosuchexchange"}}, "nosuchexchange"),
        ({"stake_currency": "EUR"}, "EUR"),
        ({"stoploss": 3}, "stoploss"),
        ({"strategy_source": f"import nosuchmodule\n{STRATEGY}"}, "Eager"),
    ],
)
async def test_what_freqtrade_refuses_is_an_error_at_once_in_its_own_words(
    house: House, person: Person, wrong: dict[str, Any], words: str
) -> None:
    bot = await house.register(person, config=house.config(**wrong))
    view = await start(house, person, bot["id"])
    assert (view["status"], view["reason"]) == ("error", "config_rejected"), view
    assert words in view["reason_detail"], view["reason_detail"]
    await house.rig.until_gone(bot["id"])
    last = await house.rig.last(bot["id"])
    assert last["exit_code"] == 78
    assert "planted-exchange" not in last["last_lines"]
    copies = await house.rig.admin.fetchval("select count(*) from bot_instances where bot_id = $1", bot["id"])
    assert copies == 1


async def test_an_exchange_that_is_away_is_tried_again(house: House, person: Person) -> None:
    house.exchange.maintenance = True
    bot = await house.register(person)
    await person.call("POST", f"/bots/{bot['id']}/start", status=202)
    row = await house.rig.until_row(
        bot["id"], lambda row: row["reason"] == "restarting", "a crash that may pass", deadline_s=90.0
    )
    assert row["status"] == "starting"
    house.exchange.maintenance = False
    view = await house.outcome(person, bot["id"], deadline_s=120.0)
    assert (view["status"], view["health"]["trading_state"]) == ("running", "running")


async def test_without_the_image_the_error_says_what_to_do(house: House, person: Person) -> None:
    bot = await house.register(person)
    await house.rig.admin.execute("update bots set image = 'tradewise/freqtrade-bot:none' where id = $1", bot["id"])
    view = await start(house, person, bot["id"])
    assert (view["status"], view["reason"]) == ("error", "image_missing")
    assert "Ask your operator" in view["reason_detail"]


_LOOK = """
import os, pathlib
folder = next(p for base in ("/run", "/tmp") for p in pathlib.Path(base).glob("freqtrade-*"))
files = sorted(p for p in folder.rglob("*") if p.is_file())
print("modes", *(oct(p.stat().st_mode & 0o777) for p in files))
planted = [p for p in pathlib.Path("/data").rglob("*") if p.is_file() and b"planted-" in p.read_bytes()]
print("planted_on_disk", len(planted))
"""


def _inside(house: House, container: str, program: str) -> dict[str, str]:
    made = house.rig.engine.api.exec_create(container, ["python3", "-c", program])
    said = house.rig.engine.api.exec_start(made["Id"]).decode()
    return dict(line.split(" ", 1) for line in said.splitlines())
