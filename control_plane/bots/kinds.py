"""Kinds of bots, apart from the tables: an agent needs the words alone, and models load half of the web tier."""

from __future__ import annotations

from typing import Final

BOT_TYPES: Final = ("external", "shared", "platform")
#: Bots that we run as containers.
HOSTED_TYPES: Final = ("shared", "platform")
