"""Keys of this machine: what is no key stops the start with the remedy; a file that changes is read anew, whole."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
from pathlib import Path

import pytest

from control_plane.private_files import create_private_file, replace_private_file
from control_plane.security.keyproviders import (
    RETIRE_AFTER_S,
    EnvKeyProvider,
    FileKeyProvider,
    KeyProviderError,
    LocalKeyProvider,
    create_kek_file,
    key_provider,
)
from control_plane.settings import SettingsError, load_settings

GOOD = os.urandom(32)
PLACEHOLDERS = {
    "zero": bytes(32),
    "one byte": b"\xff" * 32,
    "two bytes": b"\x00\x01" * 16,
    "counting": bytes([1, 2, 3, 4] * 8),
    "text": b"change-me-change-me-change-me-32",
    "short": os.urandom(31),
    "long": os.urandom(33),
    "empty": b"",
}


def spelt(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_what_is_no_key_is_refused_with_the_remedy(name: str, tmp_path: Path) -> None:
    key = PLACEHOLDERS[name]
    file = tmp_path / "kek.json"
    file.write_text(json.dumps({"current": "a", "keys": {"a": spelt(GOOD), "b": spelt(key)}}))
    for settings in (
        load_settings({"TRADEWISE_KEY_PROVIDER": "env", "TRADEWISE_KEK": spelt(key) or "AA=="}),
        load_settings({"TRADEWISE_KEY_PROVIDER": "env", "TRADEWISE_KEK": spelt(GOOD),
            "TRADEWISE_KEK_PREVIOUS": spelt(key) or "AA=="}),
        load_settings({"TRADEWISE_KEK_FILE": str(file)}),
    ):  # fmt: skip
        with pytest.raises(KeyProviderError, match="tradewise keys init") as told:
            key_provider(settings)
        assert spelt(key) == "" or spelt(key) not in str(told.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "tradewise keys init"),
        ("nonsense", "not a key file"),
        ('{"current": "b", "keys": {}}', "is not among the keys"),
        ('{"current": "a", "keys": {"a": "***"}}', "not base64"),
        ('{"current": "a", "keys": {"a": 1}}', "not a key file"),
    ],
)
def test_a_file_that_is_missing_or_wrong_stops_the_start(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "kek.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(KeyProviderError, match=words):
        FileKeyProvider(file)


def test_settings_of_a_provider_that_is_named_are_asked_for() -> None:
    given = {"TRADEWISE_KEY_PROVIDER": "vault"}
    with pytest.raises(SettingsError, match="TRADEWISE_VAULT_ADDRESS"):
        load_settings(given)
    with pytest.raises(SettingsError, match="TRADEWISE_VAULT_TOKEN_FILE"):
        load_settings({**given, "TRADEWISE_VAULT_ADDRESS": "https://vault.example"})
    load_settings({**given, "TRADEWISE_VAULT_ADDRESS": "https://vault.example", "TRADEWISE_VAULT_TOKEN": "t"})
    with pytest.raises(SettingsError, match="TRADEWISE_KEY_SUITE"):
        load_settings({"TRADEWISE_KEY_SUITE": "rot13"})


async def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "kek.json"
    create_kek_file(file)
    agent, operator = FileKeyProvider(file), FileKeyProvider(file)
    first = await agent.wrap(b"key", b"context")
    second_id = await operator.rotate(first.kek_id)
    second = await agent.wrap(b"key", b"context")
    assert (second.kek_id, await agent.current_id()) == (second_id, second_id)
    # What another has wrapped under a key that this one has not seen yet makes it look.
    third_id = await operator.rotate(second_id)
    third = await operator.wrap(b"key", b"context")
    for wrapped in (first, second, third):
        assert await agent.unwrap(wrapped.value, wrapped.kek_id, b"context") == b"key"
        assert (await agent.rewrap(wrapped.value, wrapped.kek_id, b"context")).kek_id == third_id
    with pytest.raises(KeyProviderError, match="altered or moved"):
        await agent.unwrap(third.value, third_id, b"elsewhere")
    with pytest.raises(KeyProviderError, match="not at hand"):
        await agent.unwrap(third.value, "kek-unknown", b"context")
    assert await agent.ready() == f"current key {third_id}, 2 older"
    assert spelt(GOOD) not in repr(agent)


async def test_a_retired_key_opens_nothing(tmp_path: Path) -> None:
    file = tmp_path / "kek.json"
    create_kek_file(file)
    agent = FileKeyProvider(file)
    wrapped = await agent.wrap(b"key", b"c")
    with pytest.raises(KeyProviderError, match="is the current key"):
        await agent.retire(wrapped.kek_id)
    await agent.rotate(wrapped.kek_id)
    with pytest.raises(KeyProviderError, match=r"in 1[0-9]+ s"):
        await agent.retire(wrapped.kek_id)
    long_ago = time.time() - RETIRE_AFTER_S
    os.utime(file, (long_ago, long_ago))
    await FileKeyProvider(file).retire(wrapped.kek_id)
    await agent.current_id()
    with pytest.raises(KeyProviderError, match=f"key-encryption key '{wrapped.kek_id}' is not at hand"):
        await agent.unwrap(wrapped.value, wrapped.kek_id, b"c")


async def test_two_who_rotate_at_once_make_one_key(tmp_path: Path) -> None:
    file = tmp_path / "kek.json"
    create_kek_file(file)
    first = await FileKeyProvider(file).current_id()
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(asyncio.run(FileKeyProvider(file).rotate(first)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1
    assert len(json.loads(file.read_text())["keys"]) == 2


async def test_a_file_that_cannot_be_written_says_where_to_change_it(tmp_path: Path) -> None:
    file = tmp_path / "kek.json"
    create_kek_file(file)
    provider = FileKeyProvider(file)
    # As on a volume that is mounted read-only; a folder in the lock's place refuses root as well.
    (tmp_path / "kek.json.lock").mkdir()
    with pytest.raises(KeyProviderError, match="Kubernetes"):
        await provider.rotate(await provider.current_id())


async def test_keys_of_the_environment_keep_their_names() -> None:
    old, new = os.urandom(32), os.urandom(32)
    before, after = EnvKeyProvider(spelt(old)), EnvKeyProvider(spelt(new), (spelt(old),))
    wrapped = await before.wrap(b"key", b"c")
    assert wrapped.kek_id.startswith("env-")
    assert wrapped.kek_id == await EnvKeyProvider(spelt(old)).current_id() != await after.current_id()
    assert await after.unwrap(wrapped.value, wrapped.kek_id, b"c") == b"key"
    assert await after.unwrap(wrapped.value, "env", b"c") == b"key"  # from before they had names
    assert await after.rotate(wrapped.kek_id) == await after.current_id()
    for provider, words in (
        (before, "put a new key into TRADEWISE_KEK"),
        (LocalKeyProvider({"a": GOOD}, "a"), "from here"),
    ):
        with pytest.raises(KeyProviderError, match=words):
            await provider.rotate(await provider.current_id())
        with pytest.raises(KeyProviderError):
            await provider.retire("x")


def test_replacing_a_file_leaves_one_whole_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert create_private_file(file, b"one")
    assert not create_private_file(file, b"two")
    file.chmod(0o644)
    replace_private_file(file, b"three")
    assert file.read_bytes() == b"three"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(TypeError):
        replace_private_file(file, "text")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b"three"
