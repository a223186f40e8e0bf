"""A webhook's receiver: proves each message as docs/webhooks.md says, and answers as it is told to."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any

from tests.servers.loopback import LoopbackServer, Reply, Request


class WebhookReceiver(LoopbackServer):
    """``secrets`` are those it knows. Whatever does not prove itself is answered 401 and kept in ``refused``."""

    def __init__(self, *secrets: str) -> None:
        super().__init__()
        self.secrets = list(secrets)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.hang = False
        self.answer = b"thank you"
        #: Every message that proved itself, whatever was answered: id, signatures and document.
        self.offered: list[tuple[str, str, dict[str, Any]]] = []
        #: Those that were taken.
        self.taken: list[dict[str, Any]] = []
        self.refused: list[Request] = []

    async def handle(self, request: Request) -> Reply:
        """Prove it, keep it, answer."""
        if not self.proves(request):
            self.refused.append(request)
            return Reply(401, b"who are you", "text/plain")
        document = json.loads(request.body)
        self.offered.append((request.headers["webhook-id"], request.headers["webhook-signature"], document))
        if self.hang:
            await asyncio.Event().wait()
        if 200 <= self.status < 300:
            self.taken.append(document)
        return Reply(self.status, self.answer, "text/plain", self.headers)

    def proves(self, request: Request) -> bool:
        """Whether one of the signatures is by a secret that is known, over these bytes, of late."""
        message_id, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        if abs(time.time() - int(at)) > 300:
            return False
        signed = f"{message_id}.{at}.".encode() + request.body
        given = [word.split(",", 1) for word in request.headers["webhook-signature"].split()]
        for secret in self.secrets:
            key = base64.b64decode(secret.removeprefix("whsec_"))
            expected = hmac.new(key, signed, hashlib.sha256).digest()
            for version, signature in given:
                try:
                    if version == "v1" and hmac.compare_digest(base64.b64decode(signature), expected):
                        return True
                except binascii.Error:
                    continue
        return False

    @property
    def types(self) -> list[str]:
        """The types of what was taken."""
        return [document["type"] for document in self.taken]
