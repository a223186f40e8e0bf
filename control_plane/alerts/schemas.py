"""Bodies of alerts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.alerts.kinds import ChannelKind, Kind, Severity
from control_plane.amounts import Figures
from control_plane.identity.schemas import Name

LONGEST_DELAY_S: Final = 24 * 3600
SHORTEST_REMINDER_S: Final = 900
LONGEST_REMINDER_S: Final = 7 * 86_400

ChatId = Annotated[str, msgspec.Meta(pattern=r"^(-?[0-9]{1,20}|@[A-Za-z0-9_]{5,32})$")]
Delay = Annotated[int, msgspec.Meta(ge=0, le=LONGEST_DELAY_S)]
Reminder = Annotated[int, msgspec.Meta(ge=SHORTEST_REMINDER_S, le=LONGEST_REMINDER_S)]
ChannelIds = Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=50)]
Clock = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class NewChannel(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to tell. ``email``: a member's verified address (``user_id``, the caller's own where it is left out).
    ``telegram``: a chat, which is sent a code first. Webhooks are made by ``POST /webhooks``.

    With ``quiet`` it keeps the tenant's quiet hours.
    """

    kind: ChannelKind
    name: Name | None = None
    user_id: UUID | None = None
    chat_id: ChatId | None = None
    quiet: bool = True


class PatchChannel(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change of a channel; ``enabled: true`` also brings back one that was given up."""

    name: Name | None = None
    enabled: bool | None = None
    quiet: bool | None = None


class Confirmation(msgspec.Struct, forbid_unknown_fields=True):
    """The code that was sent to the chat."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]


class ChannelView(msgspec.Struct, frozen=True):
    """A way to tell somebody. ``target`` is the URL, the address, or the end of the chat's number.

    Nothing but a code goes to one that is not ``verified``. ``disabled_at`` and ``disabled_reason`` tell when and why
    it was given up: nothing had got through for three days, or the other side closed it. ``code_error`` tells why a
    chat was not sent its code: then remove the channel, mend that, and add it again.
    """

    id: UUID
    kind: str
    name: str
    target: str | None
    user_id: UUID | None
    enabled: bool
    quiet: bool
    verified: bool
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    code_error: str | None
    created_at: datetime
    updated_at: datetime


class MessageView(msgspec.Struct, frozen=True):
    """A message for a channel. ``state``: ``pending``, ``held`` (until ``release_at``, when quiet hours end),
    ``summarised`` (told as a part of a summary), ``sent`` or ``failed``, with the newest ``error`` as a stable word."""

    id: UUID
    incident_id: UUID | None
    type: str
    state: str
    attempts: int
    error: str | None
    release_at: datetime | None
    settled_at: datetime | None
    created_at: datetime


class NewRule(msgspec.Struct, forbid_unknown_fields=True):
    """How a kind of trouble is told: of one bot with ``bot_id``, else of all bots that have no rule of their own.

    What is left out is as by default. ``limit_percent`` is for ``drawdown`` alone, 1 to 100: how far the bot's own
    index may fall from its highest value. ``channel_ids`` names the only channels that are told; null is all of them.
    """

    kind: Kind
    bot_id: UUID | None = None
    enabled: bool = True
    delay_seconds: Delay | UnsetType = UNSET
    limit_percent: Decimal | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET
    channel_ids: ChannelIds | None = None
    tell_recovery: bool = True


class PatchRule(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change of a rule; fields left out are kept."""

    enabled: bool | UnsetType = UNSET
    delay_seconds: Delay | UnsetType = UNSET
    limit_percent: Decimal | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET
    channel_ids: ChannelIds | UnsetType | None = UNSET
    tell_recovery: bool | UnsetType = UNSET


class RuleView(Figures, frozen=True):
    """A rule. ``is_default`` tells that nobody has changed it: it cannot be deleted, but changed and switched off."""

    id: UUID
    kind: str
    bot_id: UUID | None
    enabled: bool
    delay_seconds: int
    limit_percent: Decimal | None
    severity: str
    channel_ids: list[UUID] | None
    tell_recovery: bool
    is_default: bool


class QuietHours(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """From ``start`` until ``end`` by the clocks of ``time_zone`` (a name such as ``Europe/Berlin``), every day."""

    start: Clock
    end: Clock
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "UTC"


class PatchSettings(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change; null ``quiet_hours`` or ``remind_after_seconds`` ends them."""

    quiet_hours: QuietHours | UnsetType | None = UNSET
    critical_breaks_quiet: bool | UnsetType = UNSET
    remind_after_seconds: Reminder | UnsetType | None = UNSET


class SettingsView(msgspec.Struct, frozen=True):
    """When people are left in peace. What happens meanwhile is told as one summary afterwards, unless it is critical
    and ``critical_breaks_quiet``. ``quiet_until`` is there while it is quiet. Reminders are off where it is null."""

    quiet_hours: QuietHours | None
    quiet_until: datetime | None
    critical_breaks_quiet: bool
    remind_after_seconds: int | None


class IncidentView(msgspec.Struct, frozen=True):
    """One cause of trouble. ``since`` is when it began, ``opened_at`` when it was told.

    ``scope`` tells what its bots have in common: one ``bot``, a ``host``, the container ``engine``, the ``platform``
    itself, or ``many`` that failed at once. ``bot_ids`` are those that are still in it, ``bots_met`` how many
    ever were. Of what is over, ``bots_over`` and ``bot_names`` are those that came back, or where none did, those that
    nobody watches any more; others of them may have failed again since.
    """

    id: UUID
    kind: str
    scope: str
    severity: str
    state: Literal["open", "closed"]
    title: str
    text: str | None
    reason: str | None
    bot_id: UUID | None
    bot_ids: list[UUID]
    bot_names: list[str]
    bots_met: int
    bots_over: int | None
    since: datetime
    opened_at: datetime
    closed_at: datetime | None
    resolution: str | None
    flaps: int


def given(patch: msgspec.Struct) -> dict[str, Any]:
    """The fields of a patch that were sent."""
    return {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}
