"""A sealed value opens in its own place and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.security.keyproviders import LocalKeyProvider
from control_plane.security.sealing import Place, PublicKey, Sealed, UnknownSuiteError, info_for, seal
from control_plane.security.secret import Secret
from control_plane.security.vault import KeyPair, OpenError, Vault

T = TypeVar("T")
VAULT = Vault(LocalKeyProvider({"a": os.urandom(32)}, "a"))


def opened(sealed: Sealed, pair: KeyPair, place: Place, vault: Vault = VAULT) -> Secret:
    """Open at once: with a key at hand nothing is ever waited for."""
    return run(vault.open(sealed, pair, place))


def made(tenant_id: UUID, version: int) -> KeyPair:
    return run(VAULT.generate(tenant_id, version))


def run(work: Coroutine[Any, Any, T]) -> T:
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a local key provider waits for nothing")


TENANT = UUID(int=1)
PAIR = made(TENANT, 1)
KEY = PublicKey(raw=PAIR.public_key, version=1, suite=PAIR.suite)

places = st.builds(
    Place, tenant_id=st.just(TENANT), table=st.text(max_size=20), column=st.text(max_size=20), row_id=st.uuids()
)


@given(st.binary(max_size=2000), places)
def test_what_is_sealed_opens_again(value: bytes, place: Place) -> None:
    sealed = seal(value, KEY, place)
    assert len(value) < 8 or value not in sealed.value
    assert seal(value, KEY, place).value != sealed.value
    assert opened(sealed, PAIR, place).reveal() == value


@given(places, places)
def test_it_opens_at_no_other_place(place: Place, other: Place) -> None:
    sealed = seal(b"value", KEY, place)
    if other == place:
        return
    with pytest.raises(OpenError) as told:
        opened(sealed, PAIR, other)
    assert "value" not in str(told.value).replace("sealed value", "")


@given(places, st.sampled_from(["tenant_id", "table", "column", "row_id"]))
def test_each_part_of_the_place_counts(place: Place, part: str) -> None:
    strange: dict[str, Any] = {"tenant_id": UUID(int=2), "table": place.table + "x", "column": place.column + "x"}
    strange["row_id"] = UUID(int=place.row_id.int ^ 1)
    with pytest.raises(OpenError):
        opened(seal(b"v", KEY, place), PAIR, msgspec.structs.replace(place, **{part: strange[part]}))


@given(places, st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_does_not_open(place: Place, position: int, difference: int) -> None:
    sealed = seal(b"some value", KEY, place)
    raw = bytearray(sealed.value)
    raw[position % len(raw)] ^= difference
    with pytest.raises(OpenError):
        opened(msgspec.structs.replace(sealed, value=bytes(raw)), PAIR, place)


@given(st.binary(max_size=200))
def test_what_was_never_sealed_does_not_open(value: bytes) -> None:
    with pytest.raises(OpenError):
        opened(Sealed(value, 1, 1), PAIR, Place(TENANT, "t", "c", UUID(int=3)))


@given(places, places)
def test_no_two_places_share_one_spelling(one: Place, other: Place) -> None:
    assert (info_for(one, 1) == info_for(other, 1)) == (one == other)
    assert info_for(one, 1) != info_for(one, 2)


def test_another_version_tenant_or_key_does_not_open() -> None:
    place = Place(TENANT, "t", "c", UUID(int=3))
    sealed = seal(b"v", KEY, place)
    second = made(TENANT, 2)
    stranger = made(UUID(int=2), 1)
    swapped = KeyPair(**{**msgspec.structs.asdict(second), "version": 1})
    moved = KeyPair(**{**msgspec.structs.asdict(stranger), "tenant_id": TENANT})
    destroyed = KeyPair(**{**msgspec.structs.asdict(PAIR), "wrapped_private_key": None})
    for pair in (second, stranger, swapped, moved, destroyed):
        with pytest.raises(OpenError):
            opened(sealed, pair, place)
    with pytest.raises(OpenError):
        opened(msgspec.structs.replace(sealed, key_version=2), second, place)
    with pytest.raises(OpenError):
        opened(msgspec.structs.replace(sealed, suite=9), PAIR, place)
    with pytest.raises(UnknownSuiteError, match="upgrade"):
        seal(b"v", PublicKey(KEY.raw, 1, 9), place)
    with pytest.raises(OpenError):
        opened(sealed, PAIR, place, Vault(LocalKeyProvider({"a": os.urandom(32)}, "a")))
    assert opened(sealed, PAIR, place).reveal() == b"v"
