"""Times on the wire: RFC 3339 in UTC with microseconds and a `Z`, so that texts sort like the times they name."""

from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock as an aware UTC time."""
    return datetime.now(UTC)


def to_text(moment: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(value: str) -> datetime:
    """Read an RFC 3339 time; raises ValueError when it is malformed or names no zone."""
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return moment.astimezone(UTC)
