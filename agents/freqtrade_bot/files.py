"""The files that freqtrade reads, on a file system of the container's memory, readable by this user alone.

They stay as long as the bot runs: freqtrade reads its configuration again when it is told to reload. Nothing of them
is ever on the disk of the engine, and with the container they are gone.
"""

import json
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .handover import Document

#: Memory of the container, the better one first: what may not be written any more is passed over.
PLACES = (Path("/run"), Path(tempfile.gettempdir()))
#: Where an image of the operator's own may bring strategies.
BUILT_IN_STRATEGIES = Path("/opt/strategies")
_TOKEN_BYTES = 48


@dataclass(frozen=True, slots=True)
class Written:
    """What was written and where."""

    folder: Path
    config: Path
    user_data: Path

    def remove(self) -> None:
        """Take all of it away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write(document: Document, places: tuple[Path, ...] = PLACES) -> Written:
    """Write the configuration and the strategy. Raises OSError where there is no place for them."""
    user_data = document.data_dir / "user_data"
    (user_data / "strategies").mkdir(parents=True, exist_ok=True)
    place = next((place for place in places if os.access(place, os.W_OK)), places[-1])
    folder = Path(tempfile.mkdtemp(prefix="freqtrade-", dir=place))
    strategies = BUILT_IN_STRATEGIES
    if document.strategy_source is not None:
        strategies = folder / "strategies"
        strategies.mkdir()
        _write(strategies / f"{document.strategy.lower()}.py", document.strategy_source)
    config = folder / "config.json"
    _write(config, json.dumps(configuration(document, user_data=user_data, strategies=strategies)))
    return Written(folder, config, user_data)


def configuration(document: Document, *, user_data: Path, strategies: Path) -> dict[str, Any]:
    """The whole configuration. What is said here wins: it decides who reaches the bot and what it keeps."""
    # Trades that were only simulated must never be taken for positions, nor the reverse.
    kept = "dryrun" if document.config.get("dry_run", True) else "live"
    config = {
        **document.config,
        "bot_name": document.bot_id,
        "strategy": document.strategy,
        "user_data_dir": str(user_data),
        "db_url": f"sqlite:///{document.data_dir / f'trades.{kept}.sqlite'}",
        "api_server": {
            "enabled": True,
            "listen_ip_address": document.host,
            "listen_port": document.port,
            "verbosity": "error",
            "enable_openapi": False,
            "CORS_origins": [],
            "username": document.username,
            "password": document.password,
            # Nobody outside needs these two: they are new with each start.
            "jwt_secret_key": secrets.token_urlsafe(_TOKEN_BYTES),
            "ws_token": secrets.token_urlsafe(_TOKEN_BYTES),
        },
    }
    if strategies.is_dir():
        config["strategy_path"] = str(strategies)
    return config


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="utf-8") as file:
        file.write(text)
