"""Events for the operator: one JSON object a line on standard error. Callers never pass a secret."""

import json
import sys

from . import timestamps


def event(name: str, **facts: object) -> None:
    """Write one event with the facts that are known. A reader that went away must not stop the bot."""
    known = {fact: value for fact, value in facts.items() if value is not None}
    line = json.dumps({"at": timestamps.to_text(timestamps.now()), "event": name, **known})
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return
