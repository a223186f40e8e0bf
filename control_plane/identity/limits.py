"""Every limit of signing up and in, as data. How they are counted is in control_plane/security/limits.py.

Generous where somebody does what they may do, strict where something fails. An account is counted by the address that
was typed, whether or not anybody has it; a network is an IPv4 address or a /64 of IPv6.
"""

from __future__ import annotations

import unicodedata
from typing import Final

import msgspec

from control_plane.security.limits import Rule

SIGN_UPS_OF_NETWORK: Final = Rule("sign_up.network", each_s=6, burst=1000)
SIGN_UPS_OF_ACCOUNT: Final = Rule("sign_up.account", each_s=60, burst=100)
#: Mails that say "somebody tried to sign up with your address". Beyond it the answer is the same and no mail is sent.
NOTICES_OF_ACCOUNT: Final = Rule("sign_up.notice", each_s=600, burst=5)

#: Wrong passwords from one network, whoever's: somebody tries few passwords on many accounts.
FAILURES_OF_NETWORK: Final = Rule("sign_in.network", each_s=5, burst=200)
#: Wrong passwords for one account from everywhere. Loose, so that strangers cannot lock a person out for long.
FAILURES_OF_ACCOUNT: Final = Rule("sign_in.account", each_s=36, burst=100)

#: Mails with a code.
CODES_OF_ACCOUNT: Final = Rule("code.account", each_s=300, burst=10)
CODES_OF_NETWORK: Final = Rule("code.network", each_s=6, burst=300)
#: Codes that are tried. A code itself dies after `CODE_TRIES` wrong ones.
TRIES_OF_ACCOUNT: Final = Rule("code_try.account", each_s=60, burst=20)
TRIES_OF_NETWORK: Final = Rule("code_try.network", each_s=5, burst=300)
CODE_TRIES: Final = 5

VERIFY_WITHIN_S: Final = 24 * 3600
RESET_WITHIN_S: Final = 3600


class Lockout(msgspec.Struct, frozen=True):
    """Wrong passwords in a row for one account from one network.

    After ``free`` of them the account is locked for that network for 1 s, and twice as long after each further one, up
    to ``longest_s``. The right password forgives all; so does a day without an attempt.
    """

    free: int
    longest_s: float


LOCKOUT: Final = Lockout(free=5, longest_s=900)


def account_of(email: str) -> str:
    """What counts as one account. At least as coarse as the database's idea of a known address.

    Without marks and without case: no spelling that finds the same person has an allowance of its own.
    """
    plain = unicodedata.normalize("NFKD", email)
    return "".join(character for character in plain if not unicodedata.combining(character)).casefold()
