"""Patterns of text in bodies, in the common ground of Python and of what the OpenAPI document's readers understand."""

from __future__ import annotations

from typing import Final

#: The very end. ``$`` alone also matches before a last line break, and Python's ``\Z`` is unknown to JavaScript.
END: Final = r"$(?!\n)"

#: One line with something to see in it.
NAME: Final = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*" + END
