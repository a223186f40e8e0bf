"""Whatever is sent, the answer is one that the OpenAPI document tells of, and never a fault of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from control_plane.app import create_app
from control_plane.settings import load_settings
from tests.api import Api, Person
from tests.schemas import NASTY, anything, fitting
from tests.world import Settled, Tenant

DOCUMENT: dict[str, Any] = create_app(
    load_settings({}, database_url="postgresql://nobody@localhost/none")
).openapi_schema.to_schema()
few = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: A live stream never ends; it has tests of its own.
ENDLESS = "/api/v1/events"


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in DOCUMENT["paths"].items():
        for verb, operation in verbs.items():
            yield verb.upper(), path, operation


def body_of(operation: dict[str, Any]) -> dict[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {})
    return content["application/json"]["schema"] if content else None


WITH_BODY = [(verb, path, body) for verb, path, operation in operations() if (body := body_of(operation)) is not None]
WITH_QUERY = [
    (path, parameters)
    for verb, path, operation in operations()
    if verb == "GET" and path != ENDLESS
    if (parameters := [item for item in operation.get("parameters", ()) if item["in"] == "query"])
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A fault is told by its answer; drawing its stack for each attempt would take minutes."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
async def tenant(api: Api, settled: Settled) -> Tenant:
    tenant, other = settled.of(api)
    assert other.id != tenant.id
    return tenant


def place(path: str, tenant: Tenant) -> str:
    ids = {"bot_id": tenant.external, "template_id": tenant.template, "subscription_id": tenant.subscription}
    for name, value in {**ids, "key_id": tenant.key_id, "identity_id": tenant.identity_id}.items():
        path = path.replace(f"{{{name}}}", str(value))
    return path


async def send(person: Person, verb: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {person.token}", "Content-Type": "application/json"}
    async with asyncio.timeout(15):  # nothing that is sent keeps the server busy for long
        return await person.client.request(verb, path, headers=headers, **options)


def told(verb: str, path: str, answer: httpx.Response) -> None:
    """The answer is one of those that the document lists, in the form that it promises."""
    assert answer.status_code < 500, (answer.status_code, answer.text)
    listed = DOCUMENT["paths"][path][verb.lower()]["responses"]
    assert str(answer.status_code) in listed, (verb, path, answer.status_code, answer.text)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["type"] == f"/problems/{problem['code']}"
        assert problem["title"]
        assert problem["detail"]


@pytest.mark.parametrize(("verb", "path", "schema"), WITH_BODY, ids=[f"{verb} {path}" for verb, path, _ in WITH_BODY])
@few
@given(data=st.data())
async def test_any_body(tenant: Tenant, verb: str, path: str, schema: dict[str, Any], data: st.DataObject) -> None:
    body = data.draw(fitting(DOCUMENT, schema) | anything, label="body")
    told(verb, path, await send(tenant.person, verb, place(path, tenant), content=json.dumps(body).encode()))


@pytest.mark.parametrize(("path", "parameters"), WITH_QUERY, ids=[path for path, _ in WITH_QUERY])
@few
@given(data=st.data())
async def test_any_query(tenant: Tenant, path: str, parameters: list[dict[str, Any]], data: st.DataObject) -> None:
    values = {
        item["name"]: fitting(DOCUMENT, item["schema"]).map(str) | NASTY | st.text(max_size=20)
        for item in parameters
        if item["name"] != "wait"
    }
    query = data.draw(st.fixed_dictionaries({}, optional=values), label="query")
    told("GET", path, await send(tenant.person, "GET", place(path, tenant), params=query))
