"""Anything else that answers JSON over HTTP: which calls are made, and which values in their answers mean what.

A declaration, checked when a bot is registered, and never a program: GET calls, paths into their answers, constants.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal, Self

import msgspec

from control_plane.engines.family import Capability, EngineConfig, Family
from control_plane.engines.http_fields import AMOUNTS, CallName, HttpFields, Source
from control_plane.engines.json_path import PathError, parse
from control_plane.security.credentials import Credential, Text, Token, UserName

_CallPath = Annotated[
    str, msgspec.Meta(min_length=1, max_length=512, pattern=r"\A/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*\Z")
]
_Header = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")]

_MOST_CALLS: Final = 4
_MOST_WORDS: Final = 16
#: What an HTTP client says itself, and what would change how an answer is read.
_OWN_HEADERS: Final = frozenset({
    "accept", "accept-encoding", "connection", "content-length", "content-type", "cookie", "expect", "host",
    "keep-alive", "proxy-authorization", "proxy-connection", "range", "te", "trailer", "transfer-encoding", "upgrade",
    "user-agent",
})  # fmt: skip
# Whole words of a query parameter's name: `api_key` and `accessToken`, and not `signals` or `monkey`.
_SECRET_NAME = re.compile(
    r"(?:\A|[^a-z])(?:api|access|secret|private|auth|session)?[_-]?"
    r"(?:key|token|secret|pass(?:word|wd|phrase)?|sig(?:n|nature)?|auth|session)(?:\Z|[^a-z])",
    re.IGNORECASE,
)
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)

AuthKind = Literal["none", "basic", "bearer", "header"]


class HttpCredential(Credential, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What goes with the `auth` of the configuration: nothing, a user name and password, or a token."""

    username: UserName | None = None
    password: Text | None = None
    token: Token | None = None

    hints: ClassVar[Mapping[str, str]] = {
        "username": "1 to 128 characters without a colon or control characters",
        "password": "1 to 256 characters without control characters",
        "token": "1 to 4096 visible ASCII characters without spaces",
    }

    @property
    def last4(self) -> str | None:
        return self.token[-4:] if self.token is not None and len(self.token) >= 16 else None

    @property
    def secret(self) -> str:
        return self.token or self.password or ""


#: The one of docs/engines.md.
_EXAMPLE: Final = r"""{
  "auth": "header",
  "header": "X-Api-Key",
  "calls": {"strategy": "/api/strategy", "account": "/api/account?currency=USDT"},
  "fields": {
    "trading_state": {"path": "status.active", "words": {"true": "running", "false": "stopped"}},
    "last_loop_at": {"path": "status.heartbeat", "unit": "ms"},
    "simulated": {"path": "status.mode", "words": {"paper": true, "live": false}},
    "currency": {"value": "USDT"},
    "equity": {"call": "account", "path": "balances[0].total"},
    "realized_profit": {"call": "account", "path": "profit[\"closed.cents\"]", "scale": "0.01"},
    "win_rate": {"path": "stats.win_percent", "scale": "0.01"},
    "open_positions": {"call": "account", "path": "positions#"}
  }
}
"""


class HttpConfig(EngineConfig, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The declaration of one bot."""

    calls: dict[CallName, _CallPath]
    """GET calls under the bot's address, by names of your own."""
    fields: HttpFields
    first: CallName | None = None
    """The call that comes first: its time is the latency, and a short look makes it and those of the state. Left out:
    the first in `calls` as they are sent."""
    auth: AuthKind = "none"
    header: _Header | None = None
    """With `auth` `header`: the name of the header that carries the token as it is."""

    hints: ClassVar[Mapping[str, str]] = {
        "calls": '1 to 4 paths, each with a slash before it, by names in lower case, such as {"state": "/api/state"}',
        "fields": 'our fields, each with a path, such as {"equity": {"path": "account.total"}}',
        "first": "the name of the call that comes first; the first of calls if left out",
        "auth": "none, basic, bearer or header",
        "header": "the name of a header, such as X-Api-Key",
    }
    purposes: ClassVar[Mapping[str, str]] = {
        "calls": "GET calls under the bot's address, by names of your own",
        "fields": (
            "where each stands: a path into the answer of a call (that of first if call is left out), with members by"
            " name, elements by index as [0], and # at the end counts; or a constant value; scale is what a number is"
            " multiplied by, words what the bot's own words mean, unit how it writes times (text, s or ms)"
        ),
        "first": "its time is the latency, and a short look makes it and those of the state",
        "auth": "how the bot is told who calls",
        "header": "with auth header: the one that carries the token as it is",
    }
    example: ClassVar[str] = _EXAMPLE

    @property
    def part(self) -> str:
        # One answer may tell of many bots: what is taken from it is part of which one this is.
        asked = msgspec.json.encode((self.calls, self.fields), order="sorted")
        return hashlib.sha256(asked).hexdigest()[:32]

    @property
    def credential_kind(self) -> str:
        return self.auth

    @property
    def mapped(self) -> dict[str, Source]:
        """The fields that are declared."""
        named = {name: getattr(self.fields, name) for name in HttpFields.__struct_fields__}
        return {name: field for name, field in named.items() if field is not None}

    @property
    def leading(self) -> str:
        """The name of the call that comes first. Of a declaration that was kept without it that is a matter of luck."""
        return self.first or next(iter(self.calls))

    @property
    def explicit(self) -> Self:
        if len(self.calls) == 1:
            return self
        fields = {
            name: msgspec.structs.replace(field, call=field.call or self.leading)
            for name, field in self.mapped.items()
            if field.path is not None
        }
        return msgspec.structs.replace(self, first=self.leading, fields=msgspec.structs.replace(self.fields, **fields))

    def problem(self) -> tuple[str, str] | None:
        return _problem_of_calls(self) or _problem_of_auth(self) or _problem_of_fields(self)

    def misfit(self, credential: Credential) -> tuple[str, str] | None:
        if not isinstance(credential, HttpCredential):
            return None
        wanted = {"none": (), "basic": ("username", "password")}.get(self.auth, ("token",))
        for name in HttpCredential.__struct_fields__:
            given = getattr(credential, name) is not None
            if given and name not in wanted:
                return name, f"does not go with auth {self.auth}: {' and '.join(wanted) or 'nothing'} does"
            if not given and name in wanted:
                return name, f"is missing: auth {self.auth} needs it"
        return None


def _problem_of_calls(config: HttpConfig) -> tuple[str, str] | None:
    if not 1 <= len(config.calls) <= _MOST_CALLS:
        return "calls", f"must hold 1 to {_MOST_CALLS} calls"
    for name, path in config.calls.items():
        route, _, query = path.partition("?")
        if any(_DOTS.fullmatch(segment) for segment in route.split("/")):
            return f"calls.{name}", "must be a plain path, without . or .."
        for pair in query.split("&"):
            if _SECRET_NAME.search(pair.partition("=")[0]):
                return f"calls.{name}", (
                    "looks as if it carries a secret, and a configuration is shown to all who see the bot: give it as"
                    " credentials, with auth bearer or header"
                )
    if config.first is not None and config.first not in config.calls:
        return "first", f"is not among calls: {', '.join(config.calls)}"
    return None


def _problem_of_auth(config: HttpConfig) -> tuple[str, str] | None:
    if config.auth == "header" and config.header is None:
        return "header", "is missing: auth header needs the name of the header, such as X-Api-Key"
    if config.auth != "header" and config.header is not None:
        return "header", "is for auth header only"
    if config.header is not None and config.header.lower() in _OWN_HEADERS:
        return "header", "is one that an HTTP client sets itself: give the one that your bot reads its token from"
    return None


def _problem_of_fields(config: HttpConfig) -> tuple[str, str] | None:
    mapped = config.mapped
    if not mapped:
        return "fields", 'must name at least one, such as {"equity": {"path": "account.total"}}'
    for name, field in mapped.items():
        if problem := _problem_of_source(config, field):
            return f"fields.{name}{problem[0]}", problem[1]
    if "currency" not in mapped and (named := [name for name in AMOUNTS if name in mapped]):
        return "fields.currency", f'is missing: {named[0]} is an amount; give a path, or a value such as "USDT"'
    return None


def _problem_of_source(config: HttpConfig, field: Source) -> tuple[str, str] | None:
    value, words = getattr(field, "value", None), getattr(field, "words", None)
    if value is not None and (field.path is not None or field.call is not None):
        return "", "has a value and a path: give one of them"
    if value is None and field.path is None:
        return ".path", "is missing: say where in the answer it stands, such as account.total"
    if isinstance(value, Decimal) and not (value.is_finite() and abs(value.adjusted()) < 16):
        return ".value", "must be an amount, with at most sixteen digits before the point"
    scale = getattr(field, "scale", None)
    if scale is not None and not (scale.is_finite() and scale > 0 and abs(scale.adjusted()) <= 12):
        return ".scale", "must be a number above zero, from 1e-12 to 1e12, such as 0.01"
    if field.call is not None and field.call not in config.calls:
        return ".call", f"is not among calls: {', '.join(config.calls)}"
    if words is not None and len(words) > _MOST_WORDS:
        return ".words", f"must hold at most {_MOST_WORDS} words"
    try:
        parse(field.path or "x")
    except PathError as error:
        return ".path", str(error)
    return None


FAMILY: Final = Family(
    name="http",
    title="Any JSON API",
    about="A bot of any make: you say which calls to make and where in their answers each figure stands.",
    credential=HttpCredential,
    config=HttpConfig,
    capabilities=frozenset(
        {
            Capability.TRADING_STATE,
            Capability.LOOP_AGE,
            Capability.EQUITY,
            Capability.PERFORMANCE,
            Capability.POSITIONS,
        }
    ),
    provenance={
        "loop_age_s"
        if name == "last_loop_at"
        else name: "Where your configuration says; unknown where it says nothing."
        for name in HttpFields.__struct_fields__
    }
    | {"latency_ms": "The time of the first call."},
)
