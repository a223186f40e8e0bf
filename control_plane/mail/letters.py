"""A mail in clear, between who writes it and who sends it."""

from __future__ import annotations

import msgspec


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A mail in clear. ``kind`` is a stable name for counting; everything else is sealed. Without ``to``, to nobody."""

    kind: str
    to: str
    subject: str
    body: str

    def __repr__(self) -> str:
        return f"Letter(kind={self.kind!r})"
