"""What pages say of hosted bots, their plan and their reach, and what may be chosen there."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import pytest
from uuid_utils.compat import uuid7

from control_plane.plans import Plan
from control_plane.security.egress import ALSO_BLOCKED, BLOCKED, parse_destination
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, Person, running_api
from tests.factories import Urls
from tests.integration.dashboard.browser import Browser, words_of
from tests.members import joined
from tests.world import external_body

SMALL = Plan(cpus=0.5, memory_mib=128, processes=64, disk_mib=10, log_mib=3, running_bots=1)
HOSTED = {"bot_type": "platform", "engine": "tradewise", "name": "Ours", "config": '{"currency": "USDT"}'}
LISTED = {"mode": "listed", "destinations": "45.67.89.10:443\r\n45.67.90.0/24, 45.67.91.7"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a plan that is soon used up."""
    return msgspec.structs.replace(settings, plans={"free": SMALL})


async def registered(browser: Browser, **fields: str) -> str:
    """Register a hosted bot by the form; where its page is."""
    await browser.get("/bots/new")
    answer = await browser.send("/bots", HOSTED | fields)
    return str(answer.headers["location"].removesuffix("/registered"))


async def guard(admin: asyncpg.Connection, state: str) -> None:
    """What an acting launcher says of its guard."""
    await admin.execute(
        "insert into agent_beats (id, kind, version, state, detail) values ($1, 'launcher', '1', 'working',"
        " jsonb_build_object('role', 'acting', 'containment', jsonb_build_object('guard', $2::text)))",
        uuid7(),
        state,
    )


async def rules(person: Person) -> Any:
    """The rules as the API reads them."""
    return await person.call("GET", f"/tenants/{person.tenant_id}/egress")


async def test_what_happens_at_an_end_is_chosen_changed_and_shown(browser: Browser, person: Person) -> None:
    form = words_of(await browser.get("/bots/new"))
    assert "stays ended where it ended in good order" in form
    assert "its positions are sold at the market" in form
    path = await registered(browser, crash_policy="never", on_stop="close")
    bot = await person.call("GET", path)
    assert (bot["crash_policy"], bot["on_stop"]) == ("never", "close")
    page = await browser.get(path)
    assert "Starts again never Restarts used none At a stop close positions" in words_of(page)
    assert 'value="never" checked' in page.text
    assert 'value="close" checked' in page.text
    sent = {"crash_policy": "always", "on_stop": "close"}
    page = await browser.follow(await browser.send(f"{path}/endings", sent))
    assert "It holds from now on." in words_of(page)
    assert "Starts again always" in words_of(page)
    bot = await person.call("GET", path)
    assert (bot["crash_policy"], bot["on_stop"], bot["desired"]) == ("always", "close", "stopped")
    history = (await person.call("GET", f"{path}/events"))["items"]
    assert [event["reason"] for event in history if event["kind"] == "changed"] == ["crash_policy"]


async def test_a_bot_for_which_nothing_is_chosen_gets_the_usual(browser: Browser, person: Person) -> None:
    bot = await person.call("GET", await registered(browser))
    assert (bot["crash_policy"], bot["on_stop"]) == ("on_failure", "keep")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"crash_policy": "sometimes", "on_stop": "keep"}, "Is not one of the choices."),
        ({"crash_policy": "never"}, "This is needed."),
        ({"crash_policy": "never", "on_stop": "keep", "name": "Other"}, "is not a field here"),
    ],
)
async def test_a_choice_that_does_not_fit(browser: Browser, person: Person, sent: dict[str, str], words: str) -> None:
    path = await registered(browser)
    page = await browser.send(f"{path}/endings", sent, 422)
    assert words.lower() in words_of(page).lower()
    assert '<details class="more" open>' in page.text
    assert (await person.call("GET", path))["crash_policy"] == "on_failure"


async def test_a_bot_that_runs_elsewhere_has_no_such_choices(browser: Browser, person: Person) -> None:
    bot = (await person.call("POST", "/bots", json=external_body(), status=201))["id"]
    page = await browser.get(f"/bots/{bot}")
    assert "/endings" not in page.text
    assert "Restarts used" not in words_of(page)
    await browser.send(f"/bots/{bot}/endings", {"crash_policy": "never", "on_stop": "keep"}, 404)


async def test_limits_restarts_and_orders_that_nobody_confirmed(
    browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    path = await registered(browser)
    told = words_of(await browser.get(path))
    for fact in (
        "CPU, at most 0.50 cores",
        "Memory, at most 128 MiB",
        "Processes, at most 64",
        "Disk, at most 10.0 MiB",
        "Output kept 3.0 MiB",
        "Restarts used none",
    ):
        assert fact in told
    assert "Orders unconfirmed" not in told
    assert "Next try" not in told
    await person.call("POST", f"{path}/start", status=202)
    await admin.execute(
        "update bots set status = 'starting', observed_generation = generation, reason = 'restarting',"
        " attempt = 3, next_retry_at = now() + interval '150 seconds', orders_unconfirmed = true where id = $1",
        path.rpartition("/")[2],
    )
    for shown in (path, f"{path}/panel"):
        told = words_of(await browser.get(shown))
        assert "Restarts used 3 Next try in 2 minutes" in told
        assert told.count("Orders unconfirmed") == 1
        assert "Look at its exchange account" in told


async def test_the_plan_shows_with_what_is_used_of_it(browser: Browser, person: Person) -> None:
    told = words_of(await browser.get("/team/hosting"))
    assert "Plan free Hosted bots that may run 1 Wished to run now 0" in told
    assert "CPU, at most 0.50 cores" in told
    assert "A bot of freqtrade gets 512 MiB of memory" in told
    assert "No further one can be started" not in told
    await person.call("POST", f"{await registered(browser)}/start", status=202)
    told = words_of(await browser.get("/team/hosting"))
    assert "Wished to run now 1" in told
    assert "No further one can be started" in told


async def test_every_rule_shows_with_its_reason_and_whether_it_is_enforced(
    browser: Browser, admin: asyncpg.Connection
) -> None:
    page = await browser.get("/team/hosting")
    told = words_of(page)
    assert "Not confirmed" in told
    assert "No bot starts before they hold" in told
    assert "Every public IPv4 address, at every port" in told
    for rule in BLOCKED:
        assert rule.network in told
        assert rule.reason[1:] in told
    for rule in ALSO_BLOCKED:
        assert rule.network[1:] in told
        assert rule.reason[1:] in told
    await guard(admin, "holds")
    told = words_of(await browser.get("/team/hosting"))
    assert "Enforced" in told
    assert "whatever a bot's program does" in told


async def test_an_entry_that_is_closed_to_every_bot_is_not_shown_as_open(browser: Browser) -> None:
    await browser.get("/team/hosting")
    sent = {"mode": "listed", "destinations": "10.1.2.3:443 45.67.89.10"}
    told = words_of(await browser.follow(await browser.send("/team/hosting/reach", sent)))
    opened, _, closed = told.partition("Closed to every bot")
    assert "45.67.89.10/32 It is on your list." in opened
    assert "10.1.2.3" not in opened
    assert "10.1.2.3/32:443 It is on your list, and stays closed: Private network." in closed


async def test_an_owner_narrows_it_and_sees_when_it_is_so(
    browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    await guard(admin, "holds")
    await browser.get("/team/hosting")
    page = await browser.follow(await browser.send("/team/hosting/reach", LISTED))
    told = words_of(page)
    assert "The rules were saved." in told
    assert "Being applied" in told
    assert 'hx-trigger="every 2s"' in page.text
    assert "Your rule only what you list" in told
    assert "Every public IPv4 address, at every port" not in told.partition("Narrow it")[0]
    assert "Everything that is not open above You have narrowed it." in told
    for place in ("45.67.89.10/32:443", "45.67.90.0/24", "45.67.91.7/32"):
        assert place in told
    assert 'value="listed" checked' in page.text
    await admin.execute(
        "update tenant_egress set applied_revision = revision, applied_at = now() where tenant_id = $1",
        person.tenant_id,
    )
    page = await browser.get("/team/hosting")
    assert "Enforced" in words_of(page)
    assert "In the firewall since" in words_of(page)
    assert "hx-trigger" not in page.text.partition('id="narrow"')[0].partition('id="reach"')[2]
    page = await browser.follow(await browser.send("/team/hosting/reach", {"mode": "none", "destinations": ""}))
    assert "You have closed everything." in words_of(page)
    assert ((await rules(person))["mode"], (await rules(person))["destinations"]) == ("none", [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"destinations": ""}, "must name at least one network"),
        ({"destinations": "45.67.89.10\nexchange.example"}, "Number 2: must be an IPv4 address or network"),
        ({"destinations": "45.67.89.1/24"}, "Number 1: is no network: write 45.67.89.0/24"),
        ({"destinations": "::1"}, "Number 1: is IPv6"),
        ({"destinations": "\n".join(f"45.67.89.{n}" for n in range(65))}, "There may be at most 64."),
        ({"mode": "public"}, "are for the mode listed"),
        ({"mode": "half"}, "is not one of the choices"),
        ({"mode": ""}, "This is needed."),
        ({"color": "blue"}, "is not a field here"),
    ],
)
async def test_rules_that_do_not_fit(browser: Browser, person: Person, changes: dict[str, str], words: str) -> None:
    await browser.get("/team/hosting")
    sent = LISTED | changes
    page = await browser.send("/team/hosting/reach", sent, 422)
    assert words.lower() in words_of(page).lower()
    assert all(place in page.text for place in sent["destinations"].split())
    assert (await rules(person))["updated_at"] is None


async def test_members_read_and_only_owners_and_admins_narrow(
    api: Api, admin: asyncpg.Connection, vault: Vault, person: Person
) -> None:
    for role in ("admin", "trader", "viewer"):
        member = await joined(api, admin, vault, person, role, role)
        async with Browser(api) as one:
            await one.sign_in(member)
            await one.get("/")
            await one.send("/switch-tenant", {"tenant": str(person.tenant_id)})
            page = await one.get("/team/hosting")
            assert "What bots may reach" in words_of(page)
            assert ('action="/team/hosting/reach"' in page.text) == (role == "admin")
            assert ("An owner or an admin" in words_of(page)) == (role != "admin")
            await one.send("/team/hosting/reach", {"mode": "none"}, 303 if role == "admin" else 403)
        assert (await rules(person))["mode"] == "none"


async def test_a_viewer_sees_what_happens_at_an_end_and_changes_nothing(
    api: Api, admin: asyncpg.Connection, browser: Browser, person: Person
) -> None:
    path = await registered(browser)
    await admin.execute("update memberships set role = 'viewer' where user_id = $1", person.user_id)
    page = await browser.get(path)
    assert "Starts again after a failure" in words_of(page)
    assert "/endings" not in page.text
    await browser.send(f"{path}/endings", {"crash_policy": "never", "on_stop": "keep"}, 403)


async def test_a_suspended_tenant_reads_its_rules(browser: Browser, person: Person) -> None:
    await browser.get("/team")
    await browser.send("/team/suspend")
    page = await browser.get("/team/hosting")
    assert "can be read and not changed" in words_of(page)
    assert 'action="/team/hosting/reach"' not in page.text
    await browser.send("/team/hosting/reach", {"mode": "none"}, 403)
    assert (await rules(person))["mode"] == "public"


async def test_what_the_operator_has_set_shows(settings: Settings, urls: Urls, vault: Vault) -> None:
    opened = (parse_destination("10.1.2.3:9000"),)
    narrow = msgspec.structs.replace(settings, bot_egress="listed", egress_guard="off", bot_egress_allow=opened)
    async with running_api(narrow, urls, vault) as api, Browser(api) as browser:
        await browser.sign_in(await api.person("ada"))
        told = words_of(await browser.get("/team/hosting"))
    assert "Not enforced The operator has switched the guard off" in told
    assert "Your operator allows only what they have opened" in told
    assert "10.1.2.3/32:9000 Your operator has opened it for all bots." in told
    assert "Everything that is not open above Your operator has narrowed it." in told
    closed = msgspec.structs.replace(settings, bot_egress="none", bot_egress_allow=opened)
    async with running_api(closed, urls, vault) as api, Browser(api) as browser:
        await browser.sign_in(await api.person("bob"))
        told = words_of(await browser.get("/team/hosting"))
    assert "Nothing Your operator has closed everything." in told
    assert "10.1.2.3" not in told
