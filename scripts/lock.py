"""Write the hash-checked lock files of `requirements/` from `pyproject.toml`, or check that they are fresh.

Each lock file begins with a hash of what it was made from, so the check needs neither a network nor a resolver.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON_FLOOR = "3.11"

# Compiled in this order: `dev` holds everything and constrains the others, so that a thing has one version everywhere.
LOCKS: dict[str, tuple[str, ...]] = {
    "dev": ("pyproject.toml", "--group", "dev"),
    "runtime": ("pyproject.toml", "--constraints", "requirements/dev.txt"),
    "build": ("--group", "build", "--constraints", "requirements/dev.txt"),
    "node": ("--group", "node"),
    "locking": ("--group", "locking"),
    "bench": ("--group", "bench", "--constraints", "requirements/dev.txt"),
}

# What goes into the image of hosted freqtrade bots: a program of its own, with nothing to agree on with ours.
IMAGE_LOCK = "agents/freqtrade_bot/requirements"
_IMAGE_OPTIONS = ("--no-binary", "sdnotify")  # published as source only

# No line may say where a package was found: the hashes say what it is, the settings of the machine where to look.
_OPTIONS = (
    "--universal", "--generate-hashes", "--only-binary", ":all:", "--no-annotate", "--no-header",
    "--no-emit-index-url", "--no-emit-find-links", "--no-emit-build-options", "--quiet",
)  # fmt: skip


def inputs_hash(pyproject: dict[str, Any]) -> str:
    """Return a hash of everything in pyproject.toml that a lock file follows from."""
    project = pyproject["project"]
    inputs = {
        "dependencies": project["dependencies"],
        "groups": pyproject["dependency-groups"],
        "python": project["requires-python"],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _header(pyproject: dict[str, Any]) -> str:
    return f"# Written by `make lock` from pyproject.toml. Inputs: sha256:{inputs_hash(pyproject)}\n"


def compile_all(root: Path) -> None:
    """Resolve each lock file anew, keeping the versions it holds where they still fit."""
    header = _header(_read_pyproject(root))
    for name, sources in LOCKS.items():
        target = f"requirements/{name}.txt"
        print(f"Resolving {target}", file=sys.stderr, flush=True)
        uv = (sys.executable, "-m", "uv", "pip", "compile", *sources, "--output-file", target)
        subprocess.run((*uv, "--python-version", PYTHON_FLOOR, *_OPTIONS), cwd=root, check=True)
        path = root / target
        path.write_text(header + path.read_text("utf-8"), "utf-8")
    target = f"{IMAGE_LOCK}.txt"
    print(f"Resolving {target}", file=sys.stderr, flush=True)
    uv = (sys.executable, "-m", "uv", "pip", "compile", f"{IMAGE_LOCK}.in", "--output-file", target)
    subprocess.run((*uv, "--python-version", PYTHON_FLOOR, *_OPTIONS, *_IMAGE_OPTIONS), cwd=root, check=True)
    path = root / target
    path.write_text(_image_header(root) + path.read_text("utf-8"), "utf-8")


def problems(root: Path) -> list[str]:
    """Return what is wrong with the lock files, one sentence each; an empty list means they are fresh."""
    header = _header(_read_pyproject(root))
    expected = {f"requirements/{name}.txt": (header, "pyproject.toml") for name in LOCKS}
    expected[f"{IMAGE_LOCK}.txt"] = (_image_header(root), f"{IMAGE_LOCK}.in")
    found: list[str] = []
    for name, (begins, source) in expected.items():
        path = root / name
        text = path.read_text("utf-8") if path.is_file() else ""
        if not text.startswith(begins):
            found.append(f"{name} is older than {source}: run `make lock`")
        if "://" in text or "\n--" in text:
            found.append(f"{name} says where packages come from; only names and hashes belong there")
    return found


def _image_header(root: Path) -> str:
    inputs = (root / f"{IMAGE_LOCK}.in").read_bytes()
    return f"# Written by `make lock` from requirements.in. Inputs: sha256:{hashlib.sha256(inputs).hexdigest()}\n"


def _read_pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def main() -> int:
    """Compile, or with `--check` only compare; return the exit status."""
    if "--check" not in sys.argv[1:]:
        compile_all(ROOT)
        return 0
    found = problems(ROOT)
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
