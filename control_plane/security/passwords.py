"""Passwords: argon2id off the event loop, and a dummy check: an unknown address costs as much as a known one."""

from __future__ import annotations

import asyncio
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from control_plane.settings import Settings

MINIMUM_LENGTH = 8
MAXIMUM_LENGTH = 256


class Passwords:
    """Hashes and verifies, at most two at a time so that a burst of sign-ins cannot exhaust memory."""

    def __init__(self, settings: Settings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.password_time_cost, memory_cost=settings.password_memory_kib, parallelism=1
        )
        self._slots = asyncio.Semaphore(2)
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """The argon2id hash of the NFC form of ``password``."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether ``password`` matches ``stored``; with ``stored`` None the same work is done and the answer is no."""
        known = stored is not None
        if stored is None:
            if self._dummy is None:
                self._dummy = await self.hash("a password that nobody has")
            stored = self._dummy
        async with self._slots:
            matches = await asyncio.to_thread(self._matches, stored, _normal(password))
        return matches and known

    def is_stale(self, stored: str) -> bool:
        """Whether ``stored`` was made with other parameters than the settings ask for now."""
        try:
            return self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return False

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


def _normal(password: str) -> str:
    return unicodedata.normalize("NFC", password)
