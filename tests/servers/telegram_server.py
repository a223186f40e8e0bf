"""Telegram's Bot API as far as it is called: ``sendMessage`` with the answers that the real one gives."""

from __future__ import annotations

from typing import Any

from tests.servers.loopback import LoopbackServer, Reply, Request, json_reply


class TelegramServer(LoopbackServer):
    """Knows one bot. ``failure`` is answered instead of taking a message: error code, description, parameters."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token
        self.sent: list[dict[str, Any]] = []
        self.failure: tuple[int, str, dict[str, Any] | None] | None = None

    async def handle(self, request: Request) -> Reply:
        """Answer one call."""
        if request.path != f"/bot{self.token}/sendMessage":
            return json_reply({"ok": False, "error_code": 404, "description": "Not Found"}, 404)
        if self.failure is not None:
            code, words, parameters = self.failure
            body: dict[str, Any] = {"ok": False, "error_code": code, "description": words}
            return json_reply(body | ({"parameters": parameters} if parameters else {}), code)
        message = request.json()
        self.sent.append(message)
        return json_reply({"ok": True, "result": {"message_id": len(self.sent), "chat": {"id": message["chat_id"]}}})
