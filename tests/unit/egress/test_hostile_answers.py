"""Whatever a tenant's server sends, a call ends soon, small, with one of the stable codes, and tells no secret."""

import gzip
import json
import logging
import math
import traceback
import zlib

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.egress import Authorization, EgressError, Limits, Response
from tests.servers.hostile_server import (
    Script,
    always,
    endlessly,
    gzipped,
    hostile_server,
    http,
    then_hang_up,
)
from tests.unit.egress.support import QUICK, SECRET, at, failure, local_client, outcome

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
START = b"HTTP/1.1 200 OK\r\n"
GZIP = "Content-Encoding: gzip"

ANSWERS: dict[str, tuple[Script, str]] = {
    "nothing at all": (endlessly(b"", b"", pause=0.01), "timeout"),
    "headers in drops": (endlessly(START + b"X-Slow: ", b"x", pause=0.01), "timeout"),
    "body in drops": (endlessly(CHUNKED, b"1\r\n \r\n", pause=0.01), "timeout"),
    "promised body never sent": (always(http(b"{}")[:-1]), "timeout"),
    "endless chunks": (endlessly(CHUNKED, b"4000\r\n" + b" " * 0x4000 + b"\r\n"), "too_large"),
    "endless tiny chunks": (endlessly(CHUNKED, b"1\r\n \r\n" * 4096), "too_large"),
    "endless chunk extensions": (endlessly(CHUNKED, b"1;" + b"x" * 8192 + b"\r\n \r\n"), "too_large"),
    "endless body until closed": (endlessly(UNTIL_CLOSED, b" " * 65536), "too_large"),
    "huge promise": (
        always(START + b"Content-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n"),
        "too_large",
    ),
    "one header too long": (always(http(b"{}", "X-Long: " + "x" * 70_000)), "too_large"),
    "many headers": (always(http(b"{}", *(f"X-{n}: {'x' * 100}" for n in range(1000)))), "too_large"),
    "endless headers": (endlessly(START, b"X-More: " + b"x" * 1000 + b"\r\n"), "too_large"),
    "endless first line": (endlessly(b"HTTP/1.1 200 ", b"O" * 1000), "too_large"),
    "endless patience asked for": (endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "too_large"),
    "endless trailers": (endlessly(CHUNKED + b"0\r\n", b"X-More: " + b"x" * 1000 + b"\r\n"), "too_large"),
    "gzip bomb": (always(http(gzipped(50_000_000), GZIP)), "too_large"),
    "gzip bomb in chunks": (
        always(CHUNKED[:-2] + GZIP.encode() + b"\r\n\r\n" + b"C000\r\n" + gzipped(80_000_000)[:0xC000] + b"\r\n"),
        "too_large",
    ),
    "gzip cut short": (always(http(gzip.compress(b'{"a": 1}')[:-4], GZIP)), "bad_payload"),
    "gzip with a tail": (always(http(gzip.compress(b"{}") + b"tail", GZIP)), "bad_payload"),
    "gzip that is none": (always(http(b"{}", GZIP)), "bad_payload"),
    "gzip twice": (always(http(gzip.compress(gzip.compress(b"{}")), "Content-Encoding: gzip, gzip")), "bad_payload"),
    "gzip twice by two headers": (always(http(gzip.compress(gzip.compress(b"{}")), GZIP, GZIP)), "bad_payload"),
    "deflate": (always(http(zlib.compress(b"{}"), "Content-Encoding: deflate")), "bad_payload"),
    "brotli": (always(http(b"\x0b\x00\x80{}\x03", "Content-Encoding: br")), "bad_payload"),
    "redirect to metadata": (
        always(http(b"{}", "Location: http://169.254.169.254/latest/meta-data/", status="302 Found")),
        "redirected",
    ),
    "redirect home": (always(http(b"{}", "Location: /y", status="308 Permanent Redirect")), "redirected"),
    "not modified": (always(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "redirected"),
    "a page": (always(http(b"<html>", content_type="text/html")), "bad_payload"),
    "JSON called text": (always(http(b"{}", content_type="text/plain")), "bad_payload"),
    "no type": (always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "bad_payload"),
    "nothing to say": (always(b"HTTP/1.1 204 No Content\r\n\r\n"), "bad_payload"),
    "another protocol": (then_hang_up(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "bad_payload"),
    "a mail server": (always(b"220 mail.example.com ESMTP\r\n\r\n"), "bad_payload"),
    "switch of protocols": (
        always(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "bad_payload",
    ),
    "two lengths": (always(http(b"{}", "Content-Length: 3")), "bad_payload"),
    "negative length": (always(START + b"Content-Length: -1\r\n\r\n{}"), "bad_payload"),
    "length in words": (always(START + b"Content-Length: two\r\n\r\n{}"), "bad_payload"),
    "unknown transfer": (always(START + b"Transfer-Encoding: gzip, chunked\r\n\r\n"), "bad_payload"),
    "bad chunk": (always(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"), "bad_payload"),
    "null in a header": (always(http(b"{}", "X-Bad: a\0b")), "bad_payload"),
    "sends the credential back": (
        always(http(f"Bearer {SECRET}".encode(), f"X-Echo: Bearer {SECRET}", content_type=f"text/{SECRET}")),
        "bad_payload",
    ),
    "sends the credential back, broken": (always(f"HTTP/1.1 2x0 {SECRET}\r\n{SECRET}\r\n\r\n".encode()), "bad_payload"),
    "hangs up at once": (then_hang_up(b""), "unreachable"),
    "hangs up in the headers": (then_hang_up(START + b"Content-"), "unreachable"),
    "hangs up in the body": (then_hang_up(http(b'{"a": 1}')[:-3]), "unreachable"),
    "hangs up in a chunk": (then_hang_up(CHUNKED + b"ff\r\n{"), "unreachable"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_hostile_answers_end_in_a_stable_code(name: str, caplog: pytest.LogCaptureFixture) -> None:
    script, code = ANSWERS[name]
    caplog.set_level(logging.DEBUG)
    limits = QUICK if code == "timeout" else Limits(total_timeout=8.0)
    async with hostile_server(script) as server, local_client(limits) as client:
        error = await failure(client, at(server.port))
    assert error.code == code
    assert len(server.heads) == 1
    # Source lines of a traceback are the program's own text; what must not tell is the errors themselves.
    told = "".join(line for line in traceback.format_exception(error) if "Error" in line) + repr(error) + caplog.text
    for secret in (SECRET, "127.0.0.1", "169.254"):
        assert secret not in told


BAD_JSON: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"value": ',
    "two": b"{} {}",
    "not quite a NaN": b'{"value": NaNs}',
    "half an infinity": b'{"value": Infinit}',
    "a NaN in a NaN's place": b"{NaN: NaN}",
    "a NaN in a text that does not end": b'{"value": NaN, "text": "NaN',
    "single quotes": b"{'value': 1}",
    "bad utf-8 in a field": b'{"text": "\xff"}',
    "lone surrogate": b'{"text": "\\ud800"}',
    "utf-16": '{"value": 1}'.encode("utf-16"),
    "deep lists": b'{"x": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "deep lists, unclosed": b"[" * 1_000_000,
    "deep objects": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "just too deep": b'{"x": ' + b"[" * 64 + b"]" * 64 + b"}",
    "endless text of quotes": b'{"x": "' + b'\\"' * 500_000,
    "5000 digits": b'{"value": ' + b"9" * 5000 + b"}",
    "wrong type": b'{"value": "1"}',
    "another shape": b"[1, 2]",
    "null": b"null",
}


class Shape(msgspec.Struct):
    """What the calls below expect."""

    value: int = 0
    text: str = ""


@pytest.mark.parametrize("name", BAD_JSON)
async def test_bad_json_is_a_bad_payload(name: str) -> None:
    async with hostile_server(always(http(BAD_JSON[name]))) as server, local_client() as client:
        response = await client.get_json(at(server.port), "/x")
    with pytest.raises(EgressError) as caught:
        response.decode(Shape)
    assert caught.value.code == "bad_payload"


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
async def test_a_number_that_is_none_is_null_and_texts_stay_as_they_are(word: bytes) -> None:
    body = b'{"value": ' + word + b', "list": [' + word + b', 1], "text": "' + word + b' \\" ' + word + b'"}'
    async with hostile_server(always(http(body))) as server, local_client() as client:
        told = (await client.get_json(at(server.port), "/x")).decode(dict[str, object])
    assert told == {"value": None, "list": [None, 1], "text": f'{word.decode()} " {word.decode()}'}


_LEAF = (
    st.none()
    | st.integers(-9, 9)
    | st.sampled_from([math.nan, math.inf, -math.inf])
    | st.text('aN"\\\\ NaInfity-', max_size=12)
)


@given(
    st.recursive(_LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("NaIf", max_size=4), inner))
)
def test_whatever_python_writes_is_read_with_null_for_what_is_no_number(value: object) -> None:
    plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
    assert Response(200, json.dumps(value).encode(), 1.0).decode(object) == plain


async def test_bad_values_are_named_by_place_and_not_repeated() -> None:
    body = b'{"value": "' + SECRET.encode() + b'"}'
    async with hostile_server(always(http(body))) as server, local_client() as client:
        response = await client.get_json(at(server.port), "/x")
    with pytest.raises(EgressError, match=r"at \$\.value") as caught:
        response.decode(Shape)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in repr(response)


async def test_deep_but_bearable_json_is_read_brackets_in_text_are_no_depth() -> None:
    body = b'{"value": 7, "x": ' + b"[" * 63 + b"]" * 63 + b', "text": "' + b"[{" * 200 + b'\\""}'
    async with hostile_server(always(http(body))) as server, local_client() as client:
        shape = (await client.get_json(at(server.port), "/x")).decode(Shape)
    assert shape.value == 7


async def test_gzip_that_fits_is_read() -> None:
    async with hostile_server(always(http(gzip.compress(b'{"value": 3}'), GZIP))) as server, local_client() as client:
        assert (await client.get_json(at(server.port), "/x")).decode(Shape).value == 3


async def test_body_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    limits = Limits(body_bytes=100)
    fits, over = b'{"value": 1}'.ljust(100), b'{"value": 1}'.ljust(101)
    for body, encoding in ((fits, []), (gzip.compress(fits), [GZIP])):
        async with hostile_server(always(http(body, *encoding))) as server, local_client(limits) as client:
            assert (await client.get_json(at(server.port), "/x")).decode(Shape).value == 1
    for body, encoding in ((over, []), (gzip.compress(over), [GZIP])):
        async with hostile_server(always(http(body, *encoding))) as server, local_client(limits) as client:
            assert (await failure(client, at(server.port))).code == "too_large"


async def test_errors_with_pages_keep_their_status() -> None:
    page = http(b"<html>" * 400_000, content_type="text/html", status="502 Bad Gateway")
    async with hostile_server(always(page)) as server, local_client() as client:
        response = await client.get_json(at(server.port), "/x")
    assert (response.status, response.body) == (502, b"")


def test_an_authorization_never_shows_or_breaks_its_line() -> None:
    assert SECRET not in repr(Authorization.bearer(SECRET))
    for hostile in ("a\r\nHost: x", "a\n", "a\0", "ä"):
        with pytest.raises(ValueError, match="visible ASCII") as caught:
            Authorization.bearer(SECRET + hostile)
        assert SECRET not in str(caught.value)


_PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 500 X\r\n",
        b"Content-Length: 2\r\n",
        b"Content-Type: application/json\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"\r\n",
        b"{}",
        b"2\r\n{}\r\n",
        b"0\r\n\r\n",
        b"\0",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(_PIECES, st.binary(max_size=20)), max_size=10))
async def test_any_bytes_give_an_answer_or_a_stable_error(pieces: list[bytes]) -> None:
    # It hangs up after that: nothing here needs to wait, and on a busy machine nothing may seem to.
    async with hostile_server(then_hang_up(b"".join(pieces))) as server, local_client() as client:
        outcomes = [await outcome(client, at(server.port)) for _ in range(2)]
    assert set(outcomes) <= {"answer", "bad_payload", "unreachable", "redirected"}
