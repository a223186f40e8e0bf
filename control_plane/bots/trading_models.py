"""The table of wishes about bots' trading: a row a bot, made by its first wish. People write it, the poller answers."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Integer, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.bots.kinds import ACTION_OF
from control_plane.database.base import Base, TenantOwned, Timestamp, one_of, tenant_index, tenant_reference

#: Neither confirmed nor given up.
_PENDING: Final = "confirmed_at is null and problem is null"


class BotTrading(Base, TenantOwned):
    """What is wished of a bot's trading, and what came of it.

    ``asked`` counts the wishes: an answer to an earlier one never stands as that to a later. A trigger notes who
    wished it, when and of which generation of the bot, and clears the answer (policies/trading.sql).
    """

    __tablename__ = "bot_trading"
    __table_args__ = (
        one_of("wanted", tuple(ACTION_OF)),
        tenant_reference("bot_trading", "bot_id", "bots"),
        tenant_index("bot_trading", "bot_id", unique=True),
        tenant_index("bot_trading", "requested_at", postgresql_where=text(_PENDING)),
    )

    bot_id: Mapped[UUID]
    # desired: written by people
    wanted: Mapped[str] = mapped_column(Text)
    asked: Mapped[int] = mapped_column(Integer, server_default="1")
    #: ``user:…`` or ``key:…``
    requested_by: Mapped[str | None] = mapped_column(Text)
    requested_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    #: The bot's, when it was wished: whoever changes the bot afterwards did not mean the changed one.
    generation: Mapped[int | None]
    # observed: written by the poller
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    tried_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: When the bot was last asked for an earlier wish that it was not seen to fulfil: it may do so yet.
    unsettled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    confirmed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    problem: Mapped[str | None] = mapped_column(Text)
    problem_detail: Mapped[str | None] = mapped_column(Text)
