"""The Telegram job: one call of the Bot API a message. The API is named by the operator, the chats by tenants.

The bot's token is a part of every address that is called: no address is ever logged, and no error of the library.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, ClassVar, Final

import asyncpg
import httpx
import msgspec
import structlog

from agents.authorities import public_authorities
from agents.notifier import claims
from agents.notifier.retry import message_delay
from agents.notifier.webhooks import GIVE_UP_S, open_all
from control_plane.alerts.kinds import CODE
from control_plane.alerts.words import chat_text, code_text
from control_plane.security.vault import OpenError, Vault
from control_plane.settings import Settings

_log = structlog.get_logger("notifier")

_AT_ONCE: Final = 8
_LONGEST_PAUSE_S: Final = 15.0
_CONNECT_S: Final = 5.0
_WHOLE_S: Final = 15.0
_MOST_BYTES: Final = 64 * 1024
_LONGEST_WAIT_S: Final = 3600.0
#: The chat is closed to the bot: saying it again changes nothing.
_CLOSED: Final = {400: "chat_not_found", 403: "chat_closed"}
_CLOSED_WORDS: Final = "The bot cannot write to this chat: it was removed or blocked there, or the chat has moved."
_DEAD: Final = "Nothing has got through to it for three days."
_USED: Final = "delete from channel_secrets where tenant_id = $1 and channel_id = $2 and kind = 'code'"


class _Parameters(msgspec.Struct):
    retry_after: float = 0.0


class _Answer(msgspec.Struct):
    ok: bool
    error_code: int = 0
    parameters: _Parameters | None = None


class TelegramError(RuntimeError):
    """A message that did not go. ``reason`` is a stable word and repeats nothing of the message or the answer."""

    def __init__(self, reason: str, *, closed: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.closed = closed
        self.wait_s = wait_s


class Telegram:
    """Tells chats. Any number may run beside each other."""

    channel: ClassVar[str] = "tradewise_alerts"

    def __init__(
        self, settings: Settings, pool: asyncpg.Pool, vault: Vault, detail: dict[str, Any] | None = None
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._vault = vault
        self._detail = detail if detail is not None else {}
        # The web tier has no token to look at: it takes no chat where every notifier says this.
        self._detail["telegram"] = (settings.telegram_bot_token or settings.telegram_bot_token_file) is not None
        self._client = httpx.AsyncClient(
            verify=public_authorities(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(_WHOLE_S, connect=_CONNECT_S),
            headers={"User-Agent": "TradeWise", "Accept-Encoding": "identity"},
        )

    async def work(self) -> float:
        """Tell what is due; seconds until more may be."""
        rows = await claims.claim(self._pool, "telegram", _AT_ONCE, give_up_s=GIVE_UP_S)
        await asyncio.gather(*(self._tell(row) for row in rows))
        return 0.0 if len(rows) == _AT_ONCE else await claims.next_in_s(self._pool, "telegram", _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _tell(self, row: asyncpg.Record) -> None:
        if not row["wanted"]:
            await claims.unwanted(self._pool, "telegram", row)
            return
        try:
            await self._send(row)
        except TelegramError as error:
            await self._not_sent(row, error)
        except OpenError as error:
            await self._not_sent(row, TelegramError(error.code))
        else:
            if row["type"] == CODE:
                await self._pool.execute(_USED, row["tenant_id"], row["channel_id"])
            await claims.sent(self._pool, "telegram", row)
            self._detail["telegrams_sent"] = self._detail.get("telegrams_sent", 0) + 1

    async def _not_sent(self, row: asyncpg.Record, error: TelegramError) -> None:
        _log.warning("telegram_not_sent", message=str(row["id"]), reason=error.reason, attempt=row["attempts"])
        asked = row["type"] in {CODE, "channel.test"}
        delay = None if error.closed or asked else message_delay(row["attempts"], random.random())  # noqa: S311
        if error.wait_s and not asked:
            delay = max(delay or 0.0, min(error.wait_s, _LONGEST_WAIT_S))
        await claims.again(self._pool, "telegram", row, error.reason, delay)
        if not asked and (error.closed or row["long_failing"]):
            await claims.disable(self._pool, row, error.reason, _CLOSED_WORDS if error.closed else _DEAD)

    async def _send(self, row: asyncpg.Record) -> None:
        token = self._token()
        [chat, *_] = await open_all(self._pool, self._vault, row["tenant_id"], row["channel_id"], "chat")
        if row["type"] == CODE:
            [code, *_] = await open_all(self._pool, self._vault, row["tenant_id"], row["channel_id"], "code")
            text = code_text(code)
        else:
            text = chat_text(row["body"])
        message = {
            "chat_id": chat,
            "text": text,
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        answer = await self._call(f"{self._settings.telegram_api}/bot{token}/sendMessage", message)
        if answer.ok:
            return
        wait_s = answer.parameters.retry_after if answer.parameters else 0.0
        reason = _CLOSED.get(answer.error_code, f"telegram_{answer.error_code}")
        raise TelegramError(reason, closed=answer.error_code in _CLOSED, wait_s=wait_s)

    def _token(self) -> str:
        file = self._settings.telegram_bot_token_file
        try:
            token = file.read_text(encoding="ascii").strip() if file is not None else self._settings.telegram_bot_token
        except (OSError, UnicodeDecodeError):
            raise TelegramError("telegram_token_unreadable") from None
        if not token:
            raise TelegramError("telegram_not_set_up")
        return token

    async def _call(self, url: str, message: dict[str, Any]) -> _Answer:
        body = bytearray()
        try:
            async with asyncio.timeout(_WHOLE_S), self._client.stream("POST", url, json=message) as answer:
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise TelegramError("telegram_invalid")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError):
            raise TelegramError("telegram_unreachable") from None
        try:
            return msgspec.json.decode(bytes(body), type=_Answer)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise TelegramError("telegram_invalid") from None
