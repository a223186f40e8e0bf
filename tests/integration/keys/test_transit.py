"""HashiCorp Vault's transit engine as the provider, over HTTP, against a server that answers as it is documented."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents.keys import providers
from agents.keys.commands import retire, rotate_wraps, status
from agents.keys.transit import TransitKeyProvider
from control_plane.security.keyproviders import (
    KeyProviderError,
    KeyProviderRefusedError,
    KeyProviderUnavailableError,
)
from control_plane.security.sealing import Place, PublicKey, Sealed, seal
from control_plane.security.vault import CACHE_S, CACHE_SIZE, KeyPair, KeyUnusableError, Vault
from control_plane.settings import Settings, load_settings
from tests.factories import Factory, Urls
from tests.integration.keys.safes import Readers, kek_ids, platform_pair, safe
from tests.servers.vault_server import VaultServer, serving

TOKEN = "hvs.planted-vault-token"
RAW = b"private-half-of-a-key-pair-32byt"


@pytest.fixture
async def server() -> AsyncIterator[VaultServer]:
    async with serving(VaultServer(token=TOKEN)) as running:
        yield running


@pytest.fixture
def settings(server: VaultServer, tmp_path: Path) -> Settings:
    """Settings that name the server; what the environment says of proxies must not matter."""
    return using(server, data_dir=tmp_path)


def using(server: VaultServer, **changes: object) -> Settings:
    given = {"TRADEWISE_KEY_PROVIDER": "vault", "TRADEWISE_VAULT_ADDRESS": server.address}
    return msgspec.structs.replace(load_settings({**given, "TRADEWISE_VAULT_TOKEN": TOKEN}), **changes)


@pytest.mark.parametrize("derived", [True, False])
async def test_a_key_is_wrapped_bound_and_rewrapped(server: VaultServer, settings: Settings, *, derived: bool) -> None:
    key = server.key(derived=derived)
    provider = TransitKeyProvider(settings)
    assert "current key vault:transit/tradewise:v1" in await provider.ready()
    assert await provider.current_id() == "vault:transit/tradewise:v1"
    wrapped = await provider.wrap(RAW, b"tenant 1")
    assert wrapped.value.startswith(b"vault:v1:")
    assert await provider.unwrap(wrapped.value, wrapped.kek_id, b"tenant 1") == RAW
    with pytest.raises(KeyProviderError, match="altered or moved"):
        await provider.unwrap(wrapped.value, wrapped.kek_id, b"tenant 2")
    with pytest.raises(KeyProviderError, match="not one of the transit key"):
        await provider.unwrap(wrapped.value, "vault:transit/tradewise:v2", b"tenant 1")
    assert await provider.rotate(wrapped.kek_id) == "vault:transit/tradewise:v2"
    assert await provider.rotate(wrapped.kek_id) == "vault:transit/tradewise:v2"
    assert key.latest == 2
    server.asked.clear()
    again = await provider.rewrap(wrapped.value, wrapped.kek_id, b"tenant 1")
    assert again.kek_id == "vault:transit/tradewise:v2"
    # With a derived key the private half never leaves Vault; its rewrap knows no associated data.
    assert [path.split("/")[3] for _, path, _ in server.asked] == (["rewrap"] if derived else ["decrypt", "encrypt"])
    assert await provider.unwrap(again.value, again.kek_id, b"tenant 1") == RAW
    assert await provider.unwrap(wrapped.value, wrapped.kek_id, b"tenant 1") == RAW
    with pytest.raises(KeyProviderError, match="is the current key"):
        await provider.retire(again.kek_id)
    with pytest.raises(KeyProviderError, match="no version of the transit key"):
        await provider.retire("kek-1234")
    await provider.retire(wrapped.kek_id)
    assert key.min_decryption_version == 2
    with pytest.raises(KeyProviderError, match="version is retired"):
        await provider.unwrap(wrapped.value, wrapped.kek_id, b"tenant 1")
    assert await provider.unwrap(again.value, again.kek_id, b"tenant 1") == RAW
    await provider.close()


@pytest.mark.parametrize("derived", [True, False])
async def test_a_whole_rotation(
    server: VaultServer, settings: Settings, factory: Factory, admin: asyncpg.Connection, readers: Readers, urls: Urls,
    *, derived: bool,
) -> None:  # fmt: skip
    server.key(derived=derived)
    vault = providers.vault_for(settings)
    factory.vault = vault
    safes = [await safe(factory, name) for name in ("ada", "bob", "cyd")]
    await platform_pair(admin, vault)
    url, said = urls["agent_scheduler"], list[str]()
    await rotate_wraps(settings, url, said.append, dry_run=True)
    assert said == ["would make a new key and put 4 key pairs under it"]
    await rotate_wraps(settings, url, said.append, dry_run=False)
    assert said[-2] == "done: 4 moved"
    assert await kek_ids(admin) == {"vault:transit/tradewise:v2"}
    assert "vault:transit/tradewise:v2: 4 key pairs (current)" in await status(settings, url)
    for each in safes:
        await each.opens(readers, vault)
    await retire(settings, url, "vault:transit/tradewise:v1", said.append)
    fresh = providers.vault_for(settings)
    for each in safes:
        await each.opens(readers, fresh)
    for used in (vault, fresh):
        await used.provider.close()
    everything = str(await admin.fetch("table tenant_keys")) + "".join(said)
    assert TOKEN not in everything


async def test_vault_goes_away_in_the_middle_and_comes_back(
    server: VaultServer, settings: Settings, factory: Factory, admin: asyncpg.Connection, readers: Readers, urls: Urls
) -> None:
    server.key()
    vault = providers.vault_for(settings)
    factory.vault = vault
    safes = [await safe(factory, f"t{number}", bots=1, versions=0) for number in range(12)]
    calls = 0

    def seal_soon(path: str) -> None:
        nonlocal calls
        calls += "/rewrap/" in path
        server.sealed = calls > 6

    server.hook = seal_soon
    said: list[str] = []
    with pytest.raises(KeyProviderUnavailableError, match="unseal it"):
        await rotate_wraps(settings, urls["agent_scheduler"], said.append, dry_run=False, batch=4)
    assert await kek_ids(admin) == {"vault:transit/tradewise:v1", "vault:transit/tradewise:v2"}
    # Opened a moment ago, or not: an agent sees a provider that is away, not a secret that is broken.
    with pytest.raises(ConnectionError):
        await safes[0].opens(readers, vault)
    server.hook, server.sealed = None, False
    await rotate_wraps(settings, urls["agent_scheduler"], said.append, dry_run=False)
    assert server.keys["tradewise"].latest == 2
    assert await kek_ids(admin) == {"vault:transit/tradewise:v2"}
    assert await admin.fetchval("select (count(*), max(done), max(failed)) = (1, 12, 0) from key_rotations")
    for each in safes:
        await each.opens(readers, vault)
    await vault.provider.close()


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ("sealed", KeyProviderUnavailableError, "unseal it"),
        ("token", KeyProviderRefusedError, "refuses our token"),
        ("key", KeyProviderRefusedError, "no transit key transit/absent"),
        ("mount", KeyProviderRefusedError, "secrets enable -path=elsewhere transit"),
        ("namespace", KeyProviderRefusedError, "refuses our token"),
        ("kind", KeyProviderError, "type rsa-2048"),
        ("redirect", KeyProviderRefusedError, "do not follow"),
        ("port", KeyProviderUnavailableError, "does not answer"),
        ("name", KeyProviderError, "TRADEWISE_VAULT_TRANSIT_KEY"),
        ("token file", KeyProviderRefusedError, "TRADEWISE_VAULT_TOKEN_FILE"),
        ("header", KeyProviderRefusedError, "holds what no token holds"),
    ],
)
async def test_what_is_wrong_is_told_with_the_remedy_and_without_the_token(
    server: VaultServer, settings: Settings, tmp_path: Path, wrong: str, kind: type[Exception], words: str
) -> None:
    server.key(kind="rsa-2048" if wrong == "kind" else "aes256-gcm96")
    server.sealed = wrong == "sealed"
    server.redirect_to = "http://127.0.0.1:1/" if wrong == "redirect" else None
    changes: dict[str, dict[str, object]] = {
        "token": {"vault_token": TOKEN + "x"},
        "key": {"vault_transit_key": "absent"},
        "mount": {"vault_transit_mount": "elsewhere"},
        "namespace": {"vault_namespace": "team"},
        "port": {"vault_address": "http://127.0.0.1:1"},
        "name": {"vault_transit_key": "../sys/seal"},
        "token file": {"vault_token_file": tmp_path / "absent"},
        "header": {"vault_token": TOKEN + "\r\nX-Evil: 1"},
    }
    with pytest.raises(KeyProviderError, match=words) as told:
        await providers.ready(msgspec.structs.replace(settings, **changes.get(wrong, {})))
    assert type(told.value) is kind
    assert TOKEN not in str(told.value)
    assert told.value.__suppress_context__ or told.value.__context__ is None


async def test_token_and_namespace_reach_vault_and_a_new_token_is_read_when_it_comes(
    server: VaultServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key()
    server.namespace = "team/a"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    given = msgspec.structs.replace(settings, vault_token=None, vault_token_file=file, vault_namespace="team/a")
    provider = TransitKeyProvider(given)
    await provider.ready()
    server.token = "hvs.renewed"
    with pytest.raises(KeyProviderRefusedError, match="refuses our token"):
        await provider.current_id()
    file.write_text("hvs.renewed")
    os.utime(file, (1, 1))
    await provider.ready()
    assert TOKEN not in repr(provider)
    await provider.close()


async def test_its_certificate_is_checked_against_the_file_that_is_named(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    server = VaultServer(token=TOKEN)
    server.key()
    async with serving(server, ssl_certfile=str(certificate), ssl_keyfile=str(key)):
        assert "current key" in await providers.ready(using(server, vault_ca_file=certificate))
        with pytest.raises(KeyProviderUnavailableError, match="TRADEWISE_VAULT_CA_FILE"):
            await providers.ready(using(server))
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(KeyProviderError, match="no certificates"):
        await providers.ready(using(server, vault_ca_file=empty))


async def test_what_is_not_vault_is_not_taken_for_it(server: VaultServer, settings: Settings) -> None:
    server.key()
    provider = TransitKeyProvider(settings)
    await provider.ready()
    nonsense: list[Any] = [{"ciphertext": "vault:v1:*"}, {}, {"plaintext": 1}, {"ciphertext": 1, "plaintext": "*"}]
    for data in nonsense:
        server.instead = data
        with pytest.raises(KeyProviderRefusedError, match="is not Vault's"):
            await provider.wrap(RAW, b"c")
        with pytest.raises(KeyProviderRefusedError, match="is not Vault's"):
            await provider.unwrap(b"vault:v1:AAAA", "vault:transit/tradewise:v1", b"c")
    await provider.close()


async def test_unwrapped_keys_are_kept_five_minutes_and_no_longer(server: VaultServer, settings: Settings) -> None:
    server.key()
    now = 0.0
    vault = Vault(TransitKeyProvider(settings), clock=lambda: now)
    tenant = UUID(int=7)
    pair = await vault.generate(tenant, 1)
    place = Place(tenant, "t", "c", UUID(int=9))
    sealed = seal(b"value", PublicKey(pair.public_key, 1, pair.suite), place)
    server.asked.clear()

    async def asked() -> int:
        assert (await vault.open(sealed, pair, place)).reveal() == b"value"
        return sum("/decrypt/" in path for _, path, _ in server.asked)

    assert [await asked(), await asked()] == [1, 1]
    now = CACHE_S - 1
    assert await asked() == 1
    now = CACHE_S
    assert [await asked(), await asked()] == [2, 2]
    # A row that says that the key was destroyed is refused at once, whatever is kept.
    with pytest.raises(KeyUnusableError, match="destroyed"):
        await vault.open(sealed, msgspec.structs.replace(pair, wrapped_private_key=None), place)
    # And what is kept is kept for the wrapped key that it came from, not for its name.
    with pytest.raises(KeyUnusableError):
        await vault.open(sealed, msgspec.structs.replace(pair, wrapped_private_key=b"vault:v1:AAAA"), place)
    vault._cache.update({(UUID(int=n), 1, "k", b""): (now + 9, None) for n in range(CACHE_SIZE)})
    other = await vault.generate(UUID(int=5), 1)
    spot = Place(UUID(int=5), "t", "c", UUID(int=9))
    theirs: Sealed = seal(b"x", PublicKey(other.public_key, 1, other.suite), spot)
    await vault.open(theirs, other, spot)
    assert len(vault._cache) <= CACHE_SIZE
    await vault.provider.close()


async def test_agents_keys_pass_no_secret_to_vaults_log_but_what_it_must_wrap(
    server: VaultServer, settings: Settings
) -> None:
    server.key()
    vault = providers.vault_for(settings)
    pair: KeyPair = await vault.generate(UUID(int=1), 1)
    assert {path for _, path, _ in server.asked} == {"/v1/transit/keys/tradewise", "/v1/transit/encrypt/tradewise"}
    assert all(TOKEN.encode() not in body for _, _, body in server.asked)
    assert pair.kek_id == "vault:transit/tradewise:v1"
    await vault.provider.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vault.test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    certificate, private = folder / "ca.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private
