"""Who takes a mail away: a relay by SMTP, or a folder on this machine where there is none."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Protocol

import aiosmtplib

from agents.notifier.envelope import Envelope
from control_plane.mail.relay import SmtpRelay
from control_plane.private_files import create_private_file
from control_plane.settings import Settings

#: One answer of a relay, and the whole of one mail.
_ANSWER_S = 20.0
_MAIL_S = 60.0


class CarryError(RuntimeError):
    """A mail that did not go. ``reason`` is short, stable, and repeats nothing of the mail nor of the relay's words."""

    code = "mail_not_sent"

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class Carrier(Protocol):
    """Takes one mail away. Raises :class:`CarryError`."""

    async def carry(self, envelope: Envelope) -> None:
        """Return once somebody else answers for the mail."""
        ...


class SmtpCarrier:
    """One connection a mail: there are few, and a relay that hangs holds up one of them."""

    def __init__(self, relay: SmtpRelay, *, answer_s: float = _ANSWER_S, mail_s: float = _MAIL_S) -> None:
        self._relay = relay
        self._answer_s, self._mail_s = answer_s, mail_s

    async def carry(self, envelope: Envelope) -> None:
        """Hand the mail to the relay. Refused for good is a recipient or a mail, never our login or our own address."""
        client = self._client()
        try:
            async with asyncio.timeout(self._mail_s):
                await client.connect()
                await client.send_message(envelope.message, sender=envelope.sender, recipients=[envelope.recipient])
        except aiosmtplib.SMTPRecipientsRefused as error:
            worst = max((refused.code for refused in error.recipients), default=0)
            raise CarryError(f"recipient_refused_{worst}", permanent=worst >= 500) from None
        except aiosmtplib.SMTPDataError as error:
            raise CarryError(f"mail_refused_{error.code}", permanent=error.code >= 500) from None
        except aiosmtplib.SMTPAuthenticationError as error:
            raise CarryError(f"relay_login_refused_{error.code}") from None
        except aiosmtplib.SMTPResponseException as error:
            raise CarryError(f"relay_refused_{error.code}") from None
        except TimeoutError:
            raise CarryError("relay_timeout") from None
        except ssl.SSLError:
            raise CarryError("relay_tls_failed") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise CarryError(f"relay_unreachable_{type(error).__name__}") from None
        finally:
            # Not QUIT: the mail is the relay's once it has answered, and a relay that is slow to say goodbye would make
            # us send it again.
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        relay = self._relay
        return aiosmtplib.SMTP(
            hostname=relay.host,
            port=relay.port,
            username=relay.username,
            password=relay.password,
            timeout=self._answer_s,
            use_tls=relay.implicit_tls,
            # Insisted on, or the password and the codes would be for everybody on the way to read.
            start_tls=False if relay.implicit_tls else None if relay.is_local else True,
            validate_certs=not relay.is_local,
            local_hostname="localhost",
        )


class FolderCarrier:
    """Each mail becomes a file of mode 0600 in a folder of mode 0700: for one machine, for trying and for tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def carry(self, envelope: Envelope) -> None:
        """Write the file whole, under the mail's own id."""
        await asyncio.to_thread(self._write, envelope)

    def _write(self, envelope: Envelope) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            half = self._folder / f".{envelope.mail_id}.half"
            half.unlink(missing_ok=True)
            create_private_file(half, envelope.message.as_bytes())
            half.replace(self._folder / f"{envelope.mail_id}.eml")
        except OSError as error:
            raise CarryError(f"folder_{type(error).__name__}") from None


def carrier_for(settings: Settings) -> Carrier:
    """The relay of the settings, or a folder where there is none."""
    if settings.smtp_url is not None:
        return SmtpCarrier(settings.smtp_url)
    return FolderCarrier(settings.effective_mail_dir)
