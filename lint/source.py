"""What the rules look at and what they say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

# Made by tools, not by us.
_SKIPPED_FOLDERS = frozenset({"node_modules", "dist", "build", "__pycache__"})
_OUR_HIDDEN = frozenset({".ci", ".github"})
_TEXT_SUFFIXES = frozenset({".cfg", ".css", ".html", ".ini", ".j2", ".js", ".json", ".mako", ".md", ".mjs", ".py",
                            ".sh", ".sql", ".svg", ".toml", ".tpl", ".ts", ".txt", ".yaml", ".yml"})  # fmt: skip
_TEXT_NAMES = frozenset({"Makefile", "Dockerfile", ".npmrc", ".gitignore", ".dockerignore", ".helmignore"})


@dataclass(frozen=True)
class Finding:
    """One breach of one rule, at one line."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class Source:
    """A file of ours: its path from the root of the repository, with forward slashes, and its text."""

    path: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The text by lines, without their ends."""
        return self.text.splitlines()

    @cached_property
    def suffix(self) -> str:
        """The end of the file's name, with its dot."""
        return PurePosixPath(self.path).suffix

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree of a Python file. Raises SyntaxError."""
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree, walked once for all rules."""
        return list(ast.walk(self.tree))

    def finding(self, line: int, rule: str, message: str) -> Finding:
        """Return a finding in this file."""
        return Finding(self.path, line, rule, message)


def sources(root: Path) -> Iterator[Source]:
    """Yield every text file of ours below `root`, in a fixed order."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not path.is_symlink() and _is_ours(relative):
            yield Source(relative.as_posix(), path.read_text("utf-8"))


def _is_ours(relative: Path) -> bool:
    for folder in relative.parts[:-1]:
        if folder in _SKIPPED_FOLDERS or folder.endswith(".egg-info"):
            return False
        if folder.startswith(".") and folder not in _OUR_HIDDEN:
            return False
    in_hidden = relative.parts[0] in _OUR_HIDDEN
    return relative.suffix in _TEXT_SUFFIXES or relative.name in _TEXT_NAMES or in_hidden
