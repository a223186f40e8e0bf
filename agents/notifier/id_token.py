"""Is this ID token the provider's word about somebody who signs in here, now? (OpenID Connect Core 1.0, 3.1.3.7)"""

from __future__ import annotations

import hmac
import re
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.exceptions import InvalidKeyError, PyJWKError, PyJWTError

from agents.notifier.provider import Provider, ProviderError

#: Signatures that need a private key. With a symmetric one, whoever knows our public data could sign.
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
_LEEWAY_S = 60
_RSA_BITS = 2048
_SUBJECT = re.compile(r"[\x21-\x7e]{1,255}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f.]+")


class Claims(msgspec.Struct, frozen=True):
    """What a token that holds says of somebody."""

    subject: str
    email: str | None
    email_verified: bool
    name: str | None


async def claims_of(provider: Provider, token: str, nonce: str) -> Claims:
    """Check ``token`` against the provider's keys, asking for them anew where it names one that is not known.

    Raises :class:`ProviderError`: ``token_invalid`` for whatever is wrong with the token.
    """
    try:
        header = jwt.get_unverified_header(token)
    except PyJWTError:
        raise _invalid("it is not a JWT") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _invalid("it is not signed by an asymmetric key")
    key = _chosen(await provider.signing_keys(), kid, algorithm)
    if key is None:
        key = _chosen(await provider.signing_keys(fresh=True), kid, algorithm)
    if key is None:
        raise _invalid("it is signed by a key that the provider does not have")
    return _checked(provider, _decoded(provider, token, key, algorithm), nonce)


def _chosen(keys: list[dict[str, Any]], kid: object, algorithm: str) -> Any:
    """The key named ``kid``, or the only one that fits where the token names none; None where there is none."""
    fitting = []
    for data in keys:
        named = data.get("kid") == kid if kid is not None else True
        if not named or data.get("use", "sig") != "sig" or data.get("alg", algorithm) != algorithm:
            continue
        try:
            fitting.append(jwt.PyJWK(data, algorithm=algorithm).key)
        except (PyJWKError, InvalidKeyError, PyJWTError, ValueError, TypeError, KeyError):
            continue  # of another kind than the algorithm, or none at all
    good = [key for key in fitting if not isinstance(key, RSAPublicKey) or key.key_size >= _RSA_BITS]
    return good[0] if len(good) == 1 else None


def _decoded(provider: Provider, token: str, key: Any, algorithm: str) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=provider.client_id,
            issuer=provider.issuer,
            leeway=_LEEWAY_S,
            options={"require": ["iss", "sub", "aud", "exp", "iat"], "verify_iat": True},
        )
    except (PyJWTError, ValueError, TypeError) as error:
        raise _invalid(type(error).__name__) from None


def _checked(provider: Provider, payload: dict[str, Any], nonce: str) -> Claims:
    audience, party = payload["aud"], payload.get("azp")
    several = isinstance(audience, list) and len(audience) > 1
    if (several or party is not None) and party != provider.client_id:
        raise _invalid("it was made for another party")
    given = payload.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise _invalid("its nonce is not the one of this sign-in")
    subject, email, name = payload["sub"], payload.get("email"), payload.get("name")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise _invalid("its subject is not one")
    fit = isinstance(email, str) and len(email) <= 254 and _EMAIL.fullmatch(email) is not None
    return Claims(
        subject=subject,
        email=email if fit else None,
        # A text "true" is no promise: what is not plainly said is not said.
        email_verified=fit and payload.get("email_verified") is True,
        name=name[:200] if isinstance(name, str) and "\x00" not in name else None,
    )


def _invalid(why: str) -> ProviderError:
    return ProviderError("token_invalid", f"the ID token does not hold: {why}")
