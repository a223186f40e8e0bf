"""The API's own key: what it encrypts opens in its own place alone, it rotates online, and agents have none of it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from control_plane.cli import main
from control_plane.database.sessions import Database
from control_plane.identity.handover import web_tier_secrets
from control_plane.identity.seed_rotation import by_key, rotate
from control_plane.security.datakey import (
    DataKeyError,
    DataKeys,
    DataKeyStore,
    Encrypted,
    NoDataKeyError,
    Spot,
    add_data_key,
    create_data_key_file,
)
from control_plane.security.vault import Vault
from control_plane.settings import Settings, load_settings
from tests.api import PASSWORD, Api, running_api
from tests.factories import Urls
from tests.second_ways import code_of, later, with_totp

KEYS = DataKeys({"a": os.urandom(32), "b": os.urandom(32)}, "a")
SPOT = Spot("totp_factors", "secret", UUID(int=1), UUID(int=2))
spots = st.builds(Spot, table=st.text(max_size=9), column=st.text(max_size=9), row_id=st.uuids(), user_id=st.uuids())


def base64_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@given(st.binary(max_size=200), spots, spots)
def test_it_opens_in_its_own_place_alone(value: bytes, spot: Spot, other: Spot) -> None:
    encrypted = KEYS.encrypt(value, spot)
    assert (encrypted.key_id, len(encrypted.value)) == ("a", 12 + len(value) + 16)
    assert KEYS.encrypt(value, spot).value != encrypted.value
    assert KEYS.decrypt(encrypted, spot).reveal() == value
    if other != spot:
        with pytest.raises(DataKeyError):
            KEYS.decrypt(encrypted, other)


@pytest.mark.parametrize("part", ["table", "column", "row_id", "user_id"])
def test_each_part_of_the_place_counts(part: str) -> None:
    changed: Any = getattr(SPOT, part)
    changed = UUID(int=changed.int ^ 1) if isinstance(changed, UUID) else changed + "x"
    with pytest.raises(DataKeyError):
        KEYS.decrypt(KEYS.encrypt(b"v", SPOT), msgspec.structs.replace(SPOT, **{part: changed}))


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_does_not_open(position: int, difference: int) -> None:
    encrypted = KEYS.encrypt(b"some value", SPOT)
    raw = bytearray(encrypted.value)
    raw[position % len(raw)] ^= difference
    with pytest.raises(DataKeyError) as told:
        KEYS.decrypt(msgspec.structs.replace(encrypted, value=bytes(raw)), SPOT)
    assert "some value" not in str(told.value)


def test_another_key_format_or_nothing_does_not_open() -> None:
    encrypted = KEYS.encrypt(b"v", SPOT)
    with pytest.raises(DataKeyError):
        KEYS.decrypt(msgspec.structs.replace(encrypted, key_id="b"), SPOT)
    with pytest.raises(NoDataKeyError):
        KEYS.decrypt(msgspec.structs.replace(encrypted, key_id="c"), SPOT)
    with pytest.raises(DataKeyError, match="upgrade"):
        KEYS.decrypt(msgspec.structs.replace(encrypted, format=2), SPOT)
    for value in (b"", b"x" * 11, b"x" * 12, b"x" * 27):
        with pytest.raises(DataKeyError):
            KEYS.decrypt(Encrypted(value, 1, "a"), SPOT)


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    text = base64_key()
    settings = load_settings({"TRADEWISE_DATA_KEY": text})
    store = DataKeyStore(settings)
    for holder in (store, store.keys(), settings):
        assert text not in f"{holder!r} {holder}"
    with pytest.raises(TypeError):
        pickle.dumps(store.keys())


def test_the_file_is_its_owners_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "data.json"
    create_data_key_file(path)
    before = path.read_bytes()
    create_data_key_file(path)
    assert path.read_bytes() == before
    store = DataKeyStore(load_settings({}, data_dir=tmp_path))
    old = store.keys().encrypt(b"v", SPOT)
    key_id = add_data_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["data.json"]
    # A process that runs already sees the new key at its next use, and opens what the old one encrypted.
    assert store.keys().current_id == key_id != old.key_id
    assert store.keys().decrypt(old, SPOT).reveal() == b"v"
    path.unlink()
    with pytest.raises(NoDataKeyError):
        store.keys()


def test_keys_from_the_environment() -> None:
    old, new = base64_key(), base64_key()
    first = DataKeyStore(load_settings({"TRADEWISE_DATA_KEY": old})).keys()
    both = DataKeyStore(load_settings({"TRADEWISE_DATA_KEY": new, "TRADEWISE_DATA_KEY_PREVIOUS": old})).keys()
    assert first.current_id != both.current_id
    assert both.decrypt(first.encrypt(b"v", SPOT), SPOT).reveal() == b"v"


BAD_FILES = [b"", b"{}", b"[]", b'{"current": "a", "keys": {}}', b'{"current": "a", "keys": {"a": "c2hvcnQ="}}',
             b'{"current": "a", "keys": {"a": "***"}}']  # fmt: skip


@pytest.mark.parametrize("content", BAD_FILES)
def test_a_file_that_is_none_is_told_at_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(DataKeyError):
        DataKeyStore(load_settings({}, data_key_file=path))


@pytest.mark.parametrize("text", ["short", "***", base64.b64encode(b"x" * 31).decode()])
def test_a_variable_that_is_none_is_told_by_name(text: str) -> None:
    for environment in (
        {"TRADEWISE_DATA_KEY": text},
        {"TRADEWISE_DATA_KEY": base64_key(), "TRADEWISE_DATA_KEY_PREVIOUS": text},
    ):
        with pytest.raises(DataKeyError, match="TRADEWISE_DATA_KEY") as told:
            DataKeyStore(load_settings(environment))
        assert text not in str(told.value)


def in_file(settings: Settings) -> Settings:
    """Settings with the key in a file, as under `up`."""
    create_data_key_file(settings.effective_data_key_file)
    return msgspec.structs.replace(settings, data_key=None)


async def test_rotation_under_way_is_noticed_by_nobody(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection, api_db: Database
) -> None:
    ours = in_file(settings)
    said: list[str] = []
    async with running_api(ours, urls, vault) as api:
        people = [await api.person(name) for name in ("ada", "bob", "eve")]
        seeds = [(await with_totp(person))[0] for person in people]
        store = DataKeyStore(ours)
        first = store.keys().current_id
        assert await by_key(api_db) == {first: 3}
        dry = await rotate(api_db, store, said.append, dry_run=True)
        assert (dry.moved, store.keys().current_id) == (0, first)
        assert said[-1] == "would add a key and re-encrypt 3"
        done = await rotate(api_db, store, said.append, dry_run=False)
        assert (done.moved, done.broken) == (3, 0)
        assert await by_key(api_db) == {done.current_id: 3}
        assert done.current_id != first
        await later(admin)
        await signs_in_all(api, people, seeds)
        # Stopped half way: the next run takes up what is left, and makes no further key.
        add_data_key(store.path or Path())
        assert len(json.loads(ours.effective_data_key_file.read_bytes())["keys"]) == 3
        resumed = await rotate(api_db, store, said.append, dry_run=False)
        assert (resumed.moved, await by_key(api_db)) == (3, {resumed.current_id: 3})
        assert len(json.loads(ours.effective_data_key_file.read_bytes())["keys"]) == 3
        await later(admin)
        await signs_in_all(api, people, seeds)
    assert not any(seed in line for line in said for seed in seeds)


async def signs_in_all(api: Api, people: list[Any], seeds: list[str]) -> None:
    for person, seed in zip(people, seeds, strict=True):
        body = {"email": person.email, "password": PASSWORD, "totp": code_of(seed)}
        assert (await api.client.post("/api/v1/auth/sign-in", json=body)).status_code == 200


async def test_a_broken_row_hurts_its_own_person_alone(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection, api_db: Database
) -> None:
    ours = in_file(settings)
    async with running_api(ours, urls, vault) as api:
        ada, bob = await api.person("ada"), await api.person("bob")
        await with_totp(ada)
        seed, _ = await with_totp(bob)
        await admin.execute("update totp_factors set secret = secret || 'x' where user_id = $1", ada.user_id)
        store = DataKeyStore(ours)
        first = store.keys().current_id
        done = await rotate(api_db, store, lambda _: None, dry_run=False)
        assert (done.moved, done.broken) == (1, 1)
        assert await by_key(api_db) == {first: 1, done.current_id: 1}
        # What stays behind for good does not keep later rotations from their work.
        again = await rotate(api_db, store, lambda _: None, dry_run=False)
        assert (again.moved, again.broken) == (1, 1)
        assert again.current_id != done.current_id
        await later(admin)
        await signs_in_all(api, [bob], [seed])


async def test_the_command_makes_the_first_key_and_never_hides_that_one_is_lost(
    settings: Settings, urls: Urls, admin: asyncpg.Connection
) -> None:
    path = settings.effective_data_key_file
    environment = {"TRADEWISE_DATABASE_URL": urls["api"]}
    command = ["keys", "rotate-data-key", "--data-dir", str(settings.data_dir)]

    async def tradewise(*options: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, main, [*command, *options], env=environment)

    assert (await tradewise("--dry-run")).exit_code == 0
    assert not path.exists()
    assert (await tradewise()).exit_code == 0
    first = json.loads(path.read_bytes())
    assert (await tradewise()).exit_code == 0
    second = json.loads(path.read_bytes())
    assert (len(second["keys"]), first["current"] in second["keys"]) == (2, True)
    path.unlink()
    user = uuid7()
    await admin.execute("insert into users (id) values ($1)", user)
    await admin.execute(
        "insert into totp_factors (id, user_id, secret, secret_format, secret_key_id) values ($1, $1, 'x', 1, 'gone')",
        user,
    )
    lost = await tradewise()
    assert (lost.exit_code, path.exists()) == (1, False)
    assert "put the file back" in lost.output


async def test_no_agent_reaches_a_seed(urls: Urls) -> None:
    for kind in ("launcher", "poller", "scheduler", "notifier"):
        connection = await asyncpg.connect(urls[f"agent_{kind}"])
        try:
            for table in ("totp_factors", "recovery_codes", "auth_identities"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch(f"select * from {table}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("select * from totp_secret()")
        finally:
            await connection.close()


def test_agents_do_not_carry_the_code_that_opens_seeds() -> None:
    program = (
        "import sys, agents.launcher.agent, agents.poller.agent, agents.scheduler.agent, agents.notifier.exchange;"
        "print([name for name in sys.modules if name == 'control_plane.security.datakey'])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_up_hands_the_api_a_key_to_the_widget_and_not_the_bot(tmp_path: Path) -> None:
    settings = load_settings({"TRADEWISE_TELEGRAM_BOT_TOKEN": "123:bot"}, data_dir=tmp_path)
    given = web_tier_secrets(settings)
    assert given["TRADEWISE_DATA_KEY_FILE"] == str(tmp_path / "keys" / "data.json")
    assert "123:bot" not in str(given)
    assert load_settings(given).telegram_login_key == given["TRADEWISE_TELEGRAM_LOGIN_KEY"]
    key, old = base64_key(), base64_key()
    named = load_settings({"TRADEWISE_DATA_KEY": key, "TRADEWISE_DATA_KEY_PREVIOUS": old})
    assert (
        DataKeyStore(load_settings(web_tier_secrets(named))).keys().current_id == DataKeyStore(named).keys().current_id
    )
