"""What a bot gets at its start, secrets included; and what of it must never come back in its output.

The document of our own bot is here, those of other families in modules of their own (`families.py` knows them all).

Opened values live in local variables of one launch or one look at a crash, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from agents.audit import note_not_opened
from agents.launcher import queries
from agents.launcher.queries import Work
from agents.launcher.redaction import Redactor
from agents.launcher.runtimes.base import BOT_PORT, DATA_DIR
from agents.secrets import NotOpenedError, open_bot_secret, open_template_config
from control_plane.bots.freqtrade_config import plain_words
from control_plane.bots.layers import merged
from control_plane.security.credentials import Credential, CredentialError, TradewiseCredential, decode_credentials
from control_plane.security.vault import OpenError, Vault

_SHORTEST_LINE = 12
_LONGEST_LINE = 1000
_PAPER_CAPITAL = {"capital": "10000"}


class SecretUnreadable(Exception):  # noqa: N818 - a state of this bot's rows
    """A bot's credentials or configuration are missing or do not open. The message tells nothing of their values."""

    code = "secret_unreadable"


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """Everything for one bot in clear. Never stored, logged or shown."""

    credential: Credential
    #: What the template itself says: strategy and currency.
    template: Mapping[str, Any]
    parameters: Mapping[str, Any]
    template_config: Mapping[str, Any]
    own_config: Mapping[str, Any]
    #: Texts of the private configurations that are no secret all the same.
    plain_words: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return "Opened(…)"


async def open_all(pool: asyncpg.Pool, vault: Vault, work: Work) -> Opened:
    """Open what ``work``'s bot may know. Raises :class:`SecretUnreadable` with the remedy."""
    bot = work.bot
    try:
        credentials = await open_bot_secret(pool, vault, bot.tenant_id, bot.id, "credentials")
        if credentials is None:
            raise SecretUnreadable("This bot has no credentials yet. Enter a token for it, then start it again.")
        credential = decode_credentials(work.engine, credentials.reveal())
        said: dict[str, Any] = {}
        parameters: dict[str, Any] = {}
        private: dict[str, Any] = {}
        if work.template_tenant_id is not None and work.template_version_id is not None:
            place = (work.template_tenant_id, work.template_version_id)
            said, parameters = await queries.template_of(pool, *place)
            private = _mapping((await open_template_config(pool, vault, *place)).reveal())
        config = await open_bot_secret(pool, vault, bot.tenant_id, bot.id, "config")
        own = _mapping(config.reveal()) if config is not None else {}
    except OpenError as error:
        if isinstance(error, NotOpenedError):
            await note_not_opened(pool, error, bot_id=bot.id, generation=bot.generation)
        raise SecretUnreadable(f"A stored secret of this bot cannot be opened: {error}. Enter it again.") from None
    except (CredentialError, msgspec.MsgspecError, UnicodeDecodeError):
        raise SecretUnreadable(
            "A stored secret of this bot is not in the form that bots take. Enter it again."
        ) from None
    return Opened(
        credential=credential,
        template=said,
        parameters=parameters,
        template_config=private,
        own_config=own,
        plain_words=_plain_words(work.engine, private, own),
    )


def document(bot_id: UUID, opened: Opened, cash_flows: Iterable[Mapping[str, str]]) -> bytes:
    """The hand-over document of our own bot on one line.

    What is private wins over what is public, a bot's own over its template's. A bot without deposits of a subscriber
    trades paper capital, ten thousand where nobody says otherwise. Raises SecretUnreadable where the credentials are
    another family's.
    """
    if not isinstance(opened.credential, TradewiseCredential):
        raise SecretUnreadable("A hosted bot takes a token. Enter one, then start it again.")
    config = merged(_PAPER_CAPITAL, opened.template, opened.parameters, opened.template_config, opened.own_config)
    return (
        msgspec.json.encode(
            {
                "bot_id": str(bot_id),
                "token": opened.credential.token,
                # Inside the container, where the published port decides who reaches it.
                "listen": {"host": "0.0.0.0", "port": BOT_PORT},  # noqa: S104
                "data_dir": DATA_DIR,
                "cash_flows": list(cash_flows),
                "config": config,
            }
        )
        + b"\n"
    )


def redacted(lines: Iterable[str], opened: Opened | None) -> tuple[str, ...]:
    """``lines`` without the token and without any text of the private configurations; nothing where those are unknown.

    A template's configuration is its creator's secret, and these lines are for the subscriber to read.
    """
    if opened is None:
        return ()
    redactor: Redactor[None] = Redactor(secrets_of(opened))
    clean = redactor.feed(("", line, False, None) for line in lines) + redactor.flush()
    # Cut after, so that no half of a secret is left at an end.
    return tuple(line[:_LONGEST_LINE] for line, _ in clean)


def secrets_of(opened: Opened) -> set[str]:
    """Every text that must not come back in the bot's output: its token, and what is private and nowhere public.

    Of a text of several lines, such as a program, each longer line counts: an error shows just one.
    """
    public = {*_texts(opened.template), *_texts(opened.parameters), *opened.plain_words}
    private = {*_texts(opened.template_config), *_texts(opened.own_config)} - public
    lines = {line.strip() for text in private if "\n" in text for line in text.splitlines()}
    return {opened.credential.secret, *private, *(line for line in lines if len(line) >= _SHORTEST_LINE)}


def _plain_words(engine: str, template_config: Mapping[str, Any], own_config: Mapping[str, Any]) -> frozenset[str]:
    if engine != "freqtrade":
        return frozenset()
    return frozenset(plain_words(template_config, own=False) | plain_words(own_config, own=True))


def _mapping(raw: bytes) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])


def _texts(value: Any) -> Iterable[str]:
    """Every text inside a configuration, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
