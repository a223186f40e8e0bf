"""Python's search for cycles of objects that nothing else reaches: what a request or a look makes is in none as a rule,
and goes by itself.

With Python's own thresholds a poller spent a tenth of all looks on it; and one search through everything that a web
process holds once it is loaded stops that process, whatever it was asked, for some 100 ms.
"""

from __future__ import annotations

import gc
from typing import Final

#: New objects between two searches; Python's own is 700.
_NEW_OBJECTS: Final = 50_000


def search_seldom() -> None:
    """For a process that lives long and makes few cycles."""
    gc.set_threshold(_NEW_OBJECTS, 20, 20)


def pass_over_what_is_there() -> None:
    """Everything that lives now will live long: never look through it again."""
    gc.collect()
    gc.freeze()
