"""Connection strings: one spelling inside (``postgresql://``), whatever a driver wants outside."""

from __future__ import annotations

from sqlalchemy.engine import make_url
from sqlalchemy.engine.url import URL


def sqlalchemy_url(url: str) -> URL:
    """``url`` for SQLAlchemy's asyncpg dialect. libpq's ``sslmode`` becomes asyncpg's ``ssl``."""
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    query = dict(parsed.query)
    sslmode = query.pop("sslmode", None)
    if sslmode is not None:
        query["ssl"] = sslmode
    return parsed.set(query=query)


def session_settings(application_name: str) -> dict[str, str]:
    """What every session of ours begins with. In UTC, because a server may stand where some days have 23 hours."""
    return {"application_name": application_name, "timezone": "UTC"}


def url_for_role(url: str, role: str, password: str | None = None) -> str:
    """``url`` with another login role (and its password), as ``postgresql://``."""
    parsed = make_url(url).set(drivername="postgresql", username=role, password=password)
    return parsed.render_as_string(hide_password=False)


def without_password(url: str) -> str:
    """``url`` fit for a message or a log."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=True)
