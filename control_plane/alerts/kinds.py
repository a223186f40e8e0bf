"""What can be told, and what holds where a tenant has said nothing. Pure; the API and the notifier share it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, get_args
from uuid import UUID, uuid5

import msgspec

Kind = Literal["bot_down", "credential_expired", "trading_stopped", "drawdown", "not_watched"]
Severity = Literal["critical", "warning"]
ChannelKind = Literal["webhook", "email", "telegram"]
Scope = Literal["bot", "host", "many", "engine", "platform"]
MessageState = Literal["pending", "held", "sent", "failed", "summarised"]
Resolution = Literal["back", "withdrawn"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
CHANNEL_KINDS: Final[tuple[ChannelKind, ...]] = get_args(ChannelKind)
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MESSAGE_STATES: Final[tuple[MessageState, ...]] = get_args(MessageState)
RESOLUTIONS: Final[tuple[Resolution, ...]] = get_args(Resolution)
SECRET_KINDS: Final = ("signing", "chat", "code")
DELIVERY_OUTCOMES: Final = ("delivered", "again", "failed")

#: Types of messages, as the payload of a webhook names them.
OPENED: Final = "incident.opened"
REOPENED: Final = "incident.reopened"
RESOLVED: Final = "incident.resolved"
REMINDER: Final = "incident.reminder"
SUMMARY: Final = "incidents.summary"
TEST: Final = "channel.test"
CODE: Final = "channel.code"
DISABLED: Final = "channel.disabled"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Whether and how one kind of trouble is told, for one bot or, with ``bot_id`` None, for all that have none of
    their own."""

    id: UUID
    kind: Kind
    bot_id: UUID | None = None
    enabled: bool = True
    #: Seconds that the trouble must last before it is told.
    delay_s: int = 0
    #: Only of ``drawdown``: the fall from the highest value of the bot's own index, in percent.
    limit_percent: Decimal | None = None
    severity: Severity = "critical"
    #: The only channels that are told; None for every channel of the tenant.
    channel_ids: tuple[UUID, ...] | None = None
    tell_recovery: bool = True


def default_rule(tenant_id: UUID, kind: Kind) -> Rule:
    """The rule of ``kind`` for all bots of a tenant that has none of its own. Its id is always the same."""
    delay, limit, severity = _DEFAULTS[kind]
    return Rule(id=uuid5(tenant_id, kind), kind=kind, delay_s=delay, limit_percent=limit, severity=severity)


_DEFAULTS: Final[dict[Kind, tuple[int, Decimal | None, Severity]]] = {
    "bot_down": (60, None, "critical"),
    "credential_expired": (0, None, "critical"),
    "trading_stopped": (60, None, "warning"),
    "drawdown": (0, Decimal(20), "critical"),
    "not_watched": (300, None, "warning"),
}


def rules_in_force(tenant_id: UUID, stored: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """What a tenant has written, and the defaults of what it has not: one rule for all bots of each kind."""
    general = {rule.kind for rule in stored if rule.bot_id is None}
    return (*stored, *(default_rule(tenant_id, kind) for kind in KINDS if kind not in general))


def rule_for(rules: tuple[Rule, ...], kind: Kind, bot_id: UUID) -> Rule:
    """The rule that holds for a bot: its own, else the one for all."""
    [general] = [rule for rule in rules if rule.kind == kind and rule.bot_id is None]
    return next((rule for rule in rules if rule.kind == kind and rule.bot_id == bot_id), general)
