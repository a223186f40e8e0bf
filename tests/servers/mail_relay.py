"""A relay on loopback that takes mails, or fails to in every way that relays do."""

from __future__ import annotations

import asyncio
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class MailRelay:
    """Use as ``async with``. ``answer_rcpt`` and ``answer_data`` are what it says, "hang" and "drop" what it does."""

    def __init__(self, *, login: tuple[str, str] | None = None) -> None:
        self.answer_rcpt = "250 OK"
        self.answer_data = "250 OK"
        self.taken: list[EmailMessage] = []
        self.recipients: list[str] = []
        #: How often a whole mail came in, whatever was answered.
        self.offered = 0
        self.connections = 0
        self.port = 0
        self._login = login
        self._server: asyncio.Server | None = None
        self._transports: list[asyncio.Transport] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.get_running_loop().create_server(self._protocol, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._cut()
        await asyncio.sleep(0)

    def _cut(self) -> None:
        for transport in self._transports:
            transport.abort()
        self._transports.clear()

    def _protocol(self) -> SMTP:
        relay = self

        class Recorded(SMTP):
            """Remembers its connection, so that it can be cut."""

            def connection_made(self, transport: Any) -> None:
                relay.connections += 1
                relay._transports.append(transport)
                super().connection_made(transport)

        more: dict[str, Any] = {}
        if self._login is not None:
            more = {"authenticator": self._check, "auth_require_tls": False}
        return Recorded(self, hostname="relay.example", enable_SMTPUTF8=True, **more)

    def _check(self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=(data.login.decode(), data.password.decode()) == self._login, handled=False)

    async def handle_RCPT(  # noqa: N802 - the name that the library calls
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        if self.answer_rcpt.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.answer_rcpt

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail, refuse it, say nothing, or hang up."""
        self.offered += 1
        if self.answer_data == "hang":
            await asyncio.Event().wait()
        if self.answer_data == "drop":
            self._cut()
            return "250 OK"
        if self.answer_data.startswith("2"):
            content = envelope.original_content
            assert content is not None
            self.taken.append(message_from_bytes(content, policy=policy.default))
            self.recipients += envelope.rcpt_tos
        return self.answer_data
