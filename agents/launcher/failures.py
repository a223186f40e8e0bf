"""What a launch that did not succeed tells its bot's owner."""

from __future__ import annotations


class LaunchFailed(Exception):  # noqa: N818 - what a person is told
    """A launch that did not succeed: a stable reason, words with a remedy, and whether trying again may help."""

    def __init__(self, reason: str, detail: str, *, retry: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry = retry
