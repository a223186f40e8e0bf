"""Rotation of the data key: a new key, then each seed over to it, row by row. It can be stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import msgspec
from sqlalchemy import text

from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.identity.factors import totp_spot
from control_plane.security.datakey import (
    DataKeyError,
    DataKeyStore,
    Encrypted,
    NoDataKeyError,
    add_data_key,
    create_data_key_file,
)

_BATCH = 200
_BY_KEY = text("select key_id, factors from factors_by_key()")
_OTHERS = text("select id, user_id from factors_on_other_keys(:current, cast(:after as uuid), :batch)")
_SECRET = text("select id, secret, secret_format, secret_key_id from totp_secret()")
_REWRAP = text("select totp_rewrap(:id, :old, :new, :format, :key)")


class Rotated(msgspec.Struct, frozen=True):
    """How a rotation went. ``broken`` rows do not open with any key at hand; each hurts its own person alone."""

    current_id: str
    moved: int
    broken: int


async def by_key(database: Database) -> dict[str, int]:
    """How many seeds are on which key."""
    async with database.anonymous() as session:
        return {row.key_id: row.factors for row in await session.execute(_BY_KEY)}


async def rotate(database: Database, store: DataKeyStore, tell: Callable[[str], None], *, dry_run: bool) -> Rotated:
    """Bring every seed to the newest key; with a key file, make that key first, unless a rotation is unfinished.

    With keys from the environment, the operator makes the newest one by ``TRADEWISE_DATA_KEY``. Where there is neither
    a key nor a seed, this makes the first key. Raises :class:`DataKeyError` where there are seeds and no key.
    """
    counted = await by_key(database)
    if store.path is not None and not store.path.exists():
        if counted:
            raise DataKeyError(f"there is no data key at {store.path}, but seeds that need one: put the file back")
        if not dry_run:
            create_data_key_file(store.path)
        tell(f"{'would make' if dry_run else 'made'} the first data key in {store.path}")
        return Rotated(current_id="" if dry_run else store.keys().current_id, moved=0, broken=0)
    current = store.keys().current_id
    behind = sum(count for key_id, count in counted.items() if key_id != current)
    if dry_run:
        for key_id, count in sorted(counted.items()):
            tell(f"{key_id}{' (newest)' if key_id == current else ''}: {count} seed{'s' if count != 1 else ''}")
        fresh = store.path is not None and behind == 0
        would = sum(counted.values()) if fresh else behind
        tell(f"would {'add a key and ' if fresh else ''}re-encrypt {would}")
        return Rotated(current_id=current, moved=0, broken=0)
    if behind:
        resumed = await _move(database, store, tell)
        if resumed.moved or store.path is None:
            return resumed
    if store.path is None:
        return Rotated(current_id=current, moved=0, broken=0)
    tell(f"new data key {add_data_key(store.path)} in {store.path}; keep a copy where the database is not")
    return await _move(database, store, tell)


async def _move(database: Database, store: DataKeyStore, tell: Callable[[str], None]) -> Rotated:
    current, after, moved, broken = store.keys().current_id, None, 0, 0
    while True:
        async with database.anonymous() as session:
            rows = list(await session.execute(_OTHERS, {"current": current, "after": after, "batch": _BATCH}))
        if not rows:
            return Rotated(current_id=current, moved=moved, broken=broken)
        for row in rows:
            # Each in a transaction of its own: nobody who signs in meanwhile waits for a batch.
            if await _move_one(database, store, row.id, row.user_id):
                moved += 1
            else:
                broken += 1
        after = rows[-1].id
        tell(f"{moved} re-encrypted{f', {broken} do not open' if broken else ''}")


async def _move_one(database: Database, store: DataKeyStore, row_id: UUID, user_id: UUID) -> bool:
    keys = store.keys()
    async with database.user(user_id) as session:
        row = (await session.execute(_SECRET)).one_or_none()
        if row is None or row.id != row_id or row.secret_key_id == keys.current_id:
            return True  # taken away or replaced meanwhile
        old = bytes(row.secret)
        spot = totp_spot(row_id, user_id)
        try:
            opened = keys.decrypt(Encrypted(old, row.secret_format, row.secret_key_id), spot)
        except (DataKeyError, NoDataKeyError):
            await note_person(session, user_id, "totp.unreadable", detail={"key": row.secret_key_id})
            return False
        new = keys.encrypt(opened.reveal(), spot)
        await session.execute(
            _REWRAP, {"id": row_id, "old": old, "new": new.value, "format": new.format, "key": new.key_id}
        )
    return True
