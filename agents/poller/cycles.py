"""Python's search for cycles of objects that nothing else reaches: what a look makes is in none and goes by itself."""

from __future__ import annotations

import gc
from typing import Final

#: New objects between two searches. With Python's 700 they cost a tenth of all looks.
_NEW_OBJECTS: Final = 50_000


def search_seldom() -> None:
    """For a process that lives long and makes few cycles."""
    gc.set_threshold(_NEW_OBJECTS, 20, 20)


def pass_over_what_is_there() -> None:
    """Everything that lives now will live long: never look through it again."""
    gc.collect()
    gc.freeze()
