"""Metrics and health of an agent on a port of its own, from a thread, so that a busy loop cannot hide."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, make_wsgi_app

from control_plane.settings import Settings


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the standard library
        """A probe every few seconds is not worth a line."""


class Monitor:
    """Serves ``/metrics``, ``/health/live`` and ``/health/ready`` where ``TRADEWISE_METRICS_PORT`` is set."""

    def __init__(self, settings: Settings, state: Callable[[], str]) -> None:
        self._address = settings.metrics_address
        self._port = settings.metrics_port
        self._state = state
        self._server: WSGIServer | None = None
        self._metrics = make_wsgi_app(REGISTRY)

    def __enter__(self) -> Self:
        if self._port is not None:
            self._server = make_server(self._address, self._port, self._answer, handler_class=_QuietHandler)
            threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            metrics: Iterable[bytes] = self._metrics(environ, start_response)
            return metrics
        ready = self._state() == "working"
        known = path in {"/health/live", "/health/ready"}
        status = "200 OK" if known and (ready or path == "/health/live") else "503 Service Unavailable"
        start_response(status if known else "404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [self._state().encode() + b"\n" if known else b"not found\n"]
