"""An intruder who holds everything that the API process has: none of it opens one stored token.

Everything is the environment as `tradewise up` builds it, every file and folder that this environment names, the
program's own modules, and the database role tradewise_api with every function that it may execute. What the intruder
finds is tried as a key in every way that a key could be used here.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.processes import agent_process, api_process
from control_plane.security.keyproviders import KeyProviderError, LocalKeyProvider, create_kek_file, key_provider
from control_plane.security.sealing import Place, Sealed, info_for
from control_plane.security.suites import suite
from control_plane.security.vault import KeyPair, OpenError, Vault, wrap_context
from control_plane.settings import Settings, load_settings
from tests.api import Api
from tests.factories import Urls
from tests.security.test_secrets import found_in, mark, spellings
from tests.world import external_body, template_body

SECRET_SETTINGS = {
    "TRADEWISE_VAULT_TOKEN": "hvs.planted-token-of-vault",
    "TRADEWISE_VAULT_ADDRESS": "https://vault.example",
    "TRADEWISE_KEK_PREVIOUS": base64.b64encode(os.urandom(32)).decode(),
    "TRADEWISE_SMTP_URL": "smtp://user:planted-smtp-password@example.com",
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings as `up` has them, with its key file, in an environment with the secrets that an operator may set."""
    for name, text in SECRET_SETTINGS.items():
        monkeypatch.setenv(name, text)
    settings = load_settings({}, data_dir=tmp_path / "data")
    create_kek_file(settings.effective_kek_file)
    return settings


@pytest.fixture
def told(machine: Settings, urls: Urls) -> Mapping[str, str]:
    """The environment of the API's process."""
    return api_process(machine, urls["api"], "127.0.0.1", 8000).environment


@pytest.fixture
def vault(machine: Settings) -> Vault:
    """The agents' vault of that machine: what is stored can really be opened, by them."""
    return Vault(key_provider(machine))


def files_named(environment: Mapping[str, str]) -> Iterator[Path]:
    """Every file that a value names, and every file below a folder that one names; not the whole machine's."""
    for name, value in environment.items():
        if not name.startswith("TRADEWISE_"):
            continue  # PATH and HOME name everything and nothing
        for word in re.split(r"[,:;?&=\s]", value):
            path = Path(word)
            if word.startswith("/") and path.is_file():
                yield path
            elif word.startswith("/") and path.is_dir() and path != Path("/") and not (path / ".s.PGSQL.5432").exists():
                yield from (file for file in path.rglob("*") if file.is_file())


async def rows_seen(web: asyncpg.Connection, tenant: Any, user: Any) -> list[Any]:
    """All that the role reads, in every tenant: each column it may select, each function that it may execute."""
    seen: list[Any] = []
    columns = await web.fetch(
        "select c.oid::regclass::text as relation, a.attname::text as name from pg_class c join pg_attribute a"
        " on a.attrelid = c.oid where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')"
        " and a.attnum > 0 and has_column_privilege(c.oid, a.attnum, 'select')"
    )
    functions = await web.fetch(
        "select p.proname::text as name, p.proargtypes::regtype[]::text[] as types from pg_proc p"
        " where p.pronamespace = 'public'::regnamespace and has_function_privilege(p.oid, 'execute')"
        " and p.prokind = 'f' and p.prorettype <> 'trigger'::regtype"
    )
    assert len(columns) > 100
    assert len(functions) > 8
    for row in columns:
        seen += await _tried(web, tenant, user, f'select "{row["name"]}" as v from {row["relation"]}')
    guesses = {
        "uuid": [f"'{tenant}'", f"'{user}'"],
        "text": ["'bots'", "'sealed'", "''"],
        "integer": ["1"], "smallint": ["1"], "bigint": ["1"], "bytea": ["'x'"], "boolean": ["true"],
        "interval": ["'1 hour'"], "jsonb": ["'{}'"], "timestamp with time zone": ["now()"], "inet": ["'::1'"],
    }  # fmt: skip
    for row in functions:
        choices = [[f"{guess}::{kind}" for guess in guesses.get(kind, ["null"])] for kind in row["types"]]
        for arguments in itertools.islice(itertools.product(*choices), 12):
            seen += await _tried(web, tenant, user, f"select f as v from {row['name']}({', '.join(arguments)}) f")
    return seen


async def _tried(web: asyncpg.Connection, tenant: Any, user: Any, statement: str) -> list[Any]:
    transaction = web.transaction()
    await transaction.start()
    try:
        await web.execute("select set_config('app.tenant_id', $1, true), set_config('app.user_id', $2, true)",
            str(tenant), str(user))  # fmt: skip
        return [row["v"] for row in await web.fetch(statement)]
    except asyncpg.PostgresError:
        return []
    finally:
        await transaction.rollback()


def keys_in(material: list[bytes]) -> Iterator[bytes]:
    """Every 32 bytes that could be a key: as they stand, and as base64 or hexadecimal spells them."""
    for raw in material:
        if len(raw) == 32:
            yield raw
        for found in re.findall(rb"[A-Za-z0-9+/_-]{43}=?", raw):
            text = found.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
            yield base64.b64decode(text + b"=")
        for found in re.findall(rb"[0-9a-fA-F]{64}", raw):
            yield bytes.fromhex(found.decode())


def as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return str(value).encode()


async def test_nothing_that_the_api_process_has_opens_a_stored_token(
    api: Api, admin: asyncpg.Connection, machine: Settings, vault: Vault, told: Mapping[str, str]
) -> None:
    person = await api.person()
    token = mark("token")
    await person.call("POST", "/bots", json=external_body(credentials={"token": token}), status=201)
    await person.call("POST", "/templates", json=template_body(config={"mine": token}), status=201)
    # The thief has the stolen dump as well: the sealed rows and the wrapped keys, which the role itself cannot read.
    sealed = [
        (Place(row["tenant_id"], row["relation"], row["name"], row["id"]), Sealed(row["value"], row["version"], 1))
        for row in await admin.fetch(
            "select id, tenant_id, 'bot_secrets' as relation, 'sealed' as name, sealed as value, key_version as version"
            " from bot_secrets union all select id, tenant_id, 'template_versions', 'config_sealed', config_sealed,"
            " config_key_version from template_versions"
        )
    ]
    pairs = [
        KeyPair(**dict(row))
        for row in await admin.fetch(
            "select tenant_id, version, suite, public_key, wrapped_private_key, kek_id from tenant_keys"
        )
    ]
    assert len(sealed) == 2
    pair = next(each for each in pairs if each.tenant_id == person.tenant_id)
    for place, value in sealed:
        assert token.encode() in (await vault.open(value, pair, place)).reveal()  # agents can

    files = list(files_named(told))
    web = await asyncpg.connect(told["TRADEWISE_DATABASE_URL"])
    assert await web.fetchval("select current_user") == "tradewise_api"
    rows = await rows_seen(web, person.tenant_id, person.user_id)
    await web.close()
    assert len(rows) > 100

    texts = [*told.values(), *(file.read_text("utf-8", "replace") for file in files), *map(str, rows)]
    planted = {"token": token, **{name: text for name, text in SECRET_SETTINGS.items() if "ADDRESS" not in name}}
    for text in texts:
        assert found_in(text, planted) == []
    assert machine.effective_kek_file not in files
    kek_text = machine.effective_kek_file.read_text()
    for kek in re.findall(r"[A-Za-z0-9+/]{43}=", kek_text):
        assert not any(spelling in text for text in texts for spelling in spellings(kek))

    material = [as_bytes(value) for value in (*told.values(), *(file.read_bytes() for file in files), *rows)]
    tried = await tried_as_keys(material, pair, sealed)
    assert tried > 3  # there were things to try: digests of tokens, public keys, the API's own data key


async def tried_as_keys(material: list[bytes], pair: KeyPair, sealed: list[tuple[Place, Sealed]]) -> int:
    """Use each as the key-encryption key, as the private half itself, and as a key of the value's own cipher."""
    tried = 0
    assert pair.wrapped_private_key is not None
    for key in set(keys_in(material)):
        tried += 1
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(
                pair.wrapped_private_key[:12], pair.wrapped_private_key[12:], wrap_context(pair.tenant_id, pair.version)
            )
        for place, value in sealed:
            with pytest.raises(InvalidTag):
                suite(1).hpke.decrypt(
                    value.value, X25519PrivateKey.from_private_bytes(key), info=info_for(place, value.key_version)
                )
            try:
                provider = LocalKeyProvider({pair.kek_id: key}, pair.kek_id)
            except KeyProviderError:
                continue
            with pytest.raises(OpenError):
                await Vault(provider).open(value, pair, place)
    return tried


async def test_the_attack_would_succeed_if_the_key_were_there(
    api: Api, admin: asyncpg.Connection, machine: Settings, vault: Vault
) -> None:
    """The same attack, with the key file among what was found: it must be able to fail."""
    person = await api.person()
    await person.call("POST", "/bots", json=external_body(credentials={"token": mark("token")}), status=201)
    row = await admin.fetchrow(
        "select tenant_id, version, suite, public_key, wrapped_private_key, kek_id from tenant_keys"
        " where tenant_id = $1",
        person.tenant_id,
    )
    material = [machine.effective_kek_file.read_bytes()]
    with pytest.raises(pytest.fail.Exception):
        await tried_as_keys(material, KeyPair(**dict(row)), [])


def test_agents_get_what_the_api_does_not(machine: Settings, urls: Urls, told: Mapping[str, str]) -> None:
    given = agent_process(machine, "scheduler", urls["agent_scheduler"], None).environment
    for name in ("TRADEWISE_VAULT_TOKEN", "TRADEWISE_VAULT_ADDRESS", "TRADEWISE_KEK_PREVIOUS"):
        assert given[name] == SECRET_SETTINGS[name]
        assert name not in told
    for name in ("TRADEWISE_KEK", "TRADEWISE_KEK_FILE", "TRADEWISE_KEY_PROVIDER", "TRADEWISE_SMTP_URL"):
        assert name not in told
    settings: Settings = load_settings(told)
    with pytest.raises(KeyProviderError, match="no key-encryption key"):
        key_provider(settings)
    assert msgspec.structs.replace(settings, kek=None) is not None
