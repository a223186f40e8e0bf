"""Listens to the engine's own events, so that the end of a bot is noticed at once and not at the next look."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import docker
import requests
from docker.errors import DockerException
from docker.types import CancellableStream

from agents.launcher.runtimes.docker_profile import LABEL_BOT, LABEL_INSTALLATION

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 2.0
_REMEMBERED_S = 86400
#: Longer than it takes until we listen again to an engine that is back.
_BACK_WITHIN_S = 4.0
#: An event may come a moment after the state that it tells of.
_EVENT_LATE_S = 0.5


class Watch:
    """One thread with a connection of its own. Events only make a look come sooner: a lost one costs an interval."""

    def __init__(
        self, connect: Callable[[], docker.DockerClient], installation: UUID, changed: Callable[[str | None], None]
    ) -> None:
        self._connect = connect
        self._filters = {
            "type": "container",
            "event": ["die", "oom"],
            "label": f"{LABEL_INSTALLATION}={installation}",
        }
        self._changed = changed
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._told = threading.Condition()
        #: Copies whose end was told while it happened, until they are removed.
        self._ended: set[str] = set()
        self._connected = False
        #: Whether the engine ever let us listen.
        self._heard = False
        self._stream: CancellableStream[dict[str, Any]] | None = None
        self._thread = threading.Thread(target=self._run, name="engine-events", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def saw_end_of(self, ref: str) -> bool:
        """Whether the engine told of the end of a copy, and was not itself being stopped."""
        with self._told:
            if not self._heard:
                # An engine that tells nobody anything, such as one behind a filter, is no evidence of any kind.
                return True
            # Whoever comes back to an engine asks about copies before it can have heard of them.
            self._told.wait_for(lambda: self._connected or ref in self._ended, timeout=_BACK_WITHIN_S)
            return self._told.wait_for(lambda: ref in self._ended, timeout=_EVENT_LATE_S if self._connected else 0.0)

    def told_end_of(self, ref: str) -> bool:
        """Whether the engine has told of the end of a copy by now. It tells before its listing says so."""
        with self._told:
            return ref in self._ended

    def forget(self, ref: str) -> None:
        """The copy is removed: nobody asks about its end any more."""
        with self._told:
            self._ended.discard(ref)

    def close(self) -> None:
        """Stop listening and wait for the thread."""
        self._closing.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            _close(stream)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                self._listen()
                pause = _FIRST_PAUSE_S
            except (DockerException, requests.RequestException, OSError, ValueError):
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            if not self._closing.wait(pause):
                self._changed(None)

    def _listen(self) -> None:
        """Pass events on until the stream ends: with the engine, or by `close`."""
        with contextlib.closing(self._connect()) as client:
            # An engine keeps what it told of late, as long as it runs: what happened while nobody listened is heard
            # now. Only what ended with the engine itself is never told.
            stream = client.api.events(decode=True, filters=self._filters, since=int(time.time()) - _REMEMBERED_S)
            with self._lock:
                self._stream = stream
            try:
                if self._closing.is_set():
                    return
                with self._told:
                    self._connected = self._heard = True
                    self._told.notify_all()
                # Between the look that came before and this stream something may have ended unseen.
                self._changed(None)
                for event in stream:
                    if self._closing.is_set():
                        return
                    actor = event.get("Actor", {})
                    if event.get("Action") == "die":
                        with self._told:
                            self._ended.add(actor.get("ID", ""))
                            self._told.notify_all()
                    self._changed(actor.get("Attributes", {}).get(LABEL_BOT))
            finally:
                self._connected = False
                # Whoever closes us may have come before there was a stream to close.
                _close(stream)
                with self._told:
                    # An engine that is being stopped takes no requests any more and ends its containers before it ends
                    # this stream: what it told last, and nobody could look at since, were no ends of their own.
                    self._ended.clear()
                with self._lock:
                    self._stream = None


def _close(stream: CancellableStream[dict[str, Any]]) -> None:
    with contextlib.suppress(OSError, AttributeError, DockerException):
        stream.close()
