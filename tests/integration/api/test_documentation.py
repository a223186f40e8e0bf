"""The API's own description, and what is said of addresses that nobody serves."""

from __future__ import annotations

import pytest

from tests.api import Api


async def test_the_document_is_there_for_everybody(api: Api) -> None:
    answer = await api.client.get("/api/openapi.json")
    assert answer.headers["content-type"].startswith("application/json")
    document = answer.json()
    assert document["openapi"].startswith("3.1")
    assert "/api/v1/bots/{bot_id}" in document["paths"]
    assert (await api.client.get("/api/openapi.json")).content == answer.content


@pytest.mark.parametrize("path", ["/api/nope", "/api/v1/nope", "/api/v2/bots", "/api"])
async def test_what_nobody_serves_below_api_is_told_as_a_problem(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"
