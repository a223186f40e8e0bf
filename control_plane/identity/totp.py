"""Time-based one-time passwords (RFC 6238): SHA-1, six digits, 30 seconds, one step of clock drift either way.

Pure functions; what is stored and spent is in ``factors.py``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import re
import secrets
from typing import Final
from urllib.parse import quote, urlencode

import segno

STEP_S: Final = 30
DIGITS: Final = 6
SEED_BYTES: Final = 20
RECOVERY_CODES: Final = 10
_DRIFT = 1
_TOTP = re.compile(r"[0-9]{6}")
_RECOVERY = re.compile(r"[a-z2-7]{16}")


def new_seed() -> bytes:
    """160 random bits, as long as SHA-1's digest (RFC 4226, section 4, requirement 6)."""
    return secrets.token_bytes(SEED_BYTES)


def hotp(seed: bytes, counter: int, digits: int = DIGITS) -> str:
    """The code of ``counter`` (RFC 4226, section 5.3)."""
    digest = hmac.new(seed, counter.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**digits).zfill(digits)


def step_at(unix_time: float) -> int:
    """The number of the 30-second step that ``unix_time`` falls in."""
    return int(unix_time) // STEP_S


def matching_step(seed: bytes, code: str, unix_time: float) -> int | None:
    """The step whose code this is: the present one or a neighbour. Every candidate is compared, whichever matches."""
    found = None
    for step in range(step_at(unix_time) + _DRIFT, step_at(unix_time) - _DRIFT - 1, -1):
        if step >= 0 and hmac.compare_digest(hotp(seed, step).encode(), code.encode()):
            found = step
    return found


def shown_seed(seed: bytes) -> str:
    """The seed in base32, for typing."""
    return base64.b32encode(seed).decode().rstrip("=")


def otpauth_uri(seed: bytes, account: str, issuer: str = "TradeWise") -> str:
    """What authenticator programs read from a QR code."""
    query = urlencode({"secret": shown_seed(seed), "issuer": issuer, "algorithm": "SHA1", "digits": 6, "period": 30})
    return f"otpauth://totp/{quote(issuer, safe='')}:{quote(account, safe='@')}?{query}"


def qr_svg(uri: str) -> str:
    """``uri`` as a QR code: one `svg` element without a size of its own, script or style, for a page to hold."""
    out = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(
        out, kind="svg", xmldecl=False, svgns=True, omitsize=True, border=4, light="#fff", svgclass=None, lineclass=None
    )
    return out.getvalue().decode()


def new_recovery_codes() -> list[str]:
    """Ten codes of 80 random bits each, in groups of four."""
    return [_grouped(base64.b32encode(secrets.token_bytes(10)).decode().lower()) for _ in range(RECOVERY_CODES)]


def _grouped(text: str) -> str:
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def totp_form(code: str) -> str | None:
    """The six digits of a code as people type it, or None where it is none."""
    plain = re.sub(r"[\s-]", "", code)
    return plain if _TOTP.fullmatch(plain) else None


def recovery_form(code: str) -> str | None:
    """A recovery code without its groups, or None where it is none."""
    plain = re.sub(r"[\s-]", "", code).lower()
    return plain if _RECOVERY.fullmatch(plain) else None


def recovery_digest(user_id: bytes, plain: str) -> bytes:
    """What is kept of a recovery code. It has 80 random bits, so a plain SHA-256 is enough."""
    return hashlib.sha256(b"tradewise-recovery" + user_id + plain.encode()).digest()
