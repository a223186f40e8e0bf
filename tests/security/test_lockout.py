"""Limits of signing in: exact when many try at once, the same on every replica, and nobody waits for somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from control_plane.database.sessions import Database
from control_plane.identity.attempts import Attempt, WrongCredentialError
from control_plane.identity.limits import LOCKOUT
from control_plane.security.limits import TooManyAttemptsError
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api, running_api
from tests.factories import Urls
from tests.servers.database_proxy import DatabaseProxy
from tests.waiting import until

NOBODY = "nobody@example.com"


@pytest.fixture
def behind_proxy(settings: Settings) -> Settings:
    """Settings under which a request may say where it comes from."""
    return msgspec.structs.replace(settings, trusted_proxies=(ip_network("127.0.0.0/8"),))


@pytest.fixture
async def replicas(behind_proxy: Settings, urls: Urls, vault: Vault) -> AsyncIterator[tuple[Api, Api]]:
    """Two applications on one database."""
    async with running_api(behind_proxy, urls, vault) as one, running_api(behind_proxy, urls, vault) as two:
        yield one, two


async def sign_in(api: Api, email: str, password: str = PASSWORD, *, source: str | None = None) -> httpx.Response:
    headers = {"X-Forwarded-For": source} if source else {}
    return await api.client.post("/api/v1/auth/sign-in", json={"email": email, "password": password}, headers=headers)


def told(answer: httpx.Response) -> tuple[Any, ...]:
    changing = {"date", "retry-after", "x-request-id"}
    body = answer.json()
    if answer.status_code == 429:
        body.pop("detail")  # it names the seconds
    return answer.status_code, body, {k: v for k, v in answer.headers.items() if k not in changing}


async def unlock(admin: asyncpg.Connection) -> None:
    """Let the time of every lock pass."""
    await admin.execute("update sign_in_failures set locked_until = now()")


async def test_five_wrong_passwords_lock_an_account_known_or_not(
    replicas: tuple[Api, Api], admin: asyncpg.Connection
) -> None:
    one, two = replicas
    ada = await one.person()
    for email in (ada.email, NOBODY):
        for number in range(5):
            answer = await sign_in(replicas[number % 2], email, "wrong")
            assert answer.status_code == 401
    await admin.execute("update sign_in_failures set locked_until = now() + interval '9.5 s' where failures >= 5")
    locked = [await sign_in(two, email, password) for email in (ada.email, NOBODY) for password in (PASSWORD, "wrong")]
    assert [answer.status_code for answer in locked] == [429] * 4
    assert all(told(answer) == told(locked[0]) for answer in locked)
    assert locked[0].json()["code"] == "too_many_attempts"
    assert all(8 <= int(answer.headers["retry-after"]) <= 10 for answer in locked)
    # Nobody is locked out of another network, and what is refused does not make it longer.
    assert (await sign_in(one, ada.email, source="203.0.113.9")).status_code == 200
    assert await admin.fetchval("select max(failures) from sign_in_failures") == 5
    await unlock(admin)
    assert (await sign_in(one, ada.email)).status_code == 200
    assert (await sign_in(one, NOBODY)).status_code == 401


async def test_a_lock_grows_and_the_right_password_forgives_it(api_db: Database, admin: asyncpg.Connection) -> None:
    waits = []
    for _ in range(18):
        await unlock(admin)
        with pytest.raises(WrongCredentialError):
            async with Attempt(api_db, NOBODY, "203.0.113.7"):
                raise WrongCredentialError("wrong")
        locked = await admin.fetchval("select locked_until - clock_timestamp() from sign_in_failures")
        waits.append(max(0, round(locked.total_seconds())))
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]
    with pytest.raises(TooManyAttemptsError) as told_off:
        async with Attempt(api_db, NOBODY.upper(), "203.0.113.7"):
            pass
    assert 890 <= told_off.value.retry_after_s <= LOCKOUT.longest_s
    await unlock(admin)
    async with Attempt(api_db, NOBODY, "203.0.113.7"):
        pass
    row = await admin.fetchrow("select failures, pending, locked_until <= now() as free from sign_in_failures")
    assert tuple(row) == (0, 0, True)


async def test_attempts_at_once_do_not_slip_past(replicas: tuple[Api, Api], admin: asyncpg.Connection) -> None:
    ada = await replicas[0].person()
    for email in (ada.email, NOBODY):
        answers = await asyncio.gather(*(sign_in(replicas[n % 2], email, f"guess {n}") for n in range(20)))
        statuses = sorted(answer.status_code for answer in answers)
        # A lock of one second may pass while the last ones wait, and lets a single one through.
        assert 5 <= statuses.count(401) <= 6, statuses
        assert statuses.count(401) + statuses.count(429) == 20
        assert await admin.fetchval("select failures from sign_in_failures") == statuses.count(401)
        await admin.execute("update sign_in_failures set locked_until = now() + interval '1 minute'")
        assert (await sign_in(replicas[0], email)).status_code == 429
        await admin.execute("delete from sign_in_failures")


async def test_the_right_password_many_times_at_once_is_always_right(replicas: tuple[Api, Api]) -> None:
    ada = await replicas[0].person()
    answers = await asyncio.gather(*(sign_in(replicas[n % 2], ada.email) for n in range(24)))
    assert {answer.status_code for answer in answers} == {200}


async def test_an_attempt_that_nobody_judged_counts_as_a_failure(api_db: Database, admin: asyncpg.Connection) -> None:
    """As when the process dies, or the connection is cut, in the middle of it."""
    entered = [asyncio.Event() for _ in range(5)]

    async def cut(number: int) -> None:
        async with Attempt(api_db, NOBODY, None):
            entered[number].set()
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(cut(number)) for number in range(5)]
    for event in entered:
        await event.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await admin.fetchval("select pending from sign_in_failures") == 5
    await admin.execute("update sign_in_failures set pending_until = now()")
    with pytest.raises(WrongCredentialError):
        async with Attempt(api_db, NOBODY, None):
            raise WrongCredentialError("wrong")
    assert await admin.fetchval("select failures from sign_in_failures") == 6
    assert await admin.fetchval("select locked_until > now() + interval '1 s' from sign_in_failures")


async def test_an_error_of_ours_is_nobodys_failure(api_db: Database, admin: asyncpg.Connection) -> None:
    with pytest.raises(LookupError):
        async with Attempt(api_db, NOBODY, None):
            raise LookupError
    assert tuple(await admin.fetchrow("select failures, pending from sign_in_failures")) == (0, 0)


async def test_a_count_stands_although_what_it_counts_is_rolled_back(
    api_db: Database, admin: asyncpg.Connection
) -> None:
    with pytest.raises(WrongCredentialError):
        async with api_db.anonymous(), Attempt(api_db, NOBODY, "203.0.113.7"):
            raise WrongCredentialError("wrong")
    assert await admin.fetchval("select failures from sign_in_failures") == 1
    assert await admin.fetchval("select count(*) from attempt_limits") == 2  # of the network, and of the account


async def test_an_account_never_waits_for_anothers_row(replicas: tuple[Api, Api], admin: asyncpg.Connection) -> None:
    """One account's row is held by somebody; others sign in from the same address, rightly and wrongly, as ever."""
    one, _ = replicas
    ada, bob = await one.person("ada"), await one.person("bob")
    await admin.execute("delete from sign_in_failures")
    await sign_in(one, ada.email)
    async with admin.transaction():
        held = await admin.fetch("select account from sign_in_failures for update")
        assert len(held) == 1
        waiting = asyncio.create_task(sign_in(one, ada.email))
        await until(lambda: _waits(admin), what="ada waits for her row")
        async with asyncio.timeout(10):
            assert (await sign_in(one, bob.email)).status_code == 200
            assert (await sign_in(one, bob.email, "wrong")).status_code == 401
            assert (await sign_in(one, NOBODY, "wrong")).status_code == 401
        assert not waiting.done()
    assert (await waiting).status_code == 200


async def _waits(admin: asyncpg.Connection) -> bool:
    return bool(
        await admin.fetchval(
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock')"
        )
    )


async def test_failures_are_counted_by_network_and_by_account(
    replicas: tuple[Api, Api], admin: asyncpg.Connection
) -> None:
    one, two = replicas
    await sign_in(one, NOBODY, "wrong", source="198.51.100.4")
    before = {row["rule"] for row in await admin.fetch("select rule from attempt_limits")}
    assert before == {"sign_in.network", "sign_in.account"}
    await sign_in(two, NOBODY.upper(), "wrong", source="2001:db8::1")
    await sign_in(two, NOBODY, "wrong", source="2001:db8::2")  # of the same /64
    counted = await admin.fetch("select rule, count(*) from attempt_limits group by rule order by rule")
    assert [tuple(row) for row in counted] == [("sign_in.account", 1), ("sign_in.network", 2)]
    assert await admin.fetchval("select array_agg(failures order by failures) from sign_in_failures") == [1, 2]


async def test_right_and_wrong_and_unknown_cost_the_same_questions(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection
) -> None:
    """Counted on the wire: what is asked of the database does not tell whether an address is known."""
    async with DatabaseProxy(urls["api"]) as proxy:
        through = msgspec.structs.replace(settings, database_url=proxy.url, database_pool_size=1)
        async with running_api(through, urls, vault) as api:
            ada = await api.person()
            transport: Any = api.client._transport
            later = transport.app.state.database._afterwards
            bodies: dict[str, dict[str, Any]] = {
                "/auth/sign-up": {"password": PASSWORD},
                "/auth/sign-in": {"password": "wrong"},
                "/auth/verify-email": {"code": "x"},
                "/auth/verify-email/resend": {},
                "/auth/password/forgot": {},
                "/auth/password/reset": {"code": "x", "new_password": PASSWORD},
            }
            for path, body in bodies.items():
                counts = []
                # The first two only have the statements prepared.
                for email in (ada.email, "a@example.com", ada.email, "b@example.com"):
                    proxy.trips.clear()
                    await api.client.post(f"/api/v1{path}", json={"email": email, **body})
                    await until(lambda: not later, what="what is done after the answer is done")
                    counts.append([trip.partition(";")[0].partition(" ")[0] for trip in proxy.trips])
                assert counts[2] == counts[3], path
                assert len(counts[2]) > 3
