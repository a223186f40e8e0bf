"""Every kind of tampering is found where it was done, by somebody who gets past every trigger and knows the scheme."""

from __future__ import annotations

import os

import asyncpg
import pytest

from agents.audit import report
from control_plane.security.keyproviders import LocalKeyProvider
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.audit import LAST, fault, long_chain, rehash, sign, tampering, verdict
from tests.factories import Factory, Owner, Urls


@pytest.fixture
async def owner(urls: Urls, factory: Factory) -> Owner:
    return await long_chain(urls, factory)


FIELDS = {
    "id": "gen_random_uuid()",
    "at": "at + interval '1 microsecond'",
    "actor_kind": "'key'",
    "actor_id": "actor_id || ' '",
    "user_id": "gen_random_uuid()",
    "address": "'10.0.0.1'",
    "request_id": "gen_random_uuid()",
    "action": "'test.untold'",
    "resource": "null",
    "resource_id": "gen_random_uuid()",
    "outcome": "'denied'",
    "changes": "'{\"a\": 1}'",
    "detail": "detail || '{\"n\": 6.0}'",
    "hash": "sha256('x')",
}


async def test_every_column_is_covered(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch(
        "select attname::text from pg_attribute where attrelid = 'audit_events'::regclass and attnum > 0"
    )
    assert {row[0] for row in rows} == set(FIELDS) | {"tenant_id", "seq", "prev_hash"}


@pytest.mark.parametrize("field", FIELDS)
async def test_an_edit_of_any_field(admin: asyncpg.Connection, owner: Owner, field: str) -> None:
    assert await fault(admin, owner.tenant_id) is None
    async with tampering(admin):
        await admin.execute(
            f"update audit_events set {field} = {FIELDS[field]} where seq = 7 and tenant_id = $1", owner.tenant_id
        )
    assert await fault(admin, owner.tenant_id) == (7, "altered")


EVENT = "tenant_id = $1 and seq"
DEEDS: dict[str, tuple[list[str], tuple[int, str]]] = {
    "delete the first": ([f"delete from audit_events where {EVENT} = 1"], (1, "missing")),
    "delete one": ([f"delete from audit_events where {EVENT} = 5"], (5, "missing")),
    "delete several": ([f"delete from audit_events where {EVENT} in (4, 5, 9)"], (4, "missing")),
    "truncate": ([f"delete from audit_events where {EVENT} > 8"], (9, "truncated")),
    "delete all": (["delete from audit_events where tenant_id = $1"], (1, "truncated")),
    "delete all and the head": (
        ["delete from audit_events where tenant_id = $1", "delete from audit_chains where tenant_id = $1"],
        (1, "missing"),
    ),
    "delete the head": (["delete from audit_chains where tenant_id = $1"], (LAST, "head_differs")),
    "set the head back": (
        [
            "update audit_chains c set seq = 6, hash = e.hash from audit_events e"
            " where c.tenant_id = $1 and e.tenant_id = $1 and e.seq = 6"
        ],
        (7, "head_differs"),
    ),
    "another head": (["update audit_chains set hash = sha256('x') where tenant_id = $1"], (LAST, "head_differs")),
    "swap two": (
        [
            f"update audit_events set seq = 1000 where {EVENT} = 5",
            f"update audit_events set seq = 5 where {EVENT} = 6",
            f"update audit_events set seq = 6 where {EVENT} = 1000",
        ],
        (5, "out_of_order"),
    ),
    "link to another": (
        [f"update audit_events set prev_hash = sha256('x') where {EVENT} = 5"],
        (5, "out_of_order"),
    ),
    "close the gap": (
        [
            f"delete from audit_events where {EVENT} = 5",
            "update audit_events set seq = seq - 1 where tenant_id = $1 and seq > 5",
        ],
        (5, "out_of_order"),
    ),
    "edit and hash anew": (
        [
            f"update audit_events set outcome = 'denied' where {EVENT} = 5",
            f"update audit_events e set hash = audit_hash(e) where {EVENT} = 5",
        ],
        (6, "out_of_order"),
    ),
    "edit the last and hash anew": (
        [
            f"update audit_events set outcome = 'denied' where {EVENT} = {LAST}",
            f"update audit_events e set hash = audit_hash(e) where {EVENT} = {LAST}",
        ],
        (LAST, "head_differs"),
    ),
    "put one between": (
        [
            "insert into audit_events select (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(),"
            f" 'at', e.at + interval '1 microsecond'))).* from audit_events e where {EVENT} = 5",
        ],
        (5, "out_of_order"),
    ),
    "put one at the end": (
        [
            "insert into audit_events select (jsonb_populate_record(e, jsonb_build_object('seq', e.seq + 1,"
            f" 'prev_hash', e.hash))).* from audit_events e where {EVENT} = {LAST}",
            f"update audit_events e set hash = audit_hash(e) where {EVENT} = {LAST + 1}",
        ],
        (LAST + 1, "head_differs"),
    ),
    "turn back the clock": (
        [f"update audit_events set at = at - interval '1 second' where {EVENT} = 5"],
        (5, "out_of_order"),
    ),
}


@pytest.mark.parametrize("deed", DEEDS)
async def test_what_is_done_to_a_chain_is_found_at_its_place(
    admin: asyncpg.Connection, owner: Owner, factory: Factory, deed: str
) -> None:
    other = await factory.owner("Bob")
    commands, expected = DEEDS[deed]
    async with tampering(admin):
        for command in commands:
            await admin.execute(command, owner.tenant_id)
    assert await fault(admin, owner.tenant_id) == expected
    assert await fault(admin, other.tenant_id) is None


async def test_an_event_moved_to_another_tenant_is_missed_in_one_and_strange_in_the_other(
    admin: asyncpg.Connection, owner: Owner, factory: Factory
) -> None:
    other = await factory.owner("Bob")
    async with tampering(admin):
        await admin.execute(
            "update audit_events set tenant_id = $2 where tenant_id = $1 and seq = 3", owner.tenant_id, other.tenant_id
        )
    assert await fault(admin, owner.tenant_id) == (3, "missing")
    assert await fault(admin, other.tenant_id) == (3, "out_of_order")


async def test_a_chain_written_anew_from_its_beginning_is_caught_by_what_was_signed(
    urls: Urls, admin: asyncpg.Connection, owner: Owner, vault: Vault
) -> None:
    assert await sign(urls, vault) >= 1
    assert await sign(urls, vault) == 0
    async with tampering(admin):
        await admin.execute(
            "update audit_events set outcome = 'denied' where tenant_id = $1 and seq = 3", owner.tenant_id
        )
        await rehash(admin, owner.tenant_id)
    assert await fault(admin, owner.tenant_id) == (LAST, "checkpoint_differs")


async def test_without_a_signature_a_chain_written_anew_cannot_be_told(admin: asyncpg.Connection, owner: Owner) -> None:
    """Why heads are signed: hashes alone show nothing to who may compute them all."""
    async with tampering(admin):
        await admin.execute(
            "update audit_events set outcome = 'denied' where tenant_id = $1 and seq = 3", owner.tenant_id
        )
        await rehash(admin, owner.tenant_id)
    assert await fault(admin, owner.tenant_id) is None


async def test_an_end_cut_off_with_its_head_is_caught_by_what_was_signed(
    urls: Urls, admin: asyncpg.Connection, owner: Owner, vault: Vault
) -> None:
    await sign(urls, vault)
    async with tampering(admin):
        await admin.execute("delete from audit_events where tenant_id = $1 and seq > 8", owner.tenant_id)
        await rehash(admin, owner.tenant_id, 8)
    assert await fault(admin, owner.tenant_id) == (9, "truncated")


async def test_a_forged_signature_and_a_forged_key(
    urls: Urls, admin: asyncpg.Connection, owner: Owner, vault: Vault
) -> None:
    await sign(urls, vault)
    assert await verdict(urls, vault, owner) == ([], None)
    async with tampering(admin):
        await admin.execute("update audit_checkpoints set signature = decode(repeat('00', 64), 'hex')")
    assert await verdict(urls, vault, owner) == ([], (LAST, "signature_invalid"))
    # A whole forgery: another key pair in the place of ours, and everything signed anew with it.
    stranger = Vault(LocalKeyProvider({"theirs": os.urandom(32)}, "theirs"))
    async with tampering(admin):
        for table in ("audit_checkpoints", "audit_keys"):
            await admin.execute(f"delete from {table}")
    await sign(urls, stranger)
    assert await fault(admin, owner.tenant_id) is None
    faults, found = await verdict(urls, vault, owner)
    assert "signing key 1 does not open" in faults[0]
    assert found == (LAST, "signature_invalid")


async def test_a_public_half_that_is_not_of_its_private_half(
    urls: Urls, admin: asyncpg.Connection, owner: Owner, vault: Vault
) -> None:
    await sign(urls, vault)
    await admin.execute("update audit_keys set public_key = sha256('x')")
    faults, found = await verdict(urls, vault, owner)
    assert faults == ["signing key 1 has the public half of another key"]
    assert found == (LAST, "signature_invalid")


async def test_the_report_names_the_tenant_the_number_and_the_fault(
    urls: Urls,
    admin: asyncpg.Connection,
    owner: Owner,
    settings: Settings,
    vault: Vault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.audit.provider_for", lambda _settings: vault.provider)
    await sign(urls, vault)
    lines: list[str] = []
    assert await report(urls["agent_scheduler"], settings, None, lines.append)
    assert len(lines) == 2
    assert any(line.startswith("ok     platform ") for line in lines)
    assert any(f"tenant {owner.tenant_id}  {LAST} events, seq 1 to {LAST}, 1 signatures" in line for line in lines)
    async with tampering(admin):
        await admin.execute("update audit_events set action = 'x.y' where tenant_id = $1 and seq = 6", owner.tenant_id)
    lines.clear()
    assert not await report(urls["agent_scheduler"], settings, owner.tenant_id, lines.append)
    [line] = lines
    assert line.startswith(f"FAULT  tenant {owner.tenant_id}  seq 6: altered")
