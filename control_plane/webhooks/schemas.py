"""Bodies of webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from control_plane.identity.schemas import Name

LONGEST_OVERLAP_S: Final = 7 * 24 * 3600
DEFAULT_OVERLAP_S: Final = 24 * 3600

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """An address that signed messages are posted to: https, without a query.

    With ``quiet`` it keeps the tenant's quiet hours; a program seldom needs them, so they are off.
    """

    url: Url
    name: Name | None = None
    quiet: bool = False


class PatchWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change of a webhook; fields left out are kept. ``enabled: true`` also brings back one that was given
    up."""

    url: Url | None = None
    name: Name | None = None
    enabled: bool | None = None
    quiet: bool | None = None


class RotateSecret(msgspec.Struct, forbid_unknown_fields=True):
    """For how many seconds messages carry signatures by both secrets: a day unless told otherwise, 0 ends the old one
    at once."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_OVERLAP_S)] = DEFAULT_OVERLAP_S


class SecretView(msgspec.Struct, frozen=True):
    """That there is a signing secret, and since when; until when the one before it signs as well."""

    set: bool
    updated_at: datetime | None
    previous_until: datetime | None


class WebhookView(msgspec.Struct, frozen=True):
    """A webhook. ``signing_secret`` is there once, in the answer that makes it, and null ever after.

    ``failing_since`` tells since when nothing has got through. One that fails for three days, or answers 410 Gone, is
    given up: ``disabled_at`` and ``disabled_reason`` (``failing``, ``gone``) say so.
    """

    id: UUID
    name: str
    url: str
    enabled: bool
    quiet: bool
    secret: SecretView
    signing_secret: str | None
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime


class DeliveryView(msgspec.Struct, frozen=True):
    """One try. ``message_id`` is the ``webhook-id`` that was sent, the same for each try of one message.

    ``outcome``: ``delivered``, ``again`` (it is tried once more later) or ``failed`` (given up). ``error`` is a stable
    word: ``http_500`` and the like, ``timeout``, ``unreachable``, ``redirected``, ``egress_refused``, ….
    """

    id: UUID
    message_id: UUID
    type: str
    attempt: int
    outcome: str
    status_code: int | None
    latency_ms: float | None
    error: str | None
    created_at: datetime


class TestView(msgspec.Struct, frozen=True):
    """A test that is on its way. What became of it is in the channel's log under this message."""

    message_id: UUID
    status: str
