"""Which browser, on what, in words: a guess from what a browser says of itself, good enough to know one's own again."""

from __future__ import annotations

import re
from typing import Final

# In this order: most browsers name those before them as well.
_BROWSERS: Final = (
    ("Edge", re.compile(r"\bEdg(?:e|A|iOS)?/")),
    ("Opera", re.compile(r"\bOPR/")),
    ("Samsung Internet", re.compile(r"\bSamsungBrowser/")),
    ("Firefox", re.compile(r"\b(?:Firefox|FxiOS)/")),
    ("Chrome", re.compile(r"\b(?:Chrome|HeadlessChrome|CriOS|Chromium)/")),
    ("Safari", re.compile(r"\bSafari/")),
)
_SYSTEMS: Final = (
    ("Android", re.compile(r"\bAndroid\b")),
    ("iPhone", re.compile(r"\biPhone\b")),
    ("iPad", re.compile(r"\biPad\b")),
    ("Windows", re.compile(r"\bWindows\b")),
    ("macOS", re.compile(r"\bMac OS X\b")),
    ("ChromeOS", re.compile(r"\bCrOS\b")),
    ("Linux", re.compile(r"\bLinux\b")),
)
_PROGRAM: Final = re.compile(r"[A-Za-z][\w.-]{0,30}")


def device_words(user_agent: str | None) -> str:
    """Such as "Firefox on Linux"; a program by its own name; "Unknown device" where nothing is said."""
    said = user_agent or ""
    browser = next((name for name, pattern in _BROWSERS if pattern.search(said)), None)
    system = next((name for name, pattern in _SYSTEMS if pattern.search(said)), None)
    if browser and system:
        return f"{browser} on {system}"
    if browser or system:
        return browser or f"A program on {system}"
    named = _PROGRAM.match(said)
    return f"A program ({named[0]})" if named else "Unknown device"
