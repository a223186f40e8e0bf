"""How long sealing and opening take: `python -m tests.bench.sealing`. The bars are 200 and 100 microseconds.

Opening is the whole of `Vault.open`: the private half unwrapped, loaded and used. Time is that of the processor, so
that neighbours count less. Each figure is the median over rounds of the mean of a round.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

from control_plane.security.keyproviders import FileKeyProvider, create_kek_file
from control_plane.security.sealing import Place, PublicKey, Sealed, seal
from control_plane.security.suites import SUITES
from control_plane.security.vault import KeyPair, Vault

_ROUNDS = 15
_CALLS = 400
_TOKEN = os.urandom(32).hex().encode()


async def _measure(work: Callable[[], Awaitable[object]]) -> str:
    means = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(_CALLS):
            await work()
        means.append((time.process_time() - began) / _CALLS * 1e6)
    return f"{statistics.median(means):6.1f} µs   (best {min(means):.1f}, worst {max(means):.1f})"


async def main() -> None:
    """Print one line for each suite and direction."""
    tenant = UUID(int=1)
    place = Place(tenant, "bot_secrets", "sealed", UUID(int=2))
    with tempfile.TemporaryDirectory() as folder:
        create_kek_file(Path(folder) / "kek.json")
        for number, suite in SUITES.items():
            vault = Vault(FileKeyProvider(Path(folder) / "kek.json"), new_pairs=number)
            pair: KeyPair = await vault.generate(tenant, 1)
            key = PublicKey(pair.public_key, 1, number)
            sealed = seal(_TOKEN, key, place)

            async def sealing(key: PublicKey = key) -> Sealed:
                return seal(_TOKEN, key, place)

            async def opening(vault: Vault = vault, pair: KeyPair = pair, sealed: Sealed = sealed) -> object:
                return await vault.open(sealed, pair, place)

            print(f"{suite.name:16} seal {await _measure(sealing)}")
            print(f"{suite.name:16} open {await _measure(opening)}")


if __name__ == "__main__":
    asyncio.run(main())
