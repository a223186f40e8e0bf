"""What agents do for the audit log: sign heads, drop old months, verify it, tell it what they met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.keys.providers import provider_for
from agents.secrets import NotOpenedError
from control_plane.audit.checkpoints import FAULTS, SIGNATURE_ED25519, Kind, Signed, first_forged, message
from control_plane.database.urls import session_settings
from control_plane.security.keyproviders import KeyProvider
from control_plane.security.signing import Signer, SigningKey, SigningKeyError, generate_signing_key, open_signer
from control_plane.settings import Settings

_BATCH: Final = 500
_KEYS: Final = """
    select id, version, public_key, wrapped_private_key, kek_id from audit_keys order by version desc
"""
_ADD_KEY: Final = """
    insert into audit_keys (id, version, suite, public_key, wrapped_private_key, kek_id)
    values ($1, $2, $3, $4, $5, $6) on conflict do nothing
"""
_VALUES: Final = """ (tenant_id, seq, hash, at, key_version, signature)
    select * from unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::timestamptz[], $5::integer[], $6::bytea[])
    on conflict do nothing
"""
_ADD: Final[dict[Kind, str]] = {
    "checkpoint": "insert into audit_checkpoints" + _VALUES,
    "anchor": "insert into audit_anchors" + _VALUES,
}
_SIGNED: Final = """
    select 'checkpoint' as kind, k.* from audit_checkpoints k where k.tenant_id = $1
    union all select 'anchor', a.* from audit_anchors a where a.tenant_id = $1
"""
_NOTE_ONCE: Final = "select audit_agent_note_once($1, 'secret.open_failed', $2, $3, $4::jsonb)"
_NOTE: Final = "select audit_agent_note($1, $2, $3, $4, $5::jsonb)"


async def note(
    on: asyncpg.Pool | asyncpg.Connection,
    action: str,
    *,
    tenant_id: UUID | None = None,
    resource: str | None = None,
    resource_id: UUID | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Tell a tenant's log, or without one the platform's, what this agent did. ``detail`` must hold no secret."""
    await on.execute(_NOTE, tenant_id, action, resource, resource_id, msgspec.json.encode(detail or {}).decode())


async def note_not_opened(pool: asyncpg.Pool, error: NotOpenedError, *, bot_id: UUID, generation: int) -> None:
    """Tell the owner's log of a sealed value that does not open: once a value and generation, not at each look."""
    place = error.place
    ours = place.table == "bot_secrets"
    detail = {"table": place.table, "row": str(place.row_id), "cause": str(error)}
    if ours:
        detail["generation"] = str(generation)
    resource, resource_id = ("bot", bot_id) if ours else ("template_version", place.row_id)
    await pool.execute(_NOTE_ONCE, place.tenant_id, resource, resource_id, msgspec.json.encode(detail).decode())


async def sign_heads(pool: asyncpg.Pool, provider: KeyProvider) -> list[Signed]:
    """Sign the head of every chain that has moved on since it was last signed."""
    made: list[Signed] = []
    signer = await _signer(pool, provider)
    while True:
        rows = await pool.fetch("select * from audit_unsigned($1)", _BATCH)
        made += await _sign(pool, signer, "checkpoint", rows)
        if len(rows) < _BATCH:
            break
    return made


async def retire(pool: asyncpg.Pool, provider: KeyProvider, keep_months: int) -> tuple[list[Signed], int]:
    """Sign where the months end that are no longer kept, then drop them. How many partitions went.

    Raises asyncpg.LockNotAvailableError where a writer was in the way: the next pass finds the same to do.
    """
    cutoff = await pool.fetchval("select audit_cutoff($1)", keep_months)
    if cutoff is None:
        return [], 0
    signer = await _signer(pool, provider)
    made = await _sign(pool, signer, "anchor", await pool.fetch("select * from audit_unanchored($1)", cutoff))
    return made, await pool.fetchval("select audit_retire($1)", keep_months)


async def _sign(pool: asyncpg.Pool, signer: Signer, kind: Kind, rows: Sequence[asyncpg.Record]) -> list[Signed]:
    made = []
    for row in rows:
        place = (row["tenant_id"], row["seq"], row["hash"], row["at"], signer.version)
        made.append(Signed(kind, *place, signer.sign(message(kind, *place))))
    names = ("tenant_id", "seq", "hash", "at", "key_version", "signature")
    await pool.execute(_ADD[kind], *([getattr(item, name) for item in made] for name in names))
    return made


async def _signer(pool: asyncpg.Pool, provider: KeyProvider) -> Signer:
    """The newest signing key, made where there is none yet."""
    keys = await _keys(pool)
    if not keys:
        key = await generate_signing_key(provider, uuid7(), 1)
        await pool.execute(
            _ADD_KEY,
            key.id,
            key.version,
            SIGNATURE_ED25519,
            key.public_key,
            key.wrapped_private_key,
            key.kek_id,
        )
        keys = await _keys(pool)
    return await open_signer(provider, keys[0])


async def _keys(pool: asyncpg.Pool | asyncpg.Connection) -> list[SigningKey]:
    return [SigningKey(**row) for row in await pool.fetch(_KEYS)]


class Verdict(msgspec.Struct, frozen=True):
    """What one chain was found to be. Without ``fault``, all is as it was told."""

    tenant_id: UUID
    scope: Literal["tenant", "platform"]
    events: int
    first_seq: int | None
    last_seq: int
    signatures: int
    fault_seq: int | None
    fault: str | None


async def verify(
    connection: asyncpg.Connection, provider: KeyProvider, tenant_id: UUID | None = None
) -> tuple[list[str], list[Verdict]]:
    """Walk one chain, or all of them and the platform's; as role ``tradewise_agent_scheduler``.

    Returns what is wrong with the signing keys, and a verdict a chain. A key counts only where its private half opens
    with a key-encryption key of ours: somebody who can write rows can put a key of their own beside them.
    """
    faults, public = [], {}
    for key in await _keys(connection):
        try:
            await open_signer(provider, key)
        except SigningKeyError as error:
            faults.append(str(error))
        else:
            public[key.version] = key.public_key
    platform = await connection.fetchval("select id from installation")
    chains = [tenant_id] if tenant_id else [row[0] for row in await connection.fetch("select audit_chain_ids()")]
    return faults, [await _verdict(connection, chain, public, platform=chain == platform) for chain in chains]


async def report(url: str, settings: Settings, tenant_id: UUID | None, tell: Callable[[str], None]) -> bool:
    """Verify and tell, one line a chain. Whether all is as it was told. Raises KeyProviderError."""
    provider = provider_for(settings)
    connection = await asyncpg.connect(url, server_settings=session_settings("tradewise-audit"))
    try:
        faults, verdicts = await verify(connection, provider, tenant_id)
    finally:
        await connection.close()
        await provider.close()
    for fault in faults:
        tell(f"FAULT  {fault}")
    for item in verdicts:
        name = f"{item.scope} {item.tenant_id}"
        if item.fault is not None:
            tell(f"FAULT  {name}  seq {item.fault_seq}: {item.fault}, {FAULTS[item.fault]}")
        else:
            span = (
                f"seq {item.first_seq} to {item.last_seq}" if item.first_seq else f"nothing kept after {item.last_seq}"
            )
            tell(f"ok     {name}  {item.events} events, {span}, {item.signatures} signatures")
    return not faults and all(item.fault is None for item in verdicts)


async def _verdict(connection: asyncpg.Connection, chain: UUID, public: dict[int, bytes], *, platform: bool) -> Verdict:
    walked = await connection.fetchrow("select * from audit_verify_chain($1)", chain)
    signed = [Signed(**row) for row in await connection.fetch(_SIGNED, chain)]
    fault_seq, fault = walked["fault_seq"], walked["fault"]
    forged = first_forged(signed, public)
    if forged is not None and (fault_seq is None or forged.seq < fault_seq):
        fault_seq, fault = forged.seq, "signature_invalid"
    return Verdict(
        tenant_id=chain,
        scope="platform" if platform else "tenant",
        events=walked["events"],
        first_seq=walked["first_seq"],
        last_seq=walked["last_seq"],
        signatures=len(signed),
        fault_seq=fault_seq,
        fault=fault,
    )
