"""Bots over HTTP."""

from __future__ import annotations

from tests.api import Api

EXTERNAL = {
    "bot_type": "external",
    "engine": "freqtrade",
    "name": "elsewhere",
    "api_url": "http://127.0.0.1:8080",
    "credentials": {"username": "u", "password": "planted-password-1"},
}


async def test_register_read_change_delete(api: Api) -> None:
    ada = await api.person()
    made = await ada.call("POST", "/bots", json=EXTERNAL, status=201)
    assert made["status"] == "inactive"
    assert made["health"]["state"] == "unknown"
    assert made["credentials"]["set"] is True
    read = await ada.call("GET", f"/bots/{made['id']}", status=200)
    assert read["api_url"] == "http://127.0.0.1:8080"
    listed = await ada.call("GET", "/bots", status=200)
    assert [item["id"] for item in listed["items"]] == [made["id"]]
    changed = await ada.call("PATCH", f"/bots/{made['id']}", json={"name": "renamed"}, status=200)
    assert changed["name"] == "renamed"
    await ada.call("DELETE", f"/bots/{made['id']}", status=204)
    await ada.call("GET", f"/bots/{made['id']}", status=404)
