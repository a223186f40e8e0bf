"""Reading an answer's body within its limits, and making typed values of it."""

import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import msgspec

from agents.egress.errors import EgressError

T = TypeVar("T")
NextChunk: TypeAlias = Callable[[], Awaitable[bytes | None]]

_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
# Never fails on a quote, closed or not: the scan stays linear on any input.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_OUR_PATH = re.compile(r"at `(\$[\w.\[\]]{0,80})`")
_MAX_DEPTH = 64
_MAX_CHUNKS = 4096


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer of any status outside 1xx and 3xx; `body` is empty where an error came without JSON."""

    status: int
    body: bytes = field(repr=False)
    latency_ms: float
    """Milliseconds from the first byte out, or the connection attempt, to the last byte in."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By lower-case name; one sent twice keeps both values, comma between."""

    @property
    def is_json(self) -> bool:
        """Whether the answer says that it is JSON."""
        return is_json(self.headers)

    def decode(self, shape: type[T]) -> T:
        """The body as `shape`; numbers become exact decimals where it says so.

        Raises `EgressError` with `bad_payload` for anything else, NaN, absurd nesting and absurd numbers included.
        """
        _check_depth(self.body)
        try:
            return msgspec.json.decode(self.body, type=shape)
        except msgspec.ValidationError as error:
            # Only the place, in our own field names: the rest of the text may quote what the remote sent.
            place = _OUR_PATH.search(str(error))
            where = f" at {place[1]}" if place else ""
            raise EgressError("bad_payload", f"The answer does not have the form expected{where}.") from None
        except (ValueError, ArithmeticError, RecursionError):
            raise EgressError("bad_payload", "The answer is not valid JSON.") from None


def is_json(headers: Mapping[str, str]) -> bool:
    """Whether the answer says that it is JSON."""
    return _JSON_TYPE.fullmatch(headers.get("content-type", "").strip()) is not None


async def read_body(next_chunk: NextChunk, headers: Mapping[str, str], limit: int) -> bytes:
    """Collect a body of at most `limit` bytes once decoded, giving up at the first byte too many.

    Raises `EgressError` with `too_large` or `bad_payload`.
    """
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
        raise _too_large()
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return await _read_plain(next_chunk, limit)
    if encoding in {"gzip", "x-gzip"}:
        return await _read_gzip(next_chunk, limit)
    raise EgressError("bad_payload", "The answer is compressed in a way that was not asked for.")


async def _read_plain(next_chunk: NextChunk, limit: int) -> bytes:
    return await _collect(next_chunk, lambda chunk, _room: chunk, limit)


async def _read_gzip(next_chunk: NextChunk, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        # Never unpack more than may be kept: a bomb costs its limit, not its promise.
        body = await _collect(next_chunk, unpacker.decompress, limit)
    except zlib.error:
        raise EgressError("bad_payload", "The answer's compression is damaged.") from None
    if not unpacker.eof or unpacker.unused_data:
        raise EgressError("bad_payload", "The answer's compression is damaged.")
    return body


async def _collect(next_chunk: NextChunk, unpack: Callable[[bytes, int], bytes], limit: int) -> bytes:
    body = bytearray()
    # A chunk costs time whatever its size: a megabyte sent byte by byte would hold up every other bot for seconds.
    for _ in range(_MAX_CHUNKS):
        chunk = await next_chunk()
        if chunk is None:
            return bytes(body)
        body += unpack(chunk, limit + 1 - len(body))
        if len(body) > limit:
            raise _too_large()
    raise EgressError("too_large", "The answer comes in more pieces than a bot's answer may.")


def _check_depth(body: bytes) -> None:
    # Most answers have fewer brackets than the limit: counting them all is a hundred times cheaper than the scan.
    if body.count(b"[") + body.count(b"{") <= _MAX_DEPTH:
        return
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body):
        opening = token[0]
        if opening in {b"[", b"{"}:
            depth += 1
            if depth > _MAX_DEPTH:
                raise EgressError("bad_payload", "The answer is nested too deeply.")
        elif opening in {b"]", b"}"}:
            depth -= 1


def _too_large() -> EgressError:
    return EgressError("too_large", "The answer is larger than a bot's answer may be.")
