"""What the end of freqtrade means, from its exit status and its last words. Pure.

freqtrade ends with 0 when its configuration is wrong, with 2 for a wrong configuration as well as for an exchange that
does not answer, and with 130 when it is asked to end. Only its words tell which.
"""

import re
from collections.abc import Sequence

EX_OK = 0
EX_CONFIG = 78
"""The configuration cannot work: to start again would change nothing (sysexits.h)."""
_ENDED_AS_ASKED = frozenset({0, 130, -15, -2})
_FREQTRADE_FAULT = 2
_LONGEST = 500

_RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ - (?P<logger>\S+) - (?P<level>[A-Z]+) - (?P<text>.*)")
_CONFIGURATION = "Configuration error: "
#: Where a check of the schema failed; the error itself says what is wrong, and not where.
_MEMBER = re.compile(r"On instance((?:\[[^\]]+\])+):")
#: Faults of the exchange or the network, by the names that ccxt gives them: those pass.
_PASSING = re.compile(
    r"\b(NetworkError|RequestTimeout|ExchangeNotAvailable|OnMaintenance|DDoSProtection|RateLimitExceeded"
    r"|ExchangeError|OperationFailed|BadResponse|NullResponse|TimeoutError|ClientConnectorError)\b"
)
_KEYS_REFUSED = re.compile(r"\b(AuthenticationError|PermissionDenied|AccountNotEnabled|AccountSuspended)\b")


def exit_status(status: int, lines: Sequence[str], *, asked: bool) -> tuple[int, str | None]:
    """The status to end with, and for a refused configuration freqtrade's own words.

    ``lines`` are the last ones that it wrote; ``asked`` tells that it was told to end.
    """
    if asked and status in _ENDED_AS_ASKED:
        return EX_OK, None
    words = _last_error(lines)
    if words is not None and words.startswith(_CONFIGURATION) and status in {0, 1}:
        return EX_CONFIG, f"{_member(lines)}{words.removeprefix(_CONFIGURATION)}"[:_LONGEST]
    if status == _FREQTRADE_FAULT and words is not None and not _may_pass(lines):
        return EX_CONFIG, words[:_LONGEST]
    return (128 - status if status < 0 else status), None


def _last_error(lines: Sequence[str]) -> str | None:
    """The text of the last record of freqtrade's own logger that is an error, with the lines that belong to it."""
    for position in range(len(lines) - 1, -1, -1):
        record = _RECORD.match(lines[position])
        if record is None or (record["logger"], record["level"]) != ("freqtrade", "ERROR"):
            continue
        words = [record["text"]]
        for line in lines[position + 1 :]:
            if _RECORD.match(line) or line.startswith("Please make sure to review the documentation"):
                break
            words.append(line.strip())
        return " ".join(word for word in words if word)
    return None


def _member(lines: Sequence[str]) -> str:
    """The member that the schema's complaint is about, as `exchange.name: `; nothing where it was another complaint."""
    found = next((match for line in reversed(lines) if (match := _MEMBER.match(line.strip()))), None)
    if found is None:
        return ""
    return ".".join(part.strip("'\"") for part in found[1].strip("[]").split("][")) + ": "


def _may_pass(lines: Sequence[str]) -> bool:
    return any(_PASSING.search(line) for line in lines) and not any(_KEYS_REFUSED.search(line) for line in lines)
