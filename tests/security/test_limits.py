"""The rules of signing up and in: each holds on every replica for who used it up, and for nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.agent import make_pool
from agents.scheduler.agent import Scheduler
from control_plane.database.sessions import Database
from control_plane.identity import limits
from control_plane.identity.limits import account_of
from control_plane.security.limits import Rule, TooManyAttemptsError, take
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api, running_api
from tests.factories import Urls

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


async def use_up(database: Database, rule: Rule, subject: str) -> None:
    """Take attempts until one is refused: a slow machine gives some back meanwhile."""
    while True:
        try:
            await take(database, rule, subject)
        except TooManyAttemptsError:
            return


@pytest.mark.parametrize(
    ("rule", "subject", "path", "body"),
    [
        (limits.FAILURES_OF_NETWORK, "198.51.100.4", "/auth/sign-in", {"password": PASSWORD}),
        (limits.FAILURES_OF_ACCOUNT, None, "/auth/sign-in", {"password": PASSWORD}),
        (limits.SIGN_UPS_OF_NETWORK, "198.51.100.4", "/auth/sign-up", {"password": PASSWORD}),
        (limits.SIGN_UPS_OF_ACCOUNT, None, "/auth/sign-up", {"password": PASSWORD}),
        (limits.CODES_OF_NETWORK, "198.51.100.4", "/auth/password/forgot", {}),
        (limits.CODES_OF_ACCOUNT, None, "/auth/password/forgot", {}),
        (limits.CODES_OF_ACCOUNT, None, "/auth/verify-email/resend", {}),
        (limits.TRIES_OF_NETWORK, "198.51.100.4", "/auth/verify-email", {"code": "x"}),
        (limits.TRIES_OF_ACCOUNT, None, "/auth/verify-email", {"code": "x"}),
        (limits.TRIES_OF_ACCOUNT, None, "/auth/password/reset", {"code": "x", "new_password": PASSWORD}),
    ],
    ids=lambda value: value.name if isinstance(value, Rule) else None,
)
async def test_every_rule_holds_for_who_used_it_up_and_nobody_else(
    replicas: tuple[Api, Api], api_db: Database, rule: Any, subject: str | None, path: str, body: dict[str, Any]
) -> None:
    one, two = replicas
    ada = await one.person()
    for email in (ada.email, NOBODY):
        await use_up(api_db, rule, subject or account_of(email))
        refused = [
            await api.client.post(
                f"/api/v1{path}", json={"email": email, **body}, headers={"X-Forwarded-For": "198.51.100.4"}
            )
            for api in (one, two)
        ]
        assert [answer.status_code for answer in refused] == [429, 429], refused[0].text
        assert refused[0].json()["code"] == "too_many_attempts"
        assert 1 <= int(refused[0].headers["retry-after"]) <= rule.each_s + 1
    elsewhere = await one.client.post(
        f"/api/v1{path}",
        json={"email": "somebody@example.com", **body},
        headers={"X-Forwarded-For": "198.51.100.5"},
    )
    assert elsewhere.status_code not in {429, 500}


async def test_several_hundred_people_from_one_address_and_one_person_again_and_again(
    api: Api, api_db: Database
) -> None:
    """A test harness, an office, a class: what is right is not limited."""
    for _ in range(600):
        await take(api_db, limits.SIGN_UPS_OF_NETWORK, "127.0.0.1")
    ada = await api.person()
    for _ in range(30):
        await api.sign_in(ada.email)


async def test_what_has_expired_is_cleared(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection
) -> None:
    """As the scheduler's own role."""
    await admin.execute(
        "insert into verification_codes (id, purpose, address, code_hash, expires_at) values"
        " (gen_random_uuid(), 'verify_email', 'old', 'x', now() - interval '25 hours'),"
        " (gen_random_uuid(), 'verify_email', 'new', 'x', now() - interval '23 hours')"
    )
    await admin.execute(
        "insert into sign_in_failures (account, network, last_at) values"
        " ('old', 'x', now() - interval '3 days'), ('new', 'x', now())"
    )
    pool = await make_pool(urls["agent_scheduler"], "scheduler", size=2)
    try:
        await Scheduler(settings, pool, vault).keep_house()
    finally:
        await pool.close()
    assert await admin.fetchval("select array_agg(address) from verification_codes") == [b"new"]
    assert await admin.fetchval("select array_agg(account) from sign_in_failures") == [b"new"]


@given(st.text(max_size=60))
def test_no_spelling_of_an_address_has_an_allowance_of_its_own(text: str) -> None:
    assert account_of(text) == account_of(text.upper()) or "ı" in text.lower() or _grows(text)
    assert account_of(text) == account_of(account_of(text))


def _grows(text: str) -> bool:
    """Some characters have no upper case that leads back, such as ŉ; no server folds those either."""
    return any(character.upper().lower() != character.lower() for character in text)


@given(st.sampled_from("İıKÅéÉßẞſ"))
def test_characters_that_servers_fold(character: str) -> None:
    assert account_of(f"{character}@example.com") == account_of(f"{character.lower()}@example.com")


def test_the_rules_are_told_apart_and_generous() -> None:
    rules = [value for name, value in vars(limits).items() if isinstance(value, Rule)]
    assert len({rule.name for rule in rules}) == len(rules) == 9
    assert limits.SIGN_UPS_OF_NETWORK.burst >= 600
    assert timedelta(seconds=limits.LOCKOUT.longest_s) == timedelta(minutes=15)
