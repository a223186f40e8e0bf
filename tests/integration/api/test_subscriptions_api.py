"""Subscriptions over HTTP: money in, money out, and what it has become."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.api import Api, Person
from tests.factories import Urls
from tests.waiting import until
from tests.world import published, shared, snapshot, subscribe, template_body


class Case:
    """A subscriber of a creator's template."""

    def __init__(self, person: Person, admin: asyncpg.Connection, made: dict[str, Any], home: UUID) -> None:
        self.person, self.admin, self.id = person, admin, made["id"]
        self.bot, self.home = UUID(made["bot_id"]), home

    async def read(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.person.call("GET", f"/subscriptions/{self.id}", status=200)
        return found

    async def change(self, expected: int = 200, /, **body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.person.call(
            "PATCH", f"/subscriptions/{self.id}", json=body, status=expected
        )
        return answer

    async def figures(self, equity: str | None = None, base: str | None = None, value: str | None = None) -> None:
        await snapshot(
            self.admin,
            self.home,
            self.bot,
            equity=Decimal(equity) if equity is not None else None,
            capital_base=Decimal(base) if base is not None else None,
            unit_value=Decimal(value) if value is not None else None,
        )

    async def ledger(self) -> list[tuple[str, Decimal]]:
        items = (await self.person.call("GET", f"/subscriptions/{self.id}/ledger", status=200))["items"]
        return [(item["kind"], Decimal(item["amount"])) for item in reversed(items)]

    async def bot_wish(self) -> tuple[str, int]:
        row = await self.admin.fetchrow("select desired, generation from bots where id = $1", self.bot)
        return row["desired"], row["generation"]


@pytest.fixture
async def dedicated(api: Api, admin: asyncpg.Connection) -> Case:
    ada, bob = await api.person("ada"), await api.person("bob")
    made = await subscribe(bob, await published(ada))
    return Case(bob, admin, made, bob.tenant_id)


@pytest.fixture
async def follower(api: Api, admin: asyncpg.Connection) -> Case:
    ada, bob = await api.person("ada"), await api.person("bob")
    template, _ = await shared(ada, admin)
    return Case(bob, admin, await subscribe(bob, template), ada.tenant_id)


def worth(view: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(None if view[name] is None else Decimal(view[name]) for name in ("equity", "profit", "return"))


async def test_a_dedicated_subscription_makes_a_bot_with_a_sealed_token(dedicated: Case) -> None:
    view = await dedicated.read()
    assert (view["status"], view["hosting"], view["bot_status"], view["currency"]) == (
        "active",
        "dedicated",
        "starting",
        "USDT",
    )
    assert worth(view) == (None, None, None)
    bot = await dedicated.person.call("GET", f"/bots/{dedicated.bot}", status=200)
    assert (bot["bot_type"], bot["desired"], bot["credentials"]["set"]) == ("platform", "running", True)
    assert bot["subscription_id"] == dedicated.id
    rows = await dedicated.admin.fetch(
        "select kind, octet_length(sealed) from bot_secrets where bot_id = $1", dedicated.bot
    )
    assert [row["kind"] for row in rows] == ["credentials"]
    assert await dedicated.ledger() == [("deposit", Decimal(1000))]


async def test_a_bot_that_carries_capital_is_steered_by_its_subscription(dedicated: Case) -> None:
    for method, path in (("POST", "/start"), ("POST", "/stop"), ("DELETE", "")):
        problem = await dedicated.person.call(method, f"/bots/{dedicated.bot}{path}", status=409)
        assert problem["code"] == "managed_by_subscription"
    problem = await dedicated.person.call("PATCH", f"/bots/{dedicated.bot}", json={"config": {}}, status=409)
    assert problem["code"] == "managed_by_subscription"
    await dedicated.person.call("POST", f"/bots/{dedicated.bot}/restart", status=202)


async def test_a_dedicated_deposit_is_no_profit(dedicated: Case) -> None:
    await dedicated.figures("1100", "1000", "1.1")
    assert worth(await dedicated.read()) == (Decimal(1100), Decimal(100), Decimal("0.1"))
    _, before = await dedicated.bot_wish()
    changed = await dedicated.change(allocation_amount="1500")
    assert (changed["allocation_amount"], worth(changed)[1:]) == ("1500.00000000", (Decimal(100), Decimal("0.1")))
    assert await dedicated.bot_wish() == ("running", before + 1)
    await dedicated.figures("1600", "1500", "1.1")
    assert worth(await dedicated.read()) == (Decimal(1600), Decimal(100), Decimal("0.1"))
    assert await dedicated.ledger() == [("deposit", Decimal(1000)), ("deposit", Decimal(500))]


async def test_no_more_can_be_withdrawn_than_there_is(dedicated: Case) -> None:
    assert (await dedicated.change(409, allocation_amount="900"))["code"] == "no_figures_yet"
    await dedicated.figures("500", "1000", "0.5")
    await dedicated.change(422, allocation_amount="400")
    await dedicated.change(allocation_amount="700")
    # The bot has not taken the 300 out yet: its figures still show them.
    await dedicated.change(422, allocation_amount="400")
    await dedicated.change(allocation_amount="600")
    await dedicated.figures("100", "600", "0.5")
    await dedicated.change(422, allocation_amount="500")
    await dedicated.change(allocation_amount="501")
    assert [amount for _, amount in await dedicated.ledger()] == [1000, -300, -100, -99]


async def test_pause_and_resume_steer_the_dedicated_bot(dedicated: Case) -> None:
    assert (await dedicated.change(status="paused"))["status"] == "paused"
    assert await dedicated.bot_wish() == ("stopped", 2)
    await dedicated.change(status="paused")
    assert await dedicated.bot_wish() == ("stopped", 2)
    await dedicated.change(allocation_amount="2000")
    assert (await dedicated.bot_wish())[0] == "stopped"
    assert (await dedicated.change(status="active"))["bot_status"] == "starting"
    assert [kind for kind, _ in await dedicated.ledger()] == ["deposit", "pause", "deposit", "resume"]


async def test_cancelling_takes_the_bot_away_and_keeps_the_story(dedicated: Case) -> None:
    await dedicated.figures("1250", "1000", "1.25")
    ended = await dedicated.person.call("DELETE", f"/subscriptions/{dedicated.id}", status=200)
    assert (ended["status"], worth(ended)) == ("cancelled", (Decimal(1250), Decimal(250), Decimal("0.25")))
    await dedicated.figures("1", "1", "9")  # said by a bot on its way out
    assert worth(await dedicated.read()) == (Decimal(1250), Decimal(250), Decimal("0.25"))
    assert (await dedicated.ledger())[-1] == ("redemption", Decimal(-1250))
    await dedicated.person.call("GET", f"/bots/{dedicated.bot}", status=404)
    assert await dedicated.admin.fetchval("select count(*) from bot_secrets where bot_id = $1", dedicated.bot) == 0
    for method, body in (("DELETE", {}), ("PATCH", {"json": {"status": "active"}})):
        problem = await dedicated.person.call(method, f"/subscriptions/{dedicated.id}", status=409, **body)
        assert problem["code"] == "subscription_cancelled"
    again = {"template_id": ended["template_id"], "allocation_amount": "100"}
    await dedicated.person.call("POST", "/subscriptions", json=again, status=201)


async def test_what_left_is_unknown_where_the_worth_was(dedicated: Case) -> None:
    ended = await dedicated.person.call("DELETE", f"/subscriptions/{dedicated.id}", status=200)
    assert worth(ended) == (None, None, None)
    assert await dedicated.ledger() == [("deposit", Decimal(1000))]


async def test_a_follower_holds_units_of_the_index(follower: Case) -> None:
    assert worth(await follower.read()) == (1000, 0, 0)
    await follower.figures(value="1.1")
    assert worth(await follower.read()) == (1100, 100, Decimal("0.1"))
    changed = await follower.change(allocation_amount="2100")
    assert worth(changed) == (2200, 100, Decimal("0.1"))
    await follower.figures(value="1.21")
    assert worth(await follower.read()) == (2420, 320, Decimal("0.21"))
    less = await follower.change(allocation_amount="1100")
    assert worth(less) == (1420, 320, Decimal("0.21"))
    assert less["net_deposits"] == "1100.00000000"
    moved = [("deposit", Decimal(1000)), ("deposit", Decimal(1100)), ("withdrawal", Decimal(-1000))]
    assert await follower.ledger() == moved


async def test_a_paused_follower_is_out_of_the_market(follower: Case) -> None:
    await follower.figures(value="1.5")
    await follower.change(status="paused")
    await follower.figures(value="0.1")
    assert worth(await follower.read()) == (1500, 500, Decimal("0.5"))
    both = await follower.change(status="active", allocation_amount="1500")
    assert worth(both) == (2000, 500, Decimal("0.5"))
    await follower.figures(value="0.2")
    assert worth(await follower.read()) == (4000, 2500, 2)
    ended = await follower.person.call("DELETE", f"/subscriptions/{follower.id}", status=200)
    await follower.figures(value="9")
    assert worth(ended) == worth(await follower.read()) == (4000, 2500, 2)
    points = (await follower.person.call("GET", f"/subscriptions/{follower.id}/performance", status=200))["points"]
    assert all(Decimal(point["equity"]) > 0 for point in points)


async def test_a_bot_that_has_lost_everything_is_no_fault_of_ours(follower: Case) -> None:
    await follower.figures(value="0")
    assert worth(await follower.read()) == (0, -1000, -1)
    assert (await follower.change(409, allocation_amount="2000"))["code"] == "bot_is_worthless"
    await follower.change(status="paused")
    assert (await follower.change(409, status="active"))["code"] == "bot_is_worthless"
    await follower.person.call("DELETE", f"/subscriptions/{follower.id}", status=200)
    assert worth(await follower.read()) == (0, -1000, -1)


async def test_whoever_has_become_very_rich_may_leave(follower: Case) -> None:
    await follower.change(allocation_amount="100000000")
    await follower.figures(value="900000000000")
    rich = Decimal(90_000_000_000_000_000_000)
    assert worth(await follower.read())[0] == rich
    paused = await follower.change(status="paused")
    assert worth(paused)[:2] == (rich, rich - 100_000_000)
    assert worth(await follower.change(status="active"))[0] == rich
    await follower.change(status="paused")
    ended = await follower.person.call("DELETE", f"/subscriptions/{follower.id}", status=200)
    assert worth(ended)[0] == rich
    assert (await follower.ledger())[-1] == ("redemption", -rich)


@pytest.mark.parametrize(
    ("amount", "status", "code"),
    [
        ("99.99999999", 422, "below_minimum"),
        ("0", 422, "unacceptable"),
        ("-100", 422, "unacceptable"),
        ("NaN", 422, "unacceptable"),
        ("1e15", 422, "unacceptable"),
        ("1e16", 422, "unacceptable"),
        ("100.000000001", 422, "unacceptable"),
        ("much", 400, "invalid_fields"),
        (None, 400, "invalid_fields"),
        (True, 400, "invalid_fields"),
        (100, 201, None),
        (100.5, 201, None),
    ],
)
async def test_amounts(api: Api, admin: asyncpg.Connection, amount: Any, status: int, code: str | None) -> None:
    ada = await api.person()
    template, bot = await shared(ada, admin)
    await snapshot(admin, ada.tenant_id, bot, unit_value=Decimal("0.000001"))
    body = {"template_id": str(template), "allocation_amount": amount}
    answer = await ada.call("POST", "/subscriptions", json=body, status=status)
    assert answer.get("code") == code
    assert len((await ada.call("GET", "/subscriptions"))["items"]) == (status == 201)


async def test_one_subscription_a_person_and_template(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    template = await published(ada)
    body = {"template_id": str(template), "allocation_amount": "100"}
    answers = await asyncio.gather(*(ada.call("POST", "/subscriptions", json=body) for _ in range(5)))
    assert sorted(answer.get("code", "made") for answer in answers) == ["already_subscribed"] * 4 + ["made"]
    assert await admin.fetchval("select count(*) from bots") == 1  # nothing is left of the refused ones
    other = await api.person("bob")
    await other.call("POST", "/subscriptions", json=body, status=201)


@pytest.mark.parametrize(("hosting", "table"), [("dedicated", "bots"), ("shared", "subscriptions")])
async def test_a_template_that_vanishes_amid_a_subscription(
    api: Api, admin: asyncpg.Connection, urls: Urls, hosting: str, table: str
) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    template = await published(ada) if hosting == "dedicated" else (await shared(ada, admin))[0]
    body = {"template_id": str(template), "allocation_amount": "100"}
    other = await asyncpg.connect(urls.admin)
    async with other.transaction():
        await other.execute(f"lock table {table} in share row exclusive mode")  # read, but not yet written
        request = asyncio.create_task(bob.call("POST", "/subscriptions", json=body))
        waiting = "select count(*) from pg_locks where not granted and relation = $1::text::regclass"
        await until(lambda: admin.fetchval(waiting, table), what="the request waits to write")
        await other.execute("delete from marketplace_listings")
    await other.close()
    problem = await request
    assert (problem["status"], problem["code"]) == (404, "not_found")
    assert await admin.fetchval("select count(*) from bots where tenant_id = $1", bob.tenant_id) == 0


async def test_a_shared_bot_that_is_gone_is_not_bought_at_anothers_index(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    template, bot = await shared(ada, admin)
    body = {"bot_type": "platform", "engine": "tradewise", "name": "own", "template_id": str(template)}
    own = await ada.call("POST", "/bots", json=body, status=201)
    await snapshot(admin, ada.tenant_id, UUID(own["id"]), unit_value=Decimal(7))
    await ada.call("DELETE", f"/bots/{bot}", status=204)
    body = {"template_id": str(template), "allocation_amount": "100"}
    assert (await bob.call("POST", "/subscriptions", json=body, status=409))["code"] == "no_figures_yet"


async def test_concurrent_changes_take_turns(follower: Case) -> None:
    await asyncio.gather(*(follower.change(allocation_amount=str(1000 + step)) for step in range(1, 6)))
    ledger = await follower.ledger()
    allocated = Decimal((await follower.read())["allocation_amount"])
    assert sum(amount for _, amount in ledger) == allocated
    assert worth(await follower.read())[:2] == (allocated, 0)


async def test_an_unpublished_template_still_carries_its_subscriptions(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    made = await ada.call("POST", "/templates", json=template_body(), status=201)
    await ada.call("POST", f"/templates/{made['id']}/publish", status=200)
    case = Case(bob, admin, await subscribe(bob, UUID(made["id"])), bob.tenant_id)
    await ada.call("DELETE", f"/templates/{made['id']}", status=204)
    await case.figures("1000", "1000", "1")
    assert (await case.change(allocation_amount="50"))["template_name"] is None
    await bob.call("DELETE", f"/subscriptions/{case.id}", status=200)
