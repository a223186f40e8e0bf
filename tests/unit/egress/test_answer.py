"""What counts as one answer: where llhttp is lenient, where limits cut, and that splits of the bytes change nothing.

The oracle is h11, a parser with nothing in common with ours: what we take for an answer it must take for the same one.
"""

import gzip
from collections.abc import Sequence
from typing import NamedTuple

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agents.egress.answer import LITTLE, Answer

JSON = b"Content-Type: application/json"
LENGTH = b"Content-Length: 2"
CHUNKED = b"Transfer-Encoding: chunked"
IN_CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


def message(*lines: bytes, body: bytes = b"{}", start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """An answer in JSON with these header lines."""
    return b"\r\n".join([start, JSON, *lines, b"", b""]) + body


class Seen(NamedTuple):
    """How an answer ended."""

    status: int
    body: bytes
    error: str | None
    reusable: bool


def read(
    data: bytes, cuts: Sequence[int] = (), *, header_bytes: int = 65536, body_bytes: int = 65536, little: bool = False
) -> Seen:
    """Feed bytes cut at these places, then the end of the connection; what comes once all is said spoils it."""
    answer = Answer(header_bytes, body_bytes, little=little)
    places = sorted({cut % (len(data) + 1) for cut in cuts} - {0, len(data)})
    pieces = [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)] if data else []
    surplus = False
    for piece in pieces:
        if answer.settled:
            surplus = True
            break
        assert answer.feed(piece) == answer.settled
    answer.end(clean=True)
    assert answer.settled
    if answer.error is not None:
        return Seen(0, b"", answer.error.code, reusable=False)
    return Seen(answer.status, answer.body, None, answer.reusable and not surplus)


GOOD = Seen(200, b"{}", None, reusable=True)
CLOSED = GOOD._replace(reusable=False)

TAKEN: dict[str, tuple[bytes, Seen]] = {
    "by length": (message(LENGTH), GOOD),
    "in chunks": (message(CHUNKED, body=IN_CHUNKS), GOOD),
    "chunks with extensions": (message(CHUNKED, body=b'2;a=b;c="d"\r\n{}\r\n0;e\r\n\r\n'), GOOD),
    "chunks with trailers": (message(CHUNKED, body=b"2\r\n{}\r\n0\r\nX: y\r\nContent-Type: text/html\r\n\r\n"), GOOD),
    "until closed": (message(), CLOSED),
    "of the older version": (message(LENGTH, start=b"HTTP/1.0 200 OK"), CLOSED),
    "older, says it keeps": (message(LENGTH, b"Connection: keep-alive", start=b"HTTP/1.0 200 OK"), CLOSED),
    "to be closed": (message(LENGTH, b"Connection: close"), CLOSED),
    "to be closed, in a list": (message(LENGTH, b"Connection: x, CLOSE"), CLOSED),
    "to be closed, on second thought": (message(LENGTH, b"Connection: keep-alive", b"Connection: close"), CLOSED),
    "an upgrade offered": (message(LENGTH, b"Connection: upgrade", b"Upgrade: h2c"), GOOD),
    "no reason given": (message(LENGTH, start=b"HTTP/1.1 200"), GOOD),
    "space around a length": (message(b"Content-Length: \t 2 \t"), GOOD),
    "a header without value": (message(b"X-Empty:", LENGTH), GOOD),
    "bytes above ASCII in a value": (message(b"X: \xff\xfe", LENGTH), GOOD),
    "after interim answers": (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + message(LENGTH), GOOD),
    "after early hints": (message(b"Link: </x>", body=b"", start=b"HTTP/1.1 103 Early Hints") + message(LENGTH), GOOD),
    "nothing, by length": (message(b"Content-Length: 0", body=b""), GOOD._replace(body=b"")),
    "nothing, by status": (message(body=b"", start=b"HTTP/1.1 204 -"), Seen(204, b"", None, reusable=True)),
    "an error page": (b"HTTP/1.1 502 Bad\r\nContent-Length: 1\r\n\r\nx", Seen(502, b"", None, reusable=True)),
    "an error page's beginning": (
        b"HTTP/1.1 502 Bad\r\nContent-Length: 9\r\n\r\nx",
        Seen(502, b"", None, reusable=False),
    ),
    "a second answer after it": (message(LENGTH) * 2, CLOSED),
    "a second answer too long": (message(LENGTH) + message(*[b"X: y"] * 300), CLOSED),
    "an empty line after it": (message(LENGTH) + b"\r\n", CLOSED),
    "an empty line after chunks": (message(CHUNKED, body=IN_CHUNKS) + b"\r\n", CLOSED),
    "half a line after it": (message(LENGTH) + b"\r", CLOSED),
    "anything after it": (message(LENGTH) + b"\0", CLOSED),
    "anything after nothing": (message(body=b"x", start=b"HTTP/1.1 204 -"), Seen(204, b"", None, reusable=False)),
    "anything after its close": (message(LENGTH, b"Connection: close") + b"x", CLOSED),
}


@pytest.mark.parametrize("name", TAKEN)
def test_answers_are_taken(name: str) -> None:
    data, seen = TAKEN[name]
    assert read(data) == seen
    assert read(data, range(len(data))) in {seen, seen._replace(reusable=False)}


REFUSED: dict[str, bytes] = {
    # Two readers could see two lengths.
    "two lengths": message(LENGTH, b"Content-Length: 3"),
    "the same length twice": message(LENGTH, LENGTH),
    "a list of lengths": message(b"Content-Length: 2, 2"),
    "a length of other digits": message(b"Content-Length: 0x2"),
    "a signed length": message(b"Content-Length: +2"),
    "a broken length": message(b"Content-Length: 2 2"),
    "no length": message(b"Content-Length:"),
    "a length over all bounds": message(b"Content-Length: 18446744073709551618"),
    "chunks and a length": message(CHUNKED, LENGTH, body=IN_CHUNKS),
    "a length and chunks": message(LENGTH, CHUNKED, body=IN_CHUNKS),
    "chunked twice": message(CHUNKED, CHUNKED, body=IN_CHUNKS),
    "chunked, then something": message(b"Transfer-Encoding: chunked, identity", body=IN_CHUNKS),
    "something, then chunked": message(b"Transfer-Encoding: gzip, chunked", body=IN_CHUNKS),
    "chunked as text": message(b'Transfer-Encoding: "chunked"', body=IN_CHUNKS),
    "chunked before a colon": message(b"Transfer-Encoding : chunked", body=IN_CHUNKS),
    "nearly chunked": message(b"Transfer-Encoding: xchunked", body=IN_CHUNKS),
    "chunked by a control": message(b"Transfer-Encoding: \x0bchunked", body=IN_CHUNKS),
    "identity": message(b"Transfer-Encoding: identity"),
    "no coding": message(b"Transfer-Encoding:"),
    "chunked of the older version": message(CHUNKED, start=b"HTTP/1.0 200 OK", body=IN_CHUNKS),
    "a length in the trailers": message(CHUNKED, body=b"2\r\n{}\r\n0\r\nContent-Length: 2\r\n\r\n"),
    "nothing, of a length": message(LENGTH, start=b"HTTP/1.1 204 No"),
    "nothing, in chunks": message(CHUNKED, start=b"HTTP/1.1 204 No", body=IN_CHUNKS),
    "an interim answer of a length": message(LENGTH, start=b"HTTP/1.1 100 C", body=b"") + message(LENGTH),
    "an interim answer in chunks": message(CHUNKED, start=b"HTTP/1.1 103 C", body=IN_CHUNKS) + message(LENGTH),
    # Two readers could see two lines.
    "a folded line": message(b"X: y", b" z", LENGTH),
    "a folded length": message(b"Content-Length:", b" 2"),
    "a fold at the start": b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 2\r\n\r\n{}",
    "a bare LF after the status": b"HTTP/1.1 200 OK\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "a bare LF after a header": message(b"X: y\nZ: 1", LENGTH),
    "a bare LF at the end": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\n{}",
    "a bare CR in a value": message(b"X: y\rContent-Length: 2"),
    "a bare CR at the end": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r{}",
    "NUL in a value": message(b"X: a\0b", LENGTH),
    "NUL in a name": message(b"X\0: ab", LENGTH),
    "a control in a value": message(b"X: a\x01b", LENGTH),
    "no name": message(b": x", LENGTH),
    "no colon": message(b"Xy", LENGTH),
    "a space in a name": message(b"X y: z", LENGTH),
    # Chunks that other readers measure otherwise.
    "a chunk ended by LF": message(CHUNKED, body=b"2\n{}\r\n0\r\n\r\n"),
    "chunk data ended by LF": message(CHUNKED, body=b"2\r\n{}\n0\r\n\r\n"),
    "chunk data too long": message(CHUNKED, body=b"1\r\n{}\r\n0\r\n\r\n"),
    "chunk data not ended": message(CHUNKED, body=b"2\r\n{}0\r\n\r\n"),
    "the last chunk ended by LF": message(CHUNKED, body=b"2\r\n{}\r\n0\r\n\n"),
    "a chunk of hex": message(CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a signed chunk": message(CHUNKED, body=b"+2\r\n{}\r\n0\r\n\r\n"),
    "a negative chunk": message(CHUNKED, body=b"-2\r\n{}\r\n0\r\n\r\n"),
    "a chunk after a space": message(CHUNKED, body=b" 2\r\n{}\r\n0\r\n\r\n"),
    "a chunk before a space": message(CHUNKED, body=b"2 \r\n{}\r\n0\r\n\r\n"),
    "a chunk of no size": message(CHUNKED, body=b";x\r\n{}\r\n0\r\n\r\n"),
    "a chunk over all bounds": message(CHUNKED, body=b"10000000000000002\r\n{}\r\n0\r\n\r\n"),
    "an extension with LF": message(CHUNKED, body=b"2;a\n{}\r\n0\r\n\r\n"),
    "an extension with a quoted LF": message(CHUNKED, body=b'2;a="\n"\r\n{}\r\n0\r\n\r\n'),
    "an extension with NUL": message(CHUNKED, body=b"2;a\0\r\n{}\r\n0\r\n\r\n"),
    # Not this protocol.
    "an empty line first": b"\r\n" + message(LENGTH),
    "many empty lines first": b"\r\n" * 100 + message(LENGTH),
    "another version": message(LENGTH, start=b"HTTP/2.0 200 OK"),
    "a version of old": message(LENGTH, start=b"HTTP/0.9 200 OK"),
    "a version to come": message(LENGTH, start=b"HTTP/1.2 200 OK"),
    "RTSP": message(LENGTH, start=b"RTSP/1.0 200 OK"),
    "ICE": message(LENGTH, start=b"ICE/1.0 200 OK"),
    "in small letters": message(LENGTH, start=b"http/1.1 200 OK"),
    "a status of two digits": message(LENGTH, start=b"HTTP/1.1 20 OK"),
    "a status of four digits": message(LENGTH, start=b"HTTP/1.1 2000 OK"),
    "status 0": message(LENGTH, start=b"HTTP/1.1 000 OK"),
    "status 99": message(LENGTH, start=b"HTTP/1.1 099 OK"),
    "a protocol switched": message(b"Upgrade: x", b"Connection: upgrade", start=b"HTTP/1.1 101 S", body=b""),
    "a protocol switched in between": b"HTTP/1.1 101 S\r\n\r\n" + message(LENGTH),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    for cuts in ((), range(len(REFUSED[name]))):
        assert read(REFUSED[name], cuts) == Seen(0, b"", "bad_payload", reusable=False)


TOO_LARGE: dict[str, bytes] = {
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + message(LENGTH),
    "headers by number": message(*[b"X:"] * 257, LENGTH),
    "headers by size": message(b"X: " + b"x" * 65536, LENGTH),
    "one header's name": message(b"x" * 65536 + b": x", LENGTH),
    "reason": message(LENGTH, start=b"HTTP/1.1 200 " + b"x" * 65536),
    "trailers by number": message(CHUNKED, body=b"2\r\n{}\r\n0\r\n" + b"X:\r\n" * 257 + b"\r\n"),
    "trailers by size": message(CHUNKED, body=b"2\r\n{}\r\n0\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"),
    "trailers a little too large": message(CHUNKED, body=b"2\r\n{}\r\n0\r\nX: " + b"x" * 4097 + b"\r\n\r\n"),
    "chunk extensions": message(CHUNKED, body=b"2;" + b"x" * 200_000 + b"\r\n{}\r\n0\r\n\r\n"),
    "chunks by number": message(CHUNKED, body=b"1\r\n \r\n" * 4096 + b"0\r\n\r\n"),
    "body": message(b"Content-Length: 65537"),
    "a length of many digits": message(b"Content-Length: " + b"0" * 5000 + b"2"),
    "body in chunks": message(CHUNKED, body=b"10001\r\n" + b" " * 65537),
    "body until closed": message(body=b" " * 65537),
    "body unpacked": message(b"Content-Encoding: gzip", body=gzip.compress(b" " * 65537)),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_limits_hold_in_one_piece_and_in_many(name: str) -> None:
    for cuts in ((), range(0, len(TOO_LARGE[name]), 997)):
        assert read(TOO_LARGE[name], cuts).error == "too_large"


def test_trailers_in_many_pieces_are_refused_long_before_a_body_would_be() -> None:
    answer = Answer(65536, 1024 * 1024)
    assert not answer.feed(message(CHUNKED, body=b"2\r\n{}\r\n0\r\nX: "))
    pieces = 0
    while not answer.settled:
        answer.feed(b"x" * 512)
        pieces += 1
    assert answer.error is not None
    assert (answer.error.code, pieces <= 33) == ("too_large", True)
    # A body in as many pieces is nothing to wonder about, whatever the size of its chunks.
    for body in (b"2\r\n{}\r\n", b"2\r\n{}\r\n8000\r\n"):
        patient = Answer(65536, 1024 * 1024)
        assert not patient.feed(message(CHUNKED, body=body))
        for number in range(60):
            assert not patient.feed(b" " * 500 if b"8000" in body else b"1F4\r\n" + b" " * 500 + b"\r\n"), number


def test_nothing_follows_what_was_packed() -> None:
    packed = gzip.compress(b"{}")
    answer = Answer(65536, 1024 * 1024)
    assert not answer.feed(message(CHUNKED, b"Content-Encoding: gzip", body=b"%x\r\n" % len(packed) + packed + b"\r\n"))
    assert answer.feed(b"400\r\n" + b"x" * 1024)
    assert answer.error is not None
    assert answer.error.code == "bad_payload"


def test_an_answer_byte_by_byte_has_an_end() -> None:
    padded = message(b"Content-Length: 8000", body=b" " * 8000)
    assert read(padded, range(0, len(padded), 3)).error is None
    assert read(padded, range(len(padded))).error == "too_large"


def test_a_head_and_a_body_larger_than_a_head_may_come_in_one_piece() -> None:
    body = b'"' + b"x" * 60_000 + b'"'
    data = message(b"Content-Length: %d" % len(body), body=body)
    assert read(data, header_bytes=512) == Seen(200, body, None, reusable=True)
    assert read(data + b"x", header_bytes=512) == Seen(200, body, None, reusable=False)
    assert read(data, header_bytes=16).error == "too_large"


def test_of_an_answer_for_people_the_beginning_is_kept_whatever_it_is() -> None:
    page = b"HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
    assert read(page % 5 + b"<html", little=True) == Seen(500, b"<html", None, reusable=True)
    for size in (LITTLE + 1, 10**30):
        assert read(page % min(size, 10**17) + b"x" * 100_000, little=True) == Seen(
            500, b"x" * LITTLE, None, reusable=False
        )
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000
    seen = read(chunks, little=True)
    assert (seen.status, set(seen.body), seen.reusable) == (200, set(b"x"), False)
    packed = gzip.compress(b"x" * 100_000)
    encoded = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    assert read(encoded, little=True) == Seen(200, b"", None, reusable=True)
    assert read(page % 5 + b"<ht", little=True).error == "unreachable"
    assert read(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", little=True).error == "redirected"


# Any bytes

_LINES = (
    b"HTTP/1.1 200 OK|HTTP/1.0 500 No|HTTP/1.1 204 N|HTTP/1.1 100 C||Content-Type: application/json|Content-Length: 2"
    b"|Content-Length: 0|Transfer-Encoding: chunked|Connection: close|X: y|Content-Encoding: gzip|{}|2|0|"
)
_PARTS = st.sampled_from(
    [line + b"\r\n" for line in _LINES.split(b"|")]
    + [gzip.compress(b"{}"), *(b"{}", b"0\r\n\r\n", b"\0", b"\n", b"\r", b" ")]
)
_VALID = st.sampled_from([data for data, _ in TAKEN.values()])
_LINE = st.sampled_from(
    [
        LENGTH,
        LENGTH,
        CHUNKED,
        b"Content-Length: 02",
        b"Connection: close",
        b"Connection: keep-alive, x",
        b"X:",
        b"X: \t y",
        b"Transfer-encoding: Chunked",
        b"TE: trailers",
        b"Date: Thu, 26 Nov 2026 17:00:00 GMT",
        b"Upgrade: h2c",
    ]
)
_START = st.sampled_from([b"HTTP/1.1 200 OK"] * 4 + [b"HTTP/1.1 204 No", b"HTTP/1.0 200 OK", b"HTTP/1.1 201 \xff"])
_REST = st.sampled_from(
    [
        b"{}",
        b"{}",
        IN_CHUNKS,
        IN_CHUNKS,
        b"",
        b"{}\r\n",
        IN_CHUNKS + b"\r\n",
        b"{}HTTP/1.1 200 OK\r\n\r\n",
        b"1;x\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n\r\n",
        b"2\r\n{}\r\n00\r\n\r\n{}",
    ]
)


@st.composite
def _assembled(draw: st.DrawFn) -> bytes:
    """A head of plausible lines before a plausible body, fitting or not."""
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 103 Hints\r\nX: y\r\n\r\n"]))
    lines = draw(st.lists(_LINE, max_size=4))
    return interim + message(*lines, start=draw(_START), body=draw(_REST))


@st.composite
def _spoilt(draw: st.DrawFn) -> bytes:
    """An answer with a few places deleted, doubled, or written over."""
    data = draw(_VALID)
    for _ in range(draw(st.integers(1, 2))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 6)))
        data = data[:begin] + draw(st.one_of(st.just(data[begin:end] * 2), _PARTS, st.binary(max_size=3))) + data[end:]
    return data


_NOISE = st.lists(st.one_of(_PARTS, st.binary(max_size=12)), max_size=12).map(b"".join)
ANY_BYTES = st.one_of(_assembled(), _spoilt(), _NOISE)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def by_h11(data: bytes) -> Seen:
    """The same by h11: one answer, then the end of the connection."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())
    status, body = 0, b""
    closed = False
    parser.receive_data(data)
    try:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA and not closed:
                closed = True
                parser.receive_data(b"")
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                keeps = parser.their_state is h11.DONE and not closed and parser.trailing_data[0] == b""
                return Seen(status, body, None, reusable=keeps)
            elif not isinstance(event, h11.InformationalResponse):
                return Seen(0, b"", "error", reusable=False)
    except h11.RemoteProtocolError:
        return Seen(0, b"", "error", reusable=False)


def _laxer_by_choice(data: bytes) -> bool:
    """Where h11 is the stricter one, and it does no harm: nobody reads the reason, and zeros do not change a size."""
    return (
        any(bytes([control]) in data for control in (*range(9), *range(11, 13), *range(14, 32), 127))
        or b"0" * 19 in data
    )


@settings(max_examples=600, deadline=None)
@given(ANY_BYTES, CUTS)
@example(message(LENGTH) + b"\r\n", [len(message(LENGTH)) - 1])
def test_no_split_of_the_bytes_changes_an_answer(data: bytes, cuts: list[int]) -> None:
    whole, split = read(data), read(data, cuts)
    # An error page is let go as soon as its head is whole: only then may a split decide whether the connection is kept.
    if whole.status < 300 or whole.body:
        assert split == whole
    assert split[:3] == whole[:3]


@settings(max_examples=600, deadline=None)
@given(ANY_BYTES)
def test_what_is_an_answer_is_the_same_answer_for_another_parser(data: bytes) -> None:
    ours = read(data)
    if ours.error is not None or ours.status >= 300 or _laxer_by_choice(data) or b"gzip" in data:
        return
    theirs = by_h11(data)
    assert ours[:3] == theirs[:3]
    assert theirs.reusable or not ours.reusable


@settings(max_examples=300, deadline=None)
@given(ANY_BYTES, CUTS, st.integers(1, 200), st.integers(1, 8))
def test_small_limits_hold_whatever_comes(data: bytes, cuts: list[int], header_bytes: int, body_bytes: int) -> None:
    seen = read(data, cuts, header_bytes=header_bytes, body_bytes=body_bytes)
    assert len(seen.body) <= body_bytes
    assert seen.error in {None, "too_large", "bad_payload", "unreachable", "redirected"}


_NAMES = st.text("abcXYZ019-_!", min_size=1, max_size=10).map(lambda name: f"x-{name}".encode())
_VALUES = st.text("abc XYZ,;=\"'\t", max_size=20).map(lambda value: value.strip().encode())


@st.composite
def well_formed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A correct answer and its body."""
    body = draw(st.binary(max_size=300))
    lines = [b"%s: %s" % pair for pair in draw(st.lists(st.tuples(_NAMES, _VALUES), max_size=6))]
    if draw(st.booleans()):
        places = sorted({cut % (len(body) + 1) for cut in draw(CUTS)} - {0, len(body)})
        pieces = [body[b:e] for b, e in zip([0, *places], [*places, len(body)], strict=True) if e > b]
        ending = draw(st.sampled_from([b"", b"X-Trailer: 1\r\n"]))
        sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + ending + b"\r\n"
        lines.append(CHUNKED)
    else:
        sent = body
        lines.append(b"Content-Length: %d" % len(body))
    status = draw(st.sampled_from([200, 201, 400, 401, 429, 500, 503, 599]))
    interim = draw(
        st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n"])
    )
    order = draw(st.permutations(lines))
    return interim + message(*order, body=sent, start=b"HTTP/1.1 %d Some Reason" % status), body


@settings(max_examples=300, deadline=None)
@given(well_formed(), CUTS)
def test_correct_answers_are_read_as_the_other_parser_reads_them(answer: tuple[bytes, bytes], cuts: list[int]) -> None:
    data, body = answer
    seen = read(data, cuts)
    assert seen == by_h11(data)
    assert (seen.body, seen.reusable) == (body, True)
