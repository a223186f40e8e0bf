"""Answers of bots whose API is half a website, tokens under a header of the bot's own, and what is told of headers."""

from __future__ import annotations

import pytest

from agents.egress import Authorization, EgressError, Limits
from tests.servers.hostile_server import always, hostile_server, http
from tests.unit.egress.support import SECRET, at, local_client

MOVED = http(b"<!doctype html>", "Location: http://10.0.0.1/", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2",
             status="302 Found", content_type="text/html")  # fmt: skip


async def test_a_redirect_of_a_website_is_an_answer_with_its_cookies_and_is_not_followed() -> None:
    async with hostile_server(always(MOVED)) as server, local_client() as client:
        response = await client.fetch(at(server.port), "GET", "/login?next=%2F", {"Cookie": "a=0"})
        assert (response.status, response.body) == (302, b"<!doctype html>")
        assert response.headers == {"set-cookie": "a=1; Path=/, b=2"}
        [head] = server.heads
        assert head.startswith("GET /login?next=%2F HTTP/1.1\r\n")
        assert "Cookie: a=0\r\n" in head
        assert "content-length" not in head.lower()


async def test_a_form_goes_out_as_one() -> None:
    page = http(b"<html>", content_type="text/html")
    async with hostile_server(always(page)) as server, local_client() as client:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        response = await client.fetch(at(server.port), "POST", "/login", form, b"password=x")
        assert (response.status, response.body) == (200, b"<html>")
        assert "Content-Length: 10\r\n" in server.heads[0]


async def test_a_websites_answers_are_held_to_the_same_limits() -> None:
    page = http(b"x" * 3000, content_type="text/html")
    async with hostile_server(always(page)) as server, local_client(Limits(body_bytes=1000)) as client:
        with pytest.raises(EgressError) as caught:
            await client.fetch(at(server.port), "GET", "/", {})
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("header", [{"Host": "x"}, {"X": "a\r\nY: b"}, {"X y": "a"}, {"Content-Length": "9"}])
async def test_no_header_breaks_out_or_frames_the_request(header: dict[str, str]) -> None:
    async with hostile_server(always(MOVED)) as server, local_client() as client:
        with pytest.raises(ValueError) as caught:
            await client.fetch(at(server.port), "GET", "/", header)
        assert server.heads == []
    assert "b" not in str(caught.value).split()


@pytest.mark.parametrize(
    ("status", "told"),
    [("429 Too Many Requests", "7"), ("503 Service Unavailable", "7"), ("200 OK", None), ("201 Created", None)],
)
async def test_how_long_to_wait_is_told_of_refusals(status: str, told: str | None) -> None:
    answer = http(b"{}", "Retry-After: 7", "Set-Cookie: a=1", "X-Other: 1", status=status)
    async with hostile_server(always(answer)) as server, local_client() as client:
        response = await client.get_json(at(server.port), "/")
    assert dict(response.headers) == ({} if told is None else {"retry-after": told})


async def test_it_is_told_where_the_refusal_is_no_json_too() -> None:
    answer = http(b"<html>", "Retry-After: 7", status="429 Too Many Requests", content_type="text/html")
    async with hostile_server(always(answer)) as server, local_client() as client:
        response = await client.get_json(at(server.port), "/")
    assert (response.status, dict(response.headers)) == (429, {"retry-after": "7"})


async def test_a_token_goes_under_the_header_that_the_bot_reads() -> None:
    async with hostile_server(always(http(b"{}"))) as server, local_client() as client:
        auth = Authorization.under("X-Api-Key", SECRET)
        await client.get_json(at(server.port), "/", auth=auth)
        assert f"X-Api-Key: {SECRET}\r\n" in server.heads[0]
        assert "authorization" not in server.heads[0].lower()
    assert SECRET not in repr(auth)


@pytest.mark.parametrize(
    ("name", "value"),
    [("Host", "x"), ("content-type", "x"), ("User-Agent", "x"), ("X y", "x"), ("", "x"), ("X", "a\r\nb"), ("X", "ä")],
)
def test_a_header_that_is_not_the_bots_to_choose_is_refused_without_quoting(name: str, value: str) -> None:
    with pytest.raises(ValueError) as caught:
        Authorization.under(name, value)
    assert "\r" not in str(caught.value)
