"""Debian's prometheus-blackbox-exporter, to compare with: fetched where it is missing, never installed."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from tests.bench.target import TOKEN
from tests.e2e.machine import free_port
from tests.waiting import until

_PACKAGE: Final = "prometheus-blackbox-exporter"
_FETCH_S: Final = 600
_CONFIG: Final = f"""
modules:
  bot:
    prober: http
    timeout: 10s
    http:
      preferred_ip_protocol: ip4
      valid_status_codes: [200]
      headers:
        Authorization: "Bearer {TOKEN}"
      fail_if_body_not_matches_regexp: ["trading_state"]
"""


def ensure_exporter() -> Path:
    """The program: of this machine, or unpacked from Debian's package into a folder of our own. Needs no privilege."""
    if found := shutil.which(_PACKAGE):
        return Path(found)
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradewise" / "blackbox"
    program = kept / "usr" / "bin" / _PACKAGE
    if not program.exists():
        if shutil.which("apt-get") is None:
            raise RuntimeError(f"the comparison needs {_PACKAGE}, which this machine's system does not offer")
        sys.stderr.write(f"Fetching {_PACKAGE} from Debian\n")
        kept.mkdir(parents=True, exist_ok=True)
        try:
            _run(("apt-get", "-q", "download", _PACKAGE), kept)
        except subprocess.CalledProcessError:
            # Without lists of packages nothing is found; making them takes an administrator.
            _run(("apt-get", "-q", "update"), kept)
            _run(("apt-get", "-q", "download", _PACKAGE), kept)
        for package in kept.glob("*.deb"):
            _run(("dpkg-deb", "-x", package.name, "."), kept)
            package.unlink()
    return program


def _run(command: tuple[str, ...], folder: Path) -> None:
    subprocess.run(
        command, cwd=folder, check=True, timeout=_FETCH_S, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def probe_url(port: int, target: str) -> str:
    """Asking the exporter for one probe of ``target``."""
    return f"http://127.0.0.1:{port}/probe?{urlencode({'module': 'bot', 'target': target})}"


@asynccontextmanager
async def exporter(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """The exporter at work: its process, and its port."""
    program, port = ensure_exporter(), free_port()
    config = folder / "blackbox.yml"
    config.write_text(_CONFIG, "utf-8")
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        str(program), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        stdin=nowhere, stdout=nowhere, stderr=nowhere,
    )  # fmt: skip

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/healthy", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        await until(lambda: asyncio.to_thread(answers), every_s=0.1, what="the exporter")
        yield process.pid, port
    finally:
        process.terminate()
        await process.wait()
