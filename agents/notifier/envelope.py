"""From a letter to what is sent. Pure; nothing that a letter holds can become a header of its own."""

from __future__ import annotations

import re
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from uuid import UUID

import msgspec

from control_plane.mail.letters import Letter
from control_plane.mail.relay import sender_of

_LONGEST_SUBJECT = 200
_LOCAL = re.compile(r"(?!\.)(?:[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]|[^\x00-\x7f]|\.(?![.]|$)){1,64}")
_DOMAIN = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]|\.(?=[a-zA-Z0-9])){0,252}")


class BadRecipientError(ValueError):
    """An address that no mail can be sent to. The message does not repeat it."""

    code = "bad_recipient"


class Envelope(msgspec.Struct, frozen=True):
    """A mail with who it is from and to, as the relay is told."""

    mail_id: UUID
    sender: str
    recipient: str
    message: EmailMessage

    def __repr__(self) -> str:
        return f"Envelope(mail_id={self.mail_id})"


def envelope_for(letter: Letter, *, mail_id: UUID, at: datetime, mail_from: str) -> Envelope:
    """The same letter makes the same mail each time: its Message-ID lets a mailbox drop a second copy.

    Raises :class:`BadRecipientError`.
    """
    sender, recipient = sender_of(mail_from), _recipient(letter.to)
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = _one_line(letter.subject)[:_LONGEST_SUBJECT]
    message["Date"] = at
    message["Message-ID"] = f"<{mail_id}@{_ascii_domain(sender.domain)}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_printable(letter.body))
    return Envelope(mail_id=mail_id, sender=sender.addr_spec, recipient=recipient.addr_spec, message=message)


def _recipient(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    try:
        ascii_domain = _ascii_domain(domain)
    except UnicodeError:
        ascii_domain = ""
    # No quoted names and no address literals: nobody has them, and they are how headers are confused.
    if not _LOCAL.fullmatch(local) or not local.isprintable() or not _DOMAIN.fullmatch(ascii_domain):
        raise BadRecipientError("the recipient is no e-mail address that mail can be sent to")
    return Address(username=local, domain=ascii_domain)


def _ascii_domain(domain: str) -> str:
    return domain if domain.isascii() else domain.encode("idna").decode("ascii")


def _one_line(text: str) -> str:
    return " ".join(_printable(text).split())


def _printable(text: str) -> str:
    """``text`` without control characters, odd line breaks and lone surrogates, which no mail carries unchanged."""
    return "".join(character for character in text if character in "\n\t" or character.isprintable())
