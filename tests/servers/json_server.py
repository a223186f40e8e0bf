"""Some bot of any make: documents by path, behind any of the usual kinds of authentication."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from tests.servers.loopback import LoopbackServer, Reply, Request, json_reply


class JsonServer(LoopbackServer):
    """Answers what the test puts in `documents`, by path and query."""

    def __init__(self, **documents: Any) -> None:
        super().__init__()
        self.documents: dict[str, Any] = {f"/{name}": document for name, document in documents.items()}
        self.raw: dict[str, Reply] = {}
        self.wanted: tuple[str, str] | None = None
        """The header that every request must carry, by lower-case name."""

    def ask_basic(self, username: str, password: str) -> None:
        """Ask for HTTP Basic."""
        self.wanted = ("authorization", "Basic " + b64encode(f"{username}:{password}".encode()).decode())

    async def handle(self, request: Request) -> Reply:
        if self.wanted is not None and request.headers.get(self.wanted[0]) != self.wanted[1]:
            return json_reply({"error": "who are you"}, 401)
        if request.path in self.raw:
            return self.raw[request.path]
        if request.method != "GET" or request.path not in self.documents:
            return json_reply({}, 404)
        return json_reply(self.documents[request.path])
