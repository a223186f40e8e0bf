"""What this program carries: its newest migration and its policies. Every process asks, so nothing heavy is loaded."""

from __future__ import annotations

import functools
import hashlib

from control_plane.database.files import POLICY_FILES, data_folder, policy_text


@functools.cache
def head_revision() -> str:
    """The newest migration: they are one line, and a file's name begins with its number."""
    found = sorted(path.name for path in data_folder("migrations").glob("versions/[0-9][0-9][0-9][0-9]_*.py"))
    if not found:
        raise FileNotFoundError("this installation of tradewise carries no migration; install it again")
    return found[-1].partition("_")[0]


@functools.cache
def policies_digest() -> str:
    """SHA-256 over every policy file, roles included."""
    digest = hashlib.sha256()
    for name in ("roles.sql", *POLICY_FILES):
        digest.update(name.encode() + b"\0" + policy_text(name).encode() + b"\0")
    return digest.hexdigest()
