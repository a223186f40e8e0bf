"""Signing in by an OpenID provider: the web tier, the notifier's exchange and a real small provider together."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import jwt
import msgspec
import pytest

from agents.agent import make_pool
from agents.notifier import provider as notifier_provider
from agents.notifier.exchange import CHANNEL, Exchange
from control_plane.database.listener import Listener
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api, running_api
from tests.factories import Urls
from tests.second_ways import code_of, later, with_totp
from tests.servers.identity_provider import IdentityProvider, Person
from tests.servers.loopback import Reply, json_reply
from tests.waiting import until

PUBLIC = "https://tradewise.example"
REDIRECT = f"{PUBLIC}/sign-in/oidc/callback"


class World(msgspec.Struct):
    """An application, a provider, and the exchange between them."""

    api: Api
    provider: IdentityProvider
    exchange: Exchange

    async def start(self) -> dict[str, Any]:
        """Begin to sign in."""
        answer = await self.api.client.get("/api/v1/auth/oidc/start")
        assert answer.status_code == 200, answer.text
        begun: dict[str, Any] = answer.json()
        return begun

    async def callback(self, **body: Any) -> httpx.Response:
        """Come back from the provider."""
        return await self.api.client.post("/api/v1/auth/oidc/callback", json=body)

    async def sign_in(self, person: Person | None = None, **more: Any) -> httpx.Response:
        """The whole way."""
        begun = await self.start()
        return await self.callback(**self.provider.agree(begun["authorization_url"], person), **more)


@asynccontextmanager
async def exchanging(settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Exchange]:
    """The exchange as the notifier runs it: woken by notifications, looking now and then without."""
    pool = await make_pool(urls["agent_notifier"], "notifier", size=4)
    exchange = Exchange(settings, pool, vault)
    wake = asyncio.Event()
    listener = Listener(
        urls["agent_notifier"],
        (CHANNEL,),
        lambda *_: wake.set(),
        wake.set,
        application_name="tradewise-notifier-listen",
    )

    async def run() -> None:
        while True:
            wake.clear()
            delay = await exchange.work()
            try:
                await asyncio.wait_for(wake.wait(), delay)
            except TimeoutError:
                continue

    tasks = [asyncio.create_task(listener.run()), asyncio.create_task(run())]
    try:
        yield exchange
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await exchange.close()
        await pool.close()


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider(REDIRECT) as running:
        yield running


def settings_with(settings: Settings, provider: IdentityProvider) -> Settings:
    return msgspec.structs.replace(
        settings,
        public_url=PUBLIC,
        oidc_issuer=provider.issuer,
        oidc_client_id=provider.client_id,
        oidc_client_secret=provider.client_secret,
    )


@pytest.fixture
async def world(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection, provider: IdentityProvider
) -> AsyncIterator[World]:
    ours = settings_with(settings, provider)
    # The web tier has no client secret: it must not need one.
    web = msgspec.structs.replace(ours, oidc_client_secret=None)
    async with running_api(web, urls, vault) as api, exchanging(ours, urls, vault) as exchange:
        await until(lambda: admin.fetchval("select count(*) from identity_providers"), what="discovery is published")
        await until(lambda: admin.fetchval("select count(*) from platform_keys"), what="the platform has a key")
        yield World(api, provider, exchange)


def coded(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


async def people(admin: asyncpg.Connection) -> int:
    found: int = await admin.fetchval("select count(*) from users")
    return found


async def test_the_first_time_makes_a_person_and_the_second_finds_them(world: World, admin: asyncpg.Connection) -> None:
    first = await world.sign_in()
    assert first.status_code == 200, first.text
    user = first.json()["user"]
    assert (user["email"], user["full_name"]) == ("ada@example.org", "Ada Lovelace")
    assert await admin.fetchval("select email_verified_at is not null and password_hash is null from users")
    head = {"Authorization": f"Bearer {first.json()['access_token']}"}
    [identity] = (await world.api.client.get("/api/v1/me/identities", headers=head)).json()["items"]
    assert (identity["provider"], identity["issuer"], identity["label"]) == (
        "oidc",
        world.provider.issuer,
        user["email"],
    )
    # It is the subject that tells who somebody is: a new address there changes nothing here.
    again = await world.sign_in(Person(email="ada@elsewhere.example", name=None))
    assert again.json()["user"]["id"] == user["id"]
    assert again.json()["user"]["email"] == "ada@example.org"
    other = await world.sign_in(Person(subject="somebody else", email="eve@example.org"))
    assert coded(other) == (401, "identity_not_proved")  # a subject is a word
    other = await world.sign_in(Person(subject="another", email="eve@example.org"))
    assert other.json()["user"]["id"] != user["id"]
    assert await admin.fetchval("select count(*) from sign_in_exchanges") == 0


async def test_two_at_once_make_one_person(world: World, admin: asyncpg.Connection) -> None:
    answers = await asyncio.gather(*(world.sign_in() for _ in range(3)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert await people(admin) == 1
    assert await admin.fetchval("select count(*) from tenants") == 1


async def test_an_address_opens_nobodys_account(world: World, admin: asyncpg.Connection) -> None:
    ada = await world.api.person("ada")
    for address in (ada.email, ada.email.upper()):
        answer = await world.sign_in(Person(email=address))
        assert coded(answer) == (409, "email_known")
    # Where the provider does not vouch for the address, nothing is told of it, and nothing taken over.
    for number, verified in enumerate((False, None, "true", 1)):
        answer = await world.sign_in(Person(subject=f"s{number}", email=ada.email, email_verified=verified))
        assert answer.status_code == 200
        assert answer.json()["user"]["email"] is None
        assert answer.json()["user"]["id"] != str(ada.user_id)
    assert await admin.fetchval("select count(*) from auth_identities where user_id = $1", ada.user_id) == 0


@pytest.mark.parametrize("methods", [None, ["client_secret_basic", "private_key_jwt"], ["client_secret_post"]])
async def test_the_client_secret_goes_as_the_provider_wants_it(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection, methods: list[str] | None
) -> None:
    async with IdentityProvider(REDIRECT) as provider:
        provider.auth_methods = methods
        ours = settings_with(settings, provider)
        async with running_api(ours, urls, vault) as api, exchanging(ours, urls, vault) as exchange:
            await until(lambda: admin.fetchval("select count(*) from identity_providers"))
            assert (await World(api, provider, exchange).sign_in()).status_code == 200


async def test_elliptic_curves(world: World) -> None:
    world.provider.algorithm = "ES256"
    assert (await world.sign_in()).status_code == 200


async def test_a_new_key_is_fetched_when_a_token_names_it(world: World) -> None:
    assert (await world.sign_in()).status_code == 200
    asked = [request.path for request in world.provider.requests].count("/keys")
    assert (await world.sign_in()).status_code == 200
    assert [request.path for request in world.provider.requests].count("/keys") == asked  # kept
    world.provider.algorithm, world.provider.kid = "ES256", "key-2"
    assert (await world.sign_in()).status_code == 200
    # Signed by the key that was taken back.
    world.provider.sign = lambda payload: jwt.encode(payload, *_private("RS256"), headers={"kid": "key-1"})
    assert coded(await world.sign_in()) == (401, "identity_not_proved")


def _private(name: str) -> tuple[Any, str]:
    from tests.servers import identity_provider  # lazy: its keys are its own

    return identity_provider._KEYS[name], name


def unsigned(payload: dict[str, Any], algorithm: str = "none") -> str:
    parts = ({"alg": algorithm, "kid": "key-1"}, payload)
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}."


Break = Callable[[IdentityProvider], None]


def says(**claims: Any) -> Break:
    def change(provider: IdentityProvider) -> None:
        provider.claims = claims

    return change


def signs(make: Callable[[IdentityProvider, dict[str, Any]], str]) -> Break:
    def change(provider: IdentityProvider) -> None:
        provider.sign = lambda payload: make(provider, payload)

    return change


def keyed(name: str) -> Break:
    def change(provider: IdentityProvider) -> None:
        provider.jwks = [provider.jwk(name, provider.kid)]
        if name == "short":
            provider.sign = lambda payload: provider.signed(payload, key="short")

    return change


def symmetric(provider: IdentityProvider, payload: dict[str, Any]) -> str:
    """HS256 with what everybody can read as its key: the oldest confusion of all."""
    signer = jwt.PyJWS().get_algorithm_by_name("HS256")
    head, body = unsigned(payload, "HS256").split(".")[:2]
    signature = signer.sign(f"{head}.{body}".encode(), provider.public_pem())
    return f"{head}.{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


NOW = int(time.time())
BAD_TOKENS: dict[str, Break] = {
    "another nonce": says(nonce="another"),
    "no nonce": says(nonce=None),
    "nonce of another kind": says(nonce=1),
    "another audience": says(aud="somebody-else"),
    "several audiences, no party": says(aud=["tradewise &co", "somebody-else"]),
    "another party": says(azp="somebody-else"),
    "another issuer": says(iss="https://accounts.example"),
    "issuer with a slash more": lambda provider: setattr(provider, "claims", {"iss": provider.issuer + "/"}),
    "no issuer": says(iss=None),
    "expired": says(exp=NOW - 3600, iat=NOW - 7200),
    "never expires": says(exp=None),
    "from the future": says(iat=NOW + 3600),
    "not yet": says(nbf=NOW + 3600),
    "no time of issue": says(iat=None),
    "no subject": says(sub=None),
    "empty subject": says(sub=""),
    "subject of another kind": says(sub=1),
    "long subject": says(sub="x" * 256),
    "no signature": signs(lambda _, payload: unsigned(payload)),
    "signature left out": signs(lambda _, payload: unsigned(payload, "RS256")),
    "symmetric": signs(symmetric),
    "somebody else's key": signs(lambda provider, payload: provider.signed(payload, key="other")),
    "unknown key": signs(lambda provider, payload: provider.signed(payload, headers={"kid": "nobody's"})),
    "changed afterwards": signs(lambda provider, payload: provider.signed(payload)[:-8] + "AAAAAAAA"),
    "no token at all": signs(lambda _, _payload: "not.a.token"),
    "keys of another kind": keyed("ES256"),
    "short key": keyed("short"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_token_that_does_not_hold_signs_nobody_in(world: World, admin: asyncpg.Connection, name: str) -> None:
    BAD_TOKENS[name](world.provider)
    answer = await world.sign_in()
    assert coded(answer) == (401, "identity_not_proved")
    assert await people(admin) == 0
    assert await admin.fetchval("select count(*) from sessions") == 0
    assert await admin.fetchval("select count(*) from sign_in_exchanges") == 0
    # It was the token that did not hold, nothing else.
    world.provider.claims, world.provider.sign, world.provider.jwks = {}, None, None
    world.provider.kid = "key-after"
    assert (await world.sign_in()).status_code == 200


BAD_ANSWERS: dict[str, tuple[Reply, tuple[int, str]]] = {
    "refused": (json_reply({"error": "invalid_grant"}, 400), (401, "code_refused")),
    "broken": (json_reply({"error": "server_error"}, 500), (503, "provider_unreachable")),
    "error page": (Reply(502, b"<html>", "text/html"), (503, "provider_unreachable")),
    "no token": (json_reply({"access_token": "x"}), (503, "provider_invalid")),
    "no json": (Reply(200, b"<html>", "text/html"), (503, "provider_invalid")),
    "a list": (json_reply([1]), (503, "provider_invalid")),
    "deep": (Reply(200, b"[" * 100_000), (503, "provider_invalid")),
    "huge": (Reply(200, b'{"id_token": "' + b"x" * 400_000 + b'"}'), (503, "provider_invalid")),
    "compressed": (Reply(200, b"x", headers={"Content-Encoding": "gzip"}), (503, "provider_invalid")),
    "redirect": (Reply(302, b"", headers={"Location": "http://127.0.0.1:1/"}), (503, "provider_invalid")),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_a_token_endpoint_that_misbehaves(world: World, admin: asyncpg.Connection, name: str) -> None:
    reply, expected = BAD_ANSWERS[name]
    world.provider.replies["/token"] = reply
    answer = await world.sign_in()
    assert coded(answer) == expected
    assert "retry-after" in answer.headers or answer.status_code == 401
    assert await people(admin) == 0


async def test_a_state_is_good_once_and_for_one_code(world: World, admin: asyncpg.Connection) -> None:
    begun = await world.start()
    back = world.provider.agree(begun["authorization_url"])
    assert (await world.callback(**back)).status_code == 200
    assert coded(await world.callback(**back)) == (401, "exchange_refused")
    begun = await world.start()
    other = world.provider.agree((await world.start())["authorization_url"])
    for body in (
        {"code": back["code"], "state": "A" * 64},
        {"code": back["code"], "state": begun["state"][:-1] + ("A" if begun["state"][-1] != "A" else "B")},
        {"code": back["code"], "state": begun["state"]},  # used at the provider already
        {"code": other["code"], "state": begun["state"]},  # the state has been used with another code
    ):
        answer = await world.callback(**body)
        assert coded(answer) in {(401, "exchange_refused"), (401, "code_refused")}
    # Another sign-in's code under this state: the provider tells by the PKCE verifier.
    begun = await world.start()
    answer = await world.callback(code=other["code"], state=begun["state"])
    assert coded(answer) == (401, "code_refused")
    assert await people(admin) == 1
    for bad in (
        {"code": "x"},
        {"code": "", "state": "A" * 64},
        {"code": "x", "state": "A" * 63},
        {"code": "x\n", "state": "A" * 64},
    ):
        assert coded(await world.callback(**bad)) == (400, "invalid_fields")


async def test_a_sign_in_begun_long_ago_is_over(world: World, admin: asyncpg.Connection) -> None:
    begun = await world.start()
    await admin.execute("update sign_in_exchanges set expires_at = now()")
    answer = await world.callback(**world.provider.agree(begun["authorization_url"]))
    assert coded(answer) == (401, "exchange_refused")


async def test_the_second_factor_counts_here_too(world: World, admin: asyncpg.Connection) -> None:
    ada = await world.api.person("ada")
    begun = await ada.call("GET", "/me/identities/oidc/start", status=200)
    await ada.call("POST", "/me/identities/oidc", json=world.provider.agree(begun["authorization_url"]), status=201)
    secret, _ = await with_totp(ada)
    await later(admin)
    back = world.provider.agree((await world.start())["authorization_url"])
    assert coded(await world.callback(**back)) == (401, "totp_required")
    assert coded(await world.callback(**back, totp="000000")) == (401, "totp_failed")
    assert coded(await world.callback(code="another", state=back["state"], totp="000000")) == (401, "exchange_refused")
    answers = await asyncio.gather(*(world.callback(**back, totp=code_of(secret)) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    assert coded(await world.callback(**back)) == (401, "exchange_refused")


async def test_a_link_is_finished_by_who_began_it(world: World, admin: asyncpg.Connection) -> None:
    ada, eve = await world.api.person("ada"), await world.api.person("eve")
    # Eve signs in at the provider and lays her answer on Ada, who is signed in here.
    eves = world.provider.agree((await eve.call("GET", "/me/identities/oidc/start"))["authorization_url"])
    assert (await ada.call("POST", "/me/identities/oidc", json=eves, status=401))["code"] == "exchange_refused"
    # What was begun for signing in links nothing, and what was begun to link signs nobody in.
    plain = world.provider.agree((await world.start())["authorization_url"])
    assert (await ada.call("POST", "/me/identities/oidc", json=plain, status=401))["code"] == "exchange_refused"
    assert coded(await world.callback(**eves)) == (401, "exchange_refused")
    linked = await eve.call("POST", "/me/identities/oidc", json=eves, status=201)
    assert linked["label"] == "ada@example.org"
    assert (await world.callback(**plain)).json()["user"]["id"] == str(eve.user_id)
    adas = world.provider.agree((await ada.call("GET", "/me/identities/oidc/start"))["authorization_url"])
    assert (await ada.call("POST", "/me/identities/oidc", json=adas, status=409))["code"] == "identity_taken"
    await admin.execute("update sessions set created_at = now() - interval '6 minutes'")
    assert (await ada.call("GET", "/me/identities/oidc/start", status=403))["code"] == "reauthentication_needed"


async def test_the_web_tier_sees_and_writes_no_outcome(world: World, urls: Urls, admin: asyncpg.Connection) -> None:
    begun = await world.start()
    web = await asyncpg.connect(urls["api"])
    try:
        for statement in (
            "select * from sign_in_exchanges",
            "update sign_in_exchanges set status = 'done', subject = 'me'",
            "delete from sign_in_exchanges",
            "insert into identity_providers (id, issuer, authorization_endpoint) values (gen_random_uuid(), 'x', 'x')",
            "insert into auth_identities (id, user_id, provider, issuer, subject)"
            " select id, id, 'oidc', 'x', 'x' from users",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await web.execute(statement)
    finally:
        await web.close()
    # Nothing that finishes a sign-in can be read from its row.
    row = str(dict(await admin.fetchrow("select * from sign_in_exchanges")))
    query = httpx.URL(begun["authorization_url"]).params
    for secret in (begun["state"], query["nonce"]):
        assert secret not in row
    assert "verifier" not in row


async def test_a_slow_provider_holds_nobody_for_long(
    world: World, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_provider, "_WHOLE_S", 1.5)
    world.provider.hold = asyncio.Event()
    slow = asyncio.create_task(world.sign_in())
    await until(lambda: any(request.path == "/token" for request in world.provider.requests), what="it is asked")
    # Meanwhile a pass is free for others.
    assert await asyncio.wait_for(world.exchange.work(), 5) >= 0
    answer = await slow
    assert coded(answer) == (503, "provider_unreachable")
    world.provider.hold.set()
    assert await people(admin) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://accounts.example"},
        {"issuer": None},
        {"token_endpoint": "http://192.0.2.1/token"},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"authorization_endpoint": "http://user:pass@127.0.0.1/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"code_challenge_methods_supported": ["plain"]},
        {"token_endpoint": None},
    ],
    ids=str,
)
async def test_a_discovery_document_that_does_not_hold_is_not_published(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection, change: dict[str, Any]
) -> None:
    async with IdentityProvider(REDIRECT) as provider:
        provider.discovery = change
        ours = settings_with(settings, provider)
        pool = await make_pool(urls["agent_notifier"], "notifier", size=1)
        exchange = Exchange(ours, pool, vault)
        try:
            assert await exchange.work() <= 60
            assert await admin.fetchval("select count(*) from identity_providers") == 0
            async with running_api(ours, urls, vault) as api:
                answer = await api.client.get("/api/v1/auth/oidc/start")
            assert coded(answer) == (503, "provider_pending")
        finally:
            await exchange.close()
            await pool.close()


async def test_a_plain_issuer_elsewhere_is_not_even_asked(settings: Settings, urls: Urls, vault: Vault) -> None:
    pool = await make_pool(urls["agent_notifier"], "notifier", size=1)
    ours = msgspec.structs.replace(settings, oidc_issuer="http://192.0.2.1", oidc_client_id="x")
    exchange = Exchange(ours, pool, vault)
    try:
        async with asyncio.timeout(2):
            assert await exchange.work() > 0
    finally:
        await exchange.close()
        await pool.close()


async def test_where_no_provider_is_set(api: Api) -> None:
    ada = await api.person()
    assert coded(await api.client.get("/api/v1/auth/oidc/start")) == (404, "oidc_not_configured")
    body = {"code": "x", "state": "A" * 64}
    answer = await api.client.post("/api/v1/auth/oidc/callback", json=body)
    assert coded(answer) == (404, "oidc_not_configured")
    for method, path in (("GET", "/me/identities/oidc/start"), ("POST", "/me/identities/oidc")):
        told = await ada.call(method, path, json=body if method == "POST" else None, status=404)
        assert told["code"] == "oidc_not_configured"
    assert PASSWORD not in answer.text
