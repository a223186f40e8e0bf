"""What messages say: one document a message, and the same in words for mails and chats. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from control_plane.alerts.kinds import CODE, DISABLED, REMINDER, REOPENED, RESOLVED, SUMMARY, TEST, Kind, Scope
from control_plane.dashboard.reasons import message_of

#: Names that a message lists; the number of bots is told besides.
MOST_NAMES: Final = 20
_TELEGRAM_MOST: Final = 3500

_ONE: Final[Mapping[str, str]] = {
    "bot_down": "{bot} is down",
    "credential_expired": "{bot} refuses our credentials",
    "trading_stopped": "{bot} has stopped trading",
    "drawdown": "{bot} has fallen below its drawdown limit",
    "not_watched": "{bot} is not being watched",
}
_SEVERAL: Final[Mapping[str, str]] = {
    "bot_down": "{count} bots {where} are down",
    "credential_expired": "{count} bots {where} refuse our credentials",
    "trading_stopped": "{count} bots {where} have stopped trading",
    "drawdown": "{count} bots {where} have fallen below their drawdown limits",
    "not_watched": "{count} bots are not being watched",
}
_BACK: Final[Mapping[str, str]] = {
    "bot_down": "Back again: {who}",
    "credential_expired": "Credentials work again: {who}",
    "trading_stopped": "Trading again: {who}",
    "drawdown": "Above its drawdown limit again: {who}",
    "not_watched": "Watched again: {who}",
}
#: Trouble of a bot that is not down: it answers, or it is we who cannot call it. One, several, and its end.
_TROUBLES: Final[Mapping[str, tuple[str, str, str]]] = {
    "loop_stalled": (
        "{bot}'s trading loop stands still",
        "The trading loops of {count} bots {where} stand still",
        "Well again: {who}",
    ),
    "exchange_unreachable": (
        "{bot} is cut off from its exchange",
        "{count} bots {where} are cut off from their exchange",
        "Well again: {who}",
    ),
    "untended": (
        "{bot} cannot be looked after",
        "{count} bots {where} cannot be looked after",
        "Looked after again: {who}",
    ),
}
_UNTENDED: Final = frozenset({"secret_unreadable", "config_invalid", "engine_unknown", "egress_refused"})
#: What the notifier finds itself; every other reason has its words where the bot's own page has them.
_REASONS: Final[Mapping[str, str]] = {
    "engine_lost": "The container engine that runs hosted bots cannot be reached. The bots may well be trading on.",
    "not_checked_lately": "TradeWise itself has not been able to look. The bots may well be trading on.",
    "stopped": "It runs, and its trading is stopped.",
    "paused": "It runs, and opens no new positions.",
}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as a message tells it. In the document of a webhook it is ``data.incident``."""

    id: UUID
    kind: Kind
    scope: Scope
    severity: str
    state: str
    title: str
    text: str | None
    reason: str | None
    since: datetime
    opened_at: datetime
    closed_at: datetime | None
    resolution: str | None
    flaps: int
    bots_met: int
    bots_over: int | None
    bot_ids: list[UUID]
    bot_names: list[str]


def trouble_of(reason: str | None) -> str | None:
    """What kind of trouble a reason is, where it is none of being down."""
    return "untended" if reason in _UNTENDED else reason if reason in _TROUBLES else None


def aside(reason: str | None) -> str:
    """What a cause ends in, so that bots that answer are in no incident with those that are down."""
    trouble = trouble_of(reason)
    return f"#{trouble}" if trouble is not None else ""


def title_of(kind: str, scope: str, cause: str, names: Sequence[str], met: int, reason: str | None = None) -> str:
    """What has happened, in one line."""
    if scope == "engine":
        return f"The container engine is out of reach: {_bots(met)} {'is' if met == 1 else 'are'} in doubt"
    trouble = trouble_of(reason) if kind == "bot_down" else None
    one, several = _TROUBLES[trouble][:2] if trouble is not None else (_ONE[kind], _SEVERAL[kind])
    if met == 1 and names:
        return one.format(bot=names[0])
    host = re.split("[#/]", cause.removeprefix("host:"))[0]
    return several.format(count=met, where=f"on {host}" if scope == "host" else "at once")


def back_title(
    kind: str, names: Sequence[str], met: int, resolution: str, over: int | None = None, reason: str | None = None
) -> str:
    """That it is over, in one line: for ``over`` of the bots that it met, all of them where that is not known."""
    over = met if over is None else over
    who = names[0] if over == 1 and names else _bots(met) if over == met else f"{over} of {_bots(met)}"
    if resolution == "withdrawn":
        return f"No longer watched: {who}"
    trouble = trouble_of(reason) if kind == "bot_down" else None
    return (_TROUBLES[trouble][2] if trouble is not None else _BACK[kind]).format(who=who)


def text_of(reason: str | None) -> str | None:
    """Why, and what can be done about it; None where nobody knows more than the title says."""
    return _REASONS.get(reason or "") or message_of(reason)


def over_text(since: datetime, closed_at: datetime) -> str:
    """What is told of an end besides its title: what was wrong is not, since it is no more."""
    return f"It lasted {_duration(closed_at - since)}."


def drawdown_text(fall: Decimal, limit_percent: Decimal) -> str:
    """How far a bot's index has fallen; ``fall`` is a part of its highest value, 0 to 1."""
    return (
        f"It is {_percent(fall * 100)} below the highest value that it has had; the limit is {_percent(limit_percent)}."
    )


def _percent(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.01')).normalize():f} %"


def document(kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    """The body of a message, the same to the byte at each try."""
    return msgspec.json.encode({"type": kind, "timestamp": at, "data": data}).decode()


def letter_of(body: str, public_url: str | None) -> tuple[str, str]:
    """Subject and text of a mail."""
    lines = _lines(body)
    where = f"\n\n{public_url.rstrip('/')}/alerts" if public_url else ""
    text = "\n".join(lines)
    foot = "\n\nYou get this mail because an alert channel of your tenant names you. Channels and quiet hours are yours"
    return _subject(lines[0]), f"{text}{where}{foot} to change on the page Alerts of TradeWise.\n"


def chat_text(body: str) -> str:
    """The same for Telegram, as the HTML it takes: everything that somebody has typed is escaped."""
    first, *rest = _lines(body)
    text = "\n".join(
        [f"<b>{html.escape(first[:300], quote=False)}</b>", *(html.escape(line, quote=False) for line in rest)]
    )
    # Cut between lines, so that no escape is cut in two.
    while len(text) > _TELEGRAM_MOST and "\n" in text:
        text = text[: text.rindex("\n")]
    return text


def code_text(code: str) -> str:
    """What is sent to a chat to find out whether who asked for it can read it."""
    return (
        "<b>TradeWise</b>\nSomebody wants alerts of their trading bots told in this chat. Enter this code on the page"
        f" Alerts:\n<code>{html.escape(code)}</code>\nIf it was none of you, do nothing: nothing else will come."
    )


def _lines(body: str) -> list[str]:
    told = msgspec.json.decode(body)
    kind, data = told["type"], told["data"]
    if kind == TEST:
        return ["This is a test", "Alerts of your bots will arrive here."]
    if kind == CODE:
        return ["A code", "It is sent apart."]
    if kind == DISABLED:
        return [f"The channel “{data['channel']}” was switched off", data["text"]]
    if kind == SUMMARY:
        incidents = data["incidents"]
        head = f"While it was quiet: {len(incidents)} {'incident' if len(incidents) == 1 else 'incidents'}"
        return [head, *(_summed(one) for one in incidents)]
    incident = data["incident"]
    head = f"Still: {incident['title']}" if kind == REMINDER else incident["title"]
    lines = [head]
    if kind == REOPENED:
        lines.append("It comes and goes. The next word comes when it has been well for a while.")
    if incident["text"]:
        lines.append(incident["text"])
    # One that was written by a program before this one has no `bots_over`.
    count = (incident.get("bots_over") if kind == RESOLVED else None) or incident["bots_met"]
    if count > 1:
        more = count - len(incident["bot_names"])
        lines.append("Bots: " + ", ".join(incident["bot_names"]) + (f" and {more} more" if more > 0 else ""))
    if kind != RESOLVED:
        lines.append(f"Since {_clock(_time(incident['since']))}.")
    return lines


def _summed(incident: Mapping[str, Any]) -> str:
    began = _time(incident["since"])
    if incident["closed_at"] is None:
        return f"- {incident['title']}, since {_clock(began)}, not over yet"
    return f"- {incident['title']}, from {_clock(began)}, over after {_duration(_time(incident['closed_at']) - began)}"


def _bots(count: int) -> str:
    return "1 bot" if count == 1 else f"{count} bots"


def _subject(line: str) -> str:
    flat = " ".join(line.split())
    return f"[TradeWise] {flat[:150]}"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _clock(at: datetime) -> str:
    return at.strftime("%d %b %Y, %H:%M UTC")


def _duration(whole: timedelta) -> str:
    minutes = max(1, round(whole / timedelta(minutes=1)))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes // 1440} days"
