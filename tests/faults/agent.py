"""``tradewise agent``, less patient: ``python -m tests.faults.agent launcher '{"first_delay": 0.5}'``.

The second word changes the launcher's policy, of which an operator sets only a part; all else is as in production.
"""

from __future__ import annotations

import sys
from typing import Any

import asyncpg
import msgspec

from agents.agent import run_forever
from agents.launcher.agent import Launcher
from agents.launcher.leadership import Leadership
from agents.launcher.steps import policy_of
from agents.poller.agent import make_poller
from control_plane.logs import configure_logging
from control_plane.security.vault import Vault
from control_plane.settings import Settings, load_settings


def main(kind: str, patience: dict[str, Any]) -> None:
    """Run until SIGTERM."""

    def launcher(settings: Settings, pool: asyncpg.Pool, vault: Vault) -> Launcher:
        silent_after_s = patience.pop("silent_after_s")
        made = Launcher(settings, pool, vault, msgspec.structs.replace(policy_of(settings), **patience))
        made._leadership = Leadership(pool, silent_after_s)
        return made

    settings = load_settings()
    configure_logging(settings.log_level, process=kind)
    run_forever(launcher if kind == "launcher" else make_poller, kind, settings)


if __name__ == "__main__":
    main(sys.argv[1], msgspec.json.decode(sys.argv[2]))
