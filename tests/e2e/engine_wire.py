"""A wire to the real engine that a test can cut. It works in a thread of its own, so that a test may stand still."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.launcher.wire import Wire


class EngineWire:
    """A socket that leads to the engine while the wire is whole. Use as ``with``."""

    def __init__(self, path: Path, engine_url: str) -> None:
        self._wire = Wire(path, engine_url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """The wire as a value for DOCKER_HOST."""
        return self._wire.url

    def __enter__(self) -> Self:
        self._thread.start()
        self.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def join(self) -> None:
        """Carry connections from now on."""
        self._do(self._wire.join())

    def cut(self) -> None:
        """End every connection and take no new ones: the engine is down, for those at this end."""
        self._do(self._wire.cut())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
