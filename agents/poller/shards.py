"""How pollers share the bots: 256 shards, each held by one poller under a short lease with an epoch.

Every poller renews what it holds, counts who else lives, and takes or gives back until its share is fair. The epoch
counts changes of hands and is the fence: what was seen under an earlier one is not recorded.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from importlib.metadata import version
from uuid import UUID

import asyncpg
import msgspec

SHARDS = 256
#: How long a lease lasts, and how often it is renewed: a killed poller's bots wait for the first of the two at most.
LEASE_S = 10.0
BEAT_S = 2.5
_LEAST_PAUSE_S = 0.02

# In one statement, because each is a round trip of every poller. A lease of ours that has ended is renewed where
# nobody has taken the shard since: nothing was looked at by another.
_BEAT = """
    with here as (
        insert into agent_beats (id, kind, version, beat_at, state) values ($1, 'poller', $3, now(), 'working')
        on conflict (id) do update set beat_at = now()
    ), kept as (
        update poll_shards set lease_until = now() + $2::text::interval where holder = $1 returning shard, epoch
    ), others as (
        select count(*) as living from agent_beats
        where kind = 'poller' and id <> $1 and beat_at > now() - $2::text::interval
    )
    select clock_timestamp() as now, (select living from others),
        (select array_agg(shard) from kept) as shards, (select array_agg(epoch) from kept) as epochs,
        (select extract(epoch from min(lease_until) - now())::float8 from poll_shards where holder <> $1) as ends_in_s
"""
# Free ones, and where `others` is set those whose lease has ended. In a random order: pollers that begin at the same
# moment then pick different ones.
_TAKE = """
    update poll_shards s set holder = $1, epoch = s.epoch + 1, lease_until = now() + $2::text::interval
    from (
        select shard from poll_shards
        where holder is null or (lease_until <= now() and holder <> $1 and $4)
        order by random() limit $3 for no key update skip locked
    ) free
    where s.shard = free.shard
    returning s.shard, s.epoch
"""
_GIVE = "update poll_shards set holder = null, lease_until = null where holder = $1 and shard = any($2::int[])"


def shard_of(bot: UUID) -> int:
    """The shard of a bot: the last byte of its id, which is random."""
    return bot.bytes[15]


def fair_share(living: int) -> int:
    """How many shards each of ``living`` pollers holds at most, so that all are held."""
    return -(-SHARDS // max(1, living))


class Turn(msgspec.Struct, frozen=True):
    """What one beat changed."""

    taken: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()
    surplus: int = 0
    """How many shards are more than our share: give that many back."""


class Shards:
    """The shards that one poller holds."""

    def __init__(self, pool: asyncpg.Pool, holder: UUID, *, lease_s: float = LEASE_S, beat_s: float = BEAT_S) -> None:
        self.held: dict[int, int] = {}
        """The epoch by the shard."""
        self.leaving: dict[int, float] = {}
        """Those that are to be given back, and until when (monotonic) it may be waited for what is under way there."""
        self.lease_s = lease_s
        self.beat_s = beat_s
        self._pool = pool
        self._holder = holder
        self._lease = f"{lease_s} seconds"
        self._version = version("tradewise")
        self._offset_s = 0.0
        self._beaten_at = -float("inf")
        self._cut_off_until = -float("inf")
        self._next_at = -float("inf")

    @property
    def next_beat_in_s(self) -> float:
        """Seconds until the next beat is due."""
        return max(0.0, self._next_at - time.monotonic())

    @property
    def silent_s(self) -> float:
        """Seconds since the database last confirmed what is held."""
        return time.monotonic() - self._beaten_at

    async def beat(self) -> Turn:
        """Renew, and take what is missing to a fair share. Raises for the database; then nothing is known."""
        began = time.monotonic()
        self._next_at = began + self.beat_s / 2
        if self._beaten_at > -float("inf") and began - self._beaten_at > self.lease_s:
            # The database was away for us, so perhaps for others: their leases have ended with ours, and they are back
            # with us. What they saw meanwhile is theirs to record.
            self._cut_off_until = began + self.lease_s
        row = await self._pool.fetchrow(_BEAT, self._holder, self._lease, self._version)
        self.note_clock(row["now"].timestamp(), began)
        before, kept = self.held, dict(zip(row["shards"] or (), row["epochs"] or (), strict=True))
        lost = {shard for shard, epoch in before.items() if kept.get(shard) != epoch}
        # What we hold by the table and not by memory was given back or never told to us: it goes on being ours.
        taken = {shard for shard, epoch in kept.items() if before.get(shard) != epoch}
        share = fair_share(row["living"] + 1)
        if len(kept) < share:
            others = began >= self._cut_off_until
            for found in await self._pool.fetch(_TAKE, self._holder, self._lease, share - len(kept), others):
                kept[found["shard"]] = found["epoch"]
                taken.add(found["shard"])
        self.held = kept
        self.leaving = {shard: until for shard, until in self.leaving.items() if shard in kept}
        self._beaten_at = began
        pause = self.beat_s
        if row["ends_in_s"] is not None and row["ends_in_s"] > 0:
            # A lease that ends unrenewed is taken over as it ends.
            pause = min(pause, row["ends_in_s"] + _LEAST_PAUSE_S)
        self._next_at = began + pause
        return Turn(frozenset(taken), frozenset(lost), max(0, len(kept) - share))

    def has(self, bot: UUID) -> bool:
        """Whether a bot is of a shard that is held."""
        return shard_of(bot) in self.held

    def epoch_of(self, shard: int) -> int | None:
        """Under which epoch bots of a shard may be looked at now; None where they may not."""
        return None if shard in self.leaving else self.held.get(shard)

    def leave(self, surplus: int, until: float) -> None:
        """Prepare to give back so many shards: nothing is begun there any more."""
        for shard in [shard for shard in self.held if shard not in self.leaving][: max(0, surplus - len(self.leaving))]:
            self.leaving[shard] = until

    async def give(self, shards: list[int]) -> None:
        """Give shards back: whoever has too few takes them at its next beat."""
        for shard in shards:
            self.held.pop(shard, None)
            self.leaving.pop(shard, None)
        await self._pool.execute(_GIVE, self._holder, shards)

    def note_clock(self, database_s: float, before: float) -> None:
        """Learn the database's clock: it said ``database_s`` (since 1970) at some moment after ``before``."""
        self._offset_s = database_s - before

    def moment(self, monotonic: float) -> datetime:
        """The database's clock at a monotonic moment: never behind it, so that it answers what was asked before."""
        return datetime.fromtimestamp(self._offset_s + monotonic, UTC)

    def monotonic(self, moment: datetime) -> float:
        """The other way about."""
        return moment.timestamp() - self._offset_s
