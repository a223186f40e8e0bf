"""A complete answer, and making typed values of it."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import msgspec

from agents.egress.errors import EgressError

T = TypeVar("T")

_JSON_TYPE = re.compile(rb"application/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
# Never fails on a quote, closed or not: the scan stays linear on any input.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
# What Python's own writers make of a number that is none. Whatever else stands before it, texts closed or not, is taken
# whole and left: a call for each of a million quotes would hold up every other bot.
_REST_OR_NO_NUMBER = re.compile(
    rb'((?:[^"NI-]|"(?:[^"\\]|\\.)*+"?|(?!-?(?:NaN|Infinity)\b)[NI-])++)|-?\b(?:NaN|Infinity)\b', re.DOTALL
)
_MOST_NO_NUMBERS = 10_000
_OUR_PATH = re.compile(r"at `(\$[\w.\[\]]{0,80})`")
_MAX_DEPTH = 64
_NONE: Mapping[str, str] = MappingProxyType({})


class Response(msgspec.Struct, frozen=True):
    """A complete answer of any status outside 1xx and 3xx; `body` is empty where an error came without JSON."""

    status: int
    body: bytes
    latency_ms: float
    """Milliseconds from the first byte out, or the connection attempt, to the last byte in."""
    headers: Mapping[str, str] = _NONE
    """By lower-case name, those that an engine has a use for: `retry-after`; of a website also `set-cookie`. One sent
    twice keeps both values, comma between."""

    @property
    def retry_after_s(self) -> float | None:
        """The seconds that its `Retry-After` asks for (RFC 9110, 10.2.3); a date there is as good as none."""
        told = self.headers.get("retry-after", "").strip()
        # The other form, a date, goes by a clock that we do not know.
        return float(told[:9]) if told.isascii() and told.isdigit() else None

    def __repr__(self) -> str:
        return f"Response(status={self.status}, latency_ms={self.latency_ms})"

    def decode(self, shape: type[T]) -> T:
        """The body as `shape`; numbers become exact decimals where it says so.

        The literals NaN and Infinity, which are no JSON and which bots write all the same while their exchange is in
        maintenance, are null: a number that nobody knows. Raises `EgressError` with `bad_payload` for anything else,
        absurd nesting and absurd numbers included.
        """
        body = self.body
        # Most answers have fewer brackets than the limit: counting them all is a hundred times cheaper than the scan.
        if body.count(b"[") + body.count(b"{") > _MAX_DEPTH:
            _check_depth(body)
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.ValidationError as error:
            # Only the place, in our own field names: the rest of the text may quote what the remote sent.
            place = _OUR_PATH.search(str(error))
            where = f" at {place[1]}" if place else ""
            raise EgressError("bad_payload", f"The answer does not have the form expected{where}.") from None
        except (ValueError, ArithmeticError, RecursionError):
            known = without_no_numbers(self.body)
            if known != self.body:
                return msgspec.structs.replace(self, body=known).decode(shape)
            raise EgressError("bad_payload", "The answer is not valid JSON.") from None


def without_no_numbers(body: bytes) -> bytes:
    """A document with null wherever it says NaN or Infinity outside of a text."""
    if not 0 < body.count(b"NaN") + body.count(b"Infinity") <= _MOST_NO_NUMBERS:
        return body
    return _REST_OR_NO_NUMBER.sub(lambda found: found[1] or b"null", body)


def is_json(content_type: bytes) -> bool:
    """Whether the answer says that it is JSON."""
    return _JSON_TYPE.fullmatch(content_type) is not None


def _check_depth(body: bytes) -> None:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body):
        opening = token[0]
        if opening in {b"[", b"{"}:
            depth += 1
            if depth > _MAX_DEPTH:
                raise EgressError("bad_payload", "The answer is nested too deeply.")
        elif opening in {b"]", b"}"}:
            depth -= 1
