"""Takes secrets out of a bot's output as it comes: line by line, whatever was split where. Pure.

A secret counts wherever its characters follow each other, line breaks between them left out: a program that wraps its
output at eighty columns would else show it in two halves. A line is held back while its end may be the beginning of a
secret, until the next line tells, or until somebody waits no longer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import Final, Generic, TypeVar
from urllib.parse import quote

import msgspec

REDACTED: Final = "(redacted)"
SHORTEST: Final = 6
"""What is shorter is no secret, and redacting it everywhere would leave nothing to read."""

_T = TypeVar("_T")


class Redactor(Generic[_T]):
    """Lines of any number of streams in, the same lines in the same order out, each with whatever belongs to it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(sorted(forms(secrets), key=len, reverse=True))
        self._longest = len(self._secrets[0]) if self._secrets else 0
        self._queue: list[_Held[_T]] = []
        self._streams: dict[str, _Stream[_T]] = {}

    def __repr__(self) -> str:
        return "Redactor(…)"

    @property
    def weight(self) -> int:
        """How many texts are looked for: what a line costs is in proportion to it."""
        return len(self._secrets)

    def feed(self, lines: Iterable[tuple[str, str, bool, _T]]) -> list[tuple[str, _T]]:
        """Take further lines as (stream, text, whether its end was cut off, what belongs to it); gives settled ones."""
        touched = set()
        for stream, text, cut, thing in lines:
            held = _Held(text, thing)
            if cut and self._longest:
                # Half of a secret may be left at its end, and the other half never comes.
                held.spans.append((max(0, len(text) - self._longest + 1), len(text)))
            self._queue.append(held)
            self._streams.setdefault(stream, _Stream()).held.append(held)
            touched.add(stream)
        for stream in touched:
            self._settle(self._streams[stream], whole=False)
        return self._settled()

    def flush(self) -> list[tuple[str, _T]]:
        """Wait no longer. What might have become a secret is taken for one where enough of it is there."""
        for stream in self._streams.values():
            self._settle(stream, whole=True)
        return self._settled()

    @property
    def waiting(self) -> bool:
        """Whether lines are held back."""
        return bool(self._queue)

    def _settled(self) -> list[tuple[str, _T]]:
        count = next((at for at, held in enumerate(self._queue) if not held.settled), len(self._queue))
        ready, self._queue = self._queue[:count], self._queue[count:]
        return [(_without(held.text, held.spans), held.thing) for held in ready]

    def _settle(self, stream: _Stream[_T], *, whole: bool) -> None:
        """Find secrets in what is held and what came just before; settle the lines that no later one can change."""
        text = stream.before + "".join(held.text for held in stream.held)
        spans = [span for secret in self._secrets for span in _places(text, secret)]
        end = len(text) - self._begun(text)
        if whole:
            if len(text) - end >= SHORTEST:
                spans.append((end, len(text)))
            end = len(text)
        spans = _merged(spans)
        at = done = len(stream.before)
        index = 0
        open_: list[_Held[_T]] = []
        for held in stream.held:
            start, at = at, at + len(held.text)
            while index < len(spans) and spans[index][1] <= start:
                index += 1
            for a, b in islice(spans, index, None):
                if a >= at:
                    break
                held.spans.append((max(a, start) - start, min(b, at) - start))
            held.settled = not open_ and at <= end
            if held.settled:
                done = at
            else:
                open_.append(held)
        stream.held = open_
        # What was given out already still counts as the beginning of what comes.
        stream.before = text[max(0, done - self._longest + 1) : done] if self._longest else ""

    def _begun(self, text: str) -> int:
        """How much of the end of ``text`` may be the beginning of a secret."""
        most = 0
        for secret in self._secrets:
            at = text.find(secret[:SHORTEST], max(0, len(text) - len(secret) + 1))
            while 0 <= at < len(text) - most and not secret.startswith(text[at:]):
                at = text.find(secret[:SHORTEST], at + 1)
            if at >= 0:
                most = max(most, len(text) - at)
            short = next((n for n in range(SHORTEST - 1, most, -1) if text.endswith(secret[:n])), 0)
            most = max(most, short)
        return most


class _Held(Generic[_T]):
    """A line on its way, and where in it secrets are."""

    __slots__ = ("settled", "spans", "text", "thing")

    def __init__(self, text: str, thing: _T) -> None:
        self.text = text
        self.thing = thing
        self.spans: list[tuple[int, int]] = []
        self.settled = False


class _Stream(Generic[_T]):
    """Lines of one stream: a secret is never split between two streams."""

    __slots__ = ("before", "held")

    def __init__(self) -> None:
        self.before = ""
        self.held: list[_Held[_T]] = []


def forms(secrets: Iterable[str]) -> set[str]:
    """How a secret may look in a program's output: as it is, inside JSON, inside JSON in JSON, and in an address."""
    found: set[str] = set()
    for secret in secrets:
        quoted = {msgspec.json.encode(secret)[1:-1].decode(), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        found |= {secret, quote(secret, safe=""), *quoted, *(json.dumps(text)[1:-1] for text in quoted)}
    joined = {text.replace("\r", "").replace("\n", "") for text in found}
    return {text for text in joined if len(text) >= SHORTEST}


def _places(text: str, secret: str) -> Iterable[tuple[int, int]]:
    at = text.find(secret)
    while at >= 0:
        yield at, at + len(secret)
        at = text.find(secret, at + 1)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """``text`` with each stretch that the spans cover, overlapping or touching, as one word in its place."""
    merged = _merged(span for span in spans if span[0] < span[1])
    if not merged:
        return text
    edges = [(0, 0), *merged, (len(text), len(text))]
    return REDACTED.join(text[a[1] : b[0]] for a, b in pairwise(edges))
