"""The image of a launch: found on the engine or fetched, and allowed by its name and by what it is."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Final

from agents.launcher.failures import LaunchFailed
from agents.launcher.image_rules import is_allowed, refusal
from agents.launcher.runtimes.base import Image, Runtime, RuntimeFault
from control_plane.settings import Settings

_PULLS_AT_ONCE: Final = 2
#: A hundred launches at once mostly ask for one image: whatever moved within so short a time might as well have after.
_KNOWN_FOR_S: Final = 1.0


class Images:
    """Chooses images on one runtime."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._pulls = asyncio.Semaphore(_PULLS_AT_ONCE)
        self._looking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: dict[str, tuple[float, Image]] = {}

    async def find(self, reference: str) -> Image:
        """An image that the engine has and the operator allows. Raises LaunchFailed, EngineUnreachable."""
        allowed = is_allowed(reference, self._settings)
        try:
            image = await self._look(reference)
            problem = "the engine does not have it"
            if image is None and allowed and self._settings.image_pull == "missing":
                async with self._pulls:
                    image = await self._runtime.pull(reference)
        except RuntimeFault as error:
            image, problem = None, str(error)[:300]
        if image is None:
            unlisted = "" if allowed else " It is not on the operator's list either, so it was not fetched."
            raise LaunchFailed(
                "image_missing",
                f"The image {reference} is not there: {problem}.{unlisted} Ask your operator to provide it, then start "
                "the bot again.",
            )
        if not allowed:
            raise LaunchFailed(
                "image_not_allowed",
                f"The image {reference} is not on the operator's list (TRADEWISE_ALLOWED_IMAGES). Choose one that is, "
                "or ask your operator to allow it, then start the bot again.",
            )
        why = refusal(reference, image, self._settings)
        if why is not None:
            raise LaunchFailed(
                "image_not_allowed",
                f"The image {reference} may not run. {why}. Ask your operator to allow the digest that it has now, or "
                "choose another image, then start the bot again.",
            )
        return image

    async def _look(self, reference: str) -> Image | None:
        async with self._looking[reference]:
            now = time.monotonic()
            self._known = {name: found for name, found in self._known.items() if found[0] > now - _KNOWN_FOR_S}
            if reference in self._known:
                return self._known[reference][1]
            image = await self._runtime.find_image(reference)
            if image is not None:
                self._known[reference] = (time.monotonic(), image)
            return image
