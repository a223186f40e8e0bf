"""A container's output as the engine gives it: read in a thread of its own, handed over in bounded amounts."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import docker
import msgspec
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound
from docker.types import CancellableStream

from agents.launcher.runtimes.base import EngineUnreachable, LogChunk, LogLine, Pace, RuntimeFault
from agents.launcher.runtimes.docker_frames import Budget, Frames

_CONNECT_S: Final = 10
_LOOK_S: Final = 5
#: What is read in a second at most, as times what the pace lets through: each line costs, also one that is left out.
_READ_AND_LEFT_OUT: Final = 4
_COLLECT_S: Final = 0.1


class LogReader:
    """One connection and one thread. Its buffer holds no more than a second or two of what the pace lets through."""

    def __init__(
        self,
        connect: Callable[[], docker.DockerClient],
        ref: str,
        *,
        since: int | None,
        follow: bool,
        tail: int,
        pace: Pace,
    ) -> None:
        self._connect = connect
        self._ref = ref
        self._follow = follow
        self._tail = tail
        self._pace = pace
        self._since = since
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._lock = threading.Lock()
        self._lines: list[LogLine] = []
        self._held_lines = self._held_size = 0
        self._left_out = 0
        self._chunks: list[LogChunk] = []
        self._broken = False
        self._read_ns = since
        self._ended = False
        self._fault: Exception | None = None
        self._closing = threading.Event()
        self._stream: CancellableStream[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="engine-logs", daemon=True)

    async def chunks(self) -> AsyncIterator[LogChunk]:
        """What comes, a tenth of a second's worth at a time. Raises EngineUnreachable, RuntimeFault."""
        self._thread.start()
        try:
            while True:
                await self._ready.wait()
                # Before looking, so that what comes while this is handed on rings again.
                self._ready.clear()
                with self._lock:
                    ended = self._ended
                if not ended:
                    await asyncio.sleep(_COLLECT_S)
                for chunk in self._taken():
                    yield chunk
                if ended:
                    break
            if self._fault is not None:
                raise self._fault
        finally:
            self._close()

    def _close(self) -> None:
        """Let the thread end by itself: its read is cut off, and nobody waits for it."""
        self._closing.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            with contextlib.suppress(OSError, AttributeError, DockerException):
                stream.close()

    def _taken(self) -> list[LogChunk]:
        with self._lock:
            self._seal()
            chunks, self._chunks = self._chunks, []
            self._held_lines = self._held_size = 0
        return chunks

    def _seal(self) -> None:
        """Make a chunk of what was gathered. Lines left out come before the lines of the next chunk."""
        if self._lines or self._left_out or self._broken:
            chunk = LogChunk(
                lines=tuple(self._lines), left_out=self._left_out, broken=self._broken, read_ns=self._read_ns
            )
            self._chunks.append(chunk)
            self._lines, self._left_out, self._broken = [], 0, False

    def _run(self) -> None:
        try:
            with contextlib.closing(self._connect()) as client:
                while self._read(client) and not self._closing.is_set():
                    # It floods: take the newest of it in a moment, and say that some is missing.
                    self._tail = self._pace.lines
                    self._since = self._read_ns
        except NotFound:
            pass
        except APIError as error:
            self._fault = RuntimeFault(str(error.explanation or error)[:300])
        except (OSError, urllib3.exceptions.HTTPError, DockerException, requests.RequestException) as error:
            self._fault = EngineUnreachable(f"{type(error).__name__}: {error}"[:300])
        finally:
            with self._lock:
                self._ended = True
            self._tell()

    def _read(self, client: docker.DockerClient) -> bool:
        """Read until the end; True where it was broken off because too much comes."""
        frames, budget = Frames(self._since), Budget(self._pace)
        # A copy that was just looked through is read from there on; what is in between comes again and is passed over.
        with contextlib.closing(self._open(client)) as response:
            if self._closing.is_set():
                return False
            told = False
            window, size, seen = time.monotonic() + 1.0, 0, 0
            for data in response.iter_content(chunk_size=None):
                if self._closing.is_set():
                    return False
                budget.renew()
                self._keep(list(frames.feed(data, budget)), frames, first=not told)
                told = told or frames.read_ns != self._since
                size += len(data)
                if time.monotonic() >= window:
                    window, size, seen = time.monotonic() + 1.0, 0, frames.seen
                elif self._follow and (
                    frames.seen - seen > _READ_AND_LEFT_OUT * self._pace.lines
                    or size > _READ_AND_LEFT_OUT * self._pace.size
                ):
                    self._closing.wait(max(0.0, window - time.monotonic()))
                    return True
            self._keep(list(frames.rest(budget)), frames, first=not told)
            if not self._follow and self._since is None and frames.seen >= self._tail:
                self._begin_broken()
        return False

    def _open(self, client: docker.DockerClient) -> requests.Response:
        api = client.api
        parameters: dict[str, Any] = {
            "stdout": 1,
            "stderr": 1,
            "timestamps": 1,
            "follow": int(self._follow),
            "tail": self._tail,
        }
        if self._since is not None:
            parameters["since"] = f"{self._since // 10**9}.{self._since % 10**9:09d}"
        # Plain HTTP, because the client's own method tells neither the stream nor where a line ends.
        response = api.get(
            f"{api.base_url}/v{api.api_version}/containers/{self._ref}/logs",
            params=parameters,
            stream=True,
            timeout=(_CONNECT_S, None if self._follow else _LOOK_S),
        )
        if response.status_code == 404:
            response.close()
            raise NotFound("no such container", response)
        if response.status_code >= 400:
            words = response.text[:300]
            raise APIError(words, response, words)
        with self._lock:
            self._stream = CancellableStream(iter(()), response)
        return response

    def _keep(self, taken: list[LogLine | None], frames: Frames, *, first: bool) -> None:
        if not taken:
            return
        with self._lock:
            if first and not frames.joined:
                self._seal()
                self._broken = True
            for line in taken:
                # Whoever should take them is slow: then the newest are left out, as when the bot is too quick.
                if line is None or self._held_lines >= 2 * self._pace.lines or self._held_size >= 2 * self._pace.size:
                    if self._lines:
                        self._seal()
                    self._left_out += 1
                else:
                    self._lines.append(line)
                    self._held_lines += 1
                    self._held_size += len(line.text)
            self._read_ns = frames.read_ns
        # What is only looked through is handed over when it is all there.
        if self._follow:
            self._tell()

    def _begin_broken(self) -> None:
        """More was written than was asked for, and nobody knows how much."""
        with self._lock:
            self._seal()
            if self._chunks:
                self._chunks[0] = msgspec.structs.replace(self._chunks[0], broken=True)

    def _tell(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._ready.set)
