"""Patterns of text in bodies, in the common ground of Python and of what the OpenAPI document's readers understand."""

from __future__ import annotations

from typing import Final

#: The very end. ``$`` alone also matches before a last line break, and Python's ``\Z`` is unknown to JavaScript.
END: Final = r"$(?!\n)"

#: Control characters, ends of lines, and what turns the direction of all that follows: a name stands in lists and
#: messages beside others.
_NOT: Final = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
#: One line with something to see in it.
NAME: Final = rf"^[^{_NOT}]*[^\s{_NOT}][^{_NOT}]*" + END
