"""Every page, for a tenant that has nothing yet and for one that has used everything."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from tests.api import Api
from tests.integration.dashboard.browser import Browser, words_of
from tests.world import Tenant, external_body, full_tenant, published, snapshot, two_tenants

FRESH = {
    "/": "No bots yet",
    "/bots/new": "Register a bot",
    "/marketplace": "Nothing to see here yet",
    "/subscriptions": "No subscriptions yet",
    "/templates": "No templates yet",
    "/templates/new": "New template",
    "/keys": "New key",
    "/api/docs": "API reference",
    "/team": "Who works in this tenant",
    "/team/hosting": "What bots may reach",
    "/audit": "Tenant created",
    "/tenants/new": "New tenant",
    "/invitations": "Accept an invitation",
}


def paths_of(tenant: Tenant, other: Tenant) -> list[str]:
    """Every page and every part of a page that a tenant can open."""
    bots = [f"/bots/{bot}" for bot in (tenant.external, tenant.hosted, tenant.shared_bot)]
    subscriptions = [f"/subscriptions/{one}" for one in (tenant.subscription, tenant.follow)]
    return [
        *FRESH,
        "/?q=el&status=inactive&bot_type=external",
        "/?status=nonsense&bot_type=nonsense",
        "/marketplace?q=s&risk_level=low&strategy_type=dca&sort=return",
        "/marketplace?sort=nonsense",
        *(
            f"{bot}{part}"
            for bot in bots
            for part in ("", "/registered", "/credentials", "/panel", "?range=hour", "?range=all")
        ),
        *(f"{one}{part}" for one in subscriptions for part in ("", "?range=week", "?range=nonsense")),
        *(f"/marketplace/{one}" for one in (tenant.template, other.template, other.shared_template)),
    ]


async def test_every_page_of_a_fresh_tenant(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(person)
        for path, words in FRESH.items():
            page = await browser.get(path)
            assert words in words_of(page), path
            assert page.headers["content-type"].startswith("text/html")


async def test_every_page_of_a_busy_tenant(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await two_tenants(api, admin)
    async with Browser(api) as browser:
        await browser.sign_in(ada.person)
        for path in paths_of(ada, bob):
            page = await browser.get(path)
            # A value that was not given a form for people, or a helper printed instead of called.
            for trace in ("None", "Undefined", "<function", "&lt;function", "Decimal("):
                assert trace not in page.text, (path, trace)


async def test_series_are_exact_and_for_the_chart(api: Api, admin: asyncpg.Connection) -> None:
    ada, _ = await two_tenants(api, admin)
    async with Browser(api) as browser:
        await browser.sign_in(ada.person)
        # Of the shared bot nothing has been read for five minutes, and the curve says so.
        for path, expected in (
            (f"/bots/{ada.shared_bot}", ["1000.00000000", None]),
            (f"/subscriptions/{ada.subscription}", ["1000.00000000"]),
        ):
            body = (await browser.get(f"{path}/equity.json?range=day")).json()
            assert body["currency"] == "USDT"
            assert [value for _, value in body["points"]] == expected


async def test_another_tenants_things_are_not_there(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await two_tenants(api, admin)
    foreign = {"bots": bob.hosted, "subscriptions": bob.subscription}
    async with Browser(api) as browser:
        await browser.sign_in(ada.person)
        await browser.get("/")
        for area, identity in foreign.items():
            for name in (str(identity), str(uuid7())):
                own = f"/{area}/{name}"
                missing = [own, *([f"{own}/panel", f"{own}/registered"] if area == "bots" else [])]
                told = [words_of(await browser.get(path, 404)) for path in missing]
                assert all("There is no such" in words for words in told)
                assert (await browser.get(f"{own}/equity.json", 404)).json()["code"] == "not_found"
        actions = [
            *(f"/bots/{bob.hosted}/{verb}" for verb in ("start", "stop", "restart", "ping", "delete")),
            *(f"/subscriptions/{bob.subscription}/{verb}" for verb in ("pause", "resume", "cancel")),
            *(f"/templates/{bob.template}/{verb}" for verb in ("publish", "unpublish")),
            f"/keys/{bob.key_id}/revoke",
            f"/marketplace/{bob.draft}/subscribe",
        ]
        for path in actions:
            await browser.send(path, {"allocation_amount": "1000"}, 404)
    assert (await bob.person.call("GET", f"/bots/{bob.hosted}"))["desired"] == "stopped"


async def test_an_address_that_nobody_serves_is_told_on_a_page_with_its_headers(api: Api) -> None:
    async with Browser(api) as browser:
        for path in ("/nothing", "/bots/not-an-id", "/bots/x/y/z"):
            page = await browser.get(path, 404)
            assert "There is nothing at this address" in words_of(page)
            assert "script-src 'self'" in page.headers["content-security-policy"]
            assert page.headers["cache-control"] == "no-store"
        answer = await browser.get("/api/v1/nothing", 404)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_an_address_that_only_forms_are_sent_to_leads_to_the_page_above_it(
    api: Api, admin: asyncpg.Connection
) -> None:
    """It stands in the address bar after a form was refused, and is what people type: `/bots`."""
    ada = await full_tenant(api, admin, "ada")
    async with Browser(api) as browser:
        await browser.get("/bots?x=1", 303)
        await browser.sign_in(ada.person)
        for path, leads_to in (
            ("/bots", "/"),
            ("/bots/", "/"),
            ("/tenants", "/"),
            ("/sign-out", "/"),
            ("/alerts/rules", "/alerts"),
            ("/team/invitations", "/team"),
            (f"/bots/{ada.hosted}/stop", f"/bots/{ada.hosted}"),
            (f"/marketplace/{ada.template}/subscribe", f"/marketplace/{ada.template}"),
        ):
            answer = await browser.get(path, 303)
            assert answer.headers["location"] == leads_to
            await browser.get(leads_to)
        # Nothing is to be seen of one member or one key alone.
        answer = await browser.get(f"/keys/{uuid7()}/revoke", 303)
        assert "There is nothing at this address" in words_of(await browser.get(answer.headers["location"], 404))
        # Whatever else is asked of an address than to see it is told that it cannot be done.
        assert (await browser.send("/marketplace", status=405)).status_code == 405
        assert (await browser.get("/bots", 405, headers={"HX-Request": "true"})).status_code == 405
        assert (await browser.get("/api/v1/bots/x", 404)).headers["content-type"] == "application/problem+json"
        assert (await browser.get("/api/v1/auth/sign-in", 405)).headers["allow"]


async def test_a_viewer_looks_and_changes_nothing(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await two_tenants(api, admin)
    await admin.execute("update memberships set role = 'viewer' where user_id = $1", ada.person.user_id)
    async with Browser(api) as browser:
        await browser.sign_in(ada.person)
        for path in (f"/bots/{ada.hosted}", "/templates", f"/subscriptions/{ada.subscription}"):
            page = await browser.get(path)
            forms = page.text.count('method="post"')
            assert forms == 1, path  # to sign out
        offer = await published(bob.person, name="Another")
        assert "may look, not subscribe" in words_of(await browser.get(f"/marketplace/{offer}"))
        for path in ("/keys", "/bots/new", "/templates/new"):
            assert "does not hold the scope" in words_of(await browser.get(path, 403))
        for path in (f"/bots/{ada.hosted}/start", f"/templates/{ada.template}/unpublish", f"/keys/{ada.key_id}/revoke"):
            await browser.send(path, {}, 403)


async def test_lists_go_on_without_losing_their_filters(api: Api, admin: asyncpg.Connection) -> None:
    person = await api.person()
    await admin.execute(
        "with made as (insert into bots (id, tenant_id, bot_type, engine, name)"
        " select gen_random_uuid(), $1, 'platform', 'tradewise', 'grid ' || n from generate_series(1, 60) n"
        " returning id)"
        " insert into bot_health (id, tenant_id) select id, $1 from made",
        person.tenant_id,
    )
    async with Browser(api) as browser:
        await browser.sign_in(person)
        first = await browser.get("/?q=grid")
        more = first.text.split('">Show more</a>')[0].rsplit('href="', 1)[1].replace("&amp;", "&")
        assert "q=grid" in more
        second = await browser.get(more)
        assert "Show more" not in second.text
        names = {text for page in (first, second) for text in page.text.split('"') if text.startswith("/bots/")}
        rows = {UUID(text.split("/")[2]) for text in names if text.count("/") == 2 and text != "/bots/new"}
        assert len(rows) == 60


async def test_assets_are_cached_for_ever_and_typed(api: Api) -> None:
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    pages = [(await api.client.get(path)).text for path in ("/sign-in", "/api/docs")]
    named = {found for page in pages for found in re.findall(r'"(/assets/[^"]+)"', page)}
    assert len(named) == 5
    for path in named:
        answer = await api.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].split(";")[0] == kinds[path.rsplit(".", 1)[1]]


async def test_only_files_of_the_build_are_assets(api: Api) -> None:
    for path in ("manifest.json", ".built-from", "..%2F__init__.py", "%2e%2e/__init__.py", "app.js"):
        assert (await api.client.get(f"/assets/{path}")).status_code in {400, 404}, path


async def test_drawdown_now_is_not_known_where_nothing_has_been_read_lately(
    api: Api, admin: asyncpg.Connection
) -> None:
    person = await api.person()
    bot = (await person.call("POST", "/bots", json=external_body(), status=201))["id"]
    for minutes, index in ((61, "4"), (60, "2")):
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        await snapshot(admin, person.tenant_id, UUID(bot), at=at, unit_value=Decimal(index))
    async with Browser(api) as browser:
        await browser.sign_in(person)
        words = words_of(await browser.get(f"/bots/{bot}"))
    assert "Now, below its highest ever – not known: its newest reading tells none, or is old" in words
    assert "Worst in the time shown 50.00%" in words
