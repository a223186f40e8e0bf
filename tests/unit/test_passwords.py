"""Passwords: argon2id, off the event loop, the same work for everybody."""

from __future__ import annotations

import asyncio

from control_plane.security.passwords import Passwords
from control_plane.settings import load_settings


def passwords() -> Passwords:
    return Passwords(load_settings({}, password_memory_kib=19456, password_time_cost=1))


async def test_a_hash_is_argon2id_salted_and_holds_for_its_password_alone() -> None:
    keeper = passwords()
    first, second = await keeper.hash("correct horse"), await keeper.hash("correct horse")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=19456,t=1,p=1$")
    assert "correct" not in first
    assert await keeper.verify(first, "correct horse")
    for wrong in ("", "correct horse ", "Correct horse", "correct\0horse"):
        assert not await keeper.verify(first, wrong)


async def test_one_password_in_two_spellings_is_one_password() -> None:
    keeper = passwords()
    assert await keeper.verify(await keeper.hash("e\u0301tude 1810 x"), "\u00e9tude 1810 x")


async def test_nobody_has_the_password_of_an_unknown_address() -> None:
    keeper = passwords()
    assert not await keeper.verify(None, "a password that nobody has")
    for broken in ("", "none", "$argon2id$broken", "$2b$12$abc"):
        assert not await keeper.verify(broken, "anything")


async def test_the_event_loop_runs_on_meanwhile() -> None:
    keeper = Passwords(load_settings({}, password_memory_kib=65536, password_time_cost=3))
    turns = 0
    work = asyncio.gather(*(keeper.hash("something long") for _ in range(3)))
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    await work
    assert turns > 50
