"""What `make` stands on: lock files, the choice of Python, the build of the assets."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from scripts import assets, lock

ROOT = Path(__file__).resolve().parents[2]


def silent(text: str) -> None:
    del text


def executable(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines, "")), "utf-8")
    path.chmod(0o755)
    return path


def copy_locks(root: Path) -> None:
    shutil.copytree(ROOT / "requirements", root / "requirements")
    (root / lock.IMAGE_LOCK).parent.mkdir(parents=True)
    for ending in (".in", ".txt"):
        shutil.copy(ROOT / f"{lock.IMAGE_LOCK}{ending}", root / f"{lock.IMAGE_LOCK}{ending}")


class TestLockFiles:
    def test_ours_are_fresh_and_say_nothing_of_where_packages_come_from(self) -> None:
        assert lock.problems(ROOT) == []

    @pytest.mark.parametrize("path", [*(f"requirements/{name}.txt" for name in lock.LOCKS), f"{lock.IMAGE_LOCK}.txt"])
    def test_every_package_is_pinned_and_hashed(self, path: str) -> None:
        lines = (ROOT / path).read_text("utf-8").splitlines()[1:]
        pins = [number for number, line in enumerate(lines) if not line.startswith("    ")]
        assert pins
        for number in pins:
            assert "==" in lines[number]
            assert lines[number + 1].startswith("    --hash=sha256:")

    def test_a_changed_dependency_makes_them_stale(self, tmp_path: Path) -> None:
        copy_locks(tmp_path)
        text = (ROOT / "pyproject.toml").read_text("utf-8")
        (tmp_path / "pyproject.toml").write_text(text.replace('"msgspec==', '"msgspec!=0.1,=='), "utf-8")
        assert len(lock.problems(tmp_path)) == len(lock.LOCKS)
        assert all("run `make lock`" in problem for problem in lock.problems(tmp_path))

    def test_so_does_a_changed_program_in_an_image(self, tmp_path: Path) -> None:
        copy_locks(tmp_path)
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        (tmp_path / f"{lock.IMAGE_LOCK}.in").write_text("freqtrade==2026.8\n", "utf-8")
        (problem,) = lock.problems(tmp_path)
        assert problem.startswith(f"{lock.IMAGE_LOCK}.txt is older than {lock.IMAGE_LOCK}.in")

    @pytest.mark.parametrize("line", ["--index-url something", "# from https://example.org/simple"])
    def test_a_place_to_fetch_from_is_refused(self, tmp_path: Path, line: str) -> None:
        copy_locks(tmp_path)
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        with (tmp_path / "requirements/build.txt").open("a", encoding="utf-8") as handle:
            handle.write(f"{line}\n")
        (problem,) = lock.problems(tmp_path)
        assert problem.startswith("requirements/build.txt says where packages come from")

    def test_only_what_locks_follow_from_counts(self) -> None:
        pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
        before = lock.inputs_hash(pyproject)
        pyproject["tool"] = {}
        pyproject["project"]["description"] = "another"
        assert lock.inputs_hash(pyproject) == before
        pyproject["dependency-groups"]["node"] = []
        assert lock.inputs_hash(pyproject) != before


class TestPython:
    def make_environment(self, python: Path, target: Path, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts/venv.sh", target], env={"PYTHON": str(python), "PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def test_a_missing_interpreter_is_named(self, tmp_path: Path) -> None:
        done = self.make_environment(tmp_path / "python9", tmp_path / "venv")
        assert done.returncode == 1
        assert f"no '{tmp_path}/python9' here. Install Python 3.11 or newer" in done.stderr

    def test_an_old_interpreter_is_refused_and_nothing_is_made(self, tmp_path: Path) -> None:
        old = executable(tmp_path / "python", '[ "$1" = --version ] && echo Python 3.9.2', '[ "$1" = --version ]')
        done = self.make_environment(old, tmp_path / "venv")
        assert done.returncode == 1
        assert "needs Python 3.11 or newer" in done.stderr
        assert "is Python 3.9.2" in done.stderr
        assert not (tmp_path / "venv").exists()

    def test_a_python_without_venv_installs_the_package_of_its_version_or_names_it(self, tmp_path: Path) -> None:
        python = executable(
            tmp_path / "python",
            'case "$2" in "import ensurepip, venv") exit 1;; *print*) echo python3.13-venv;; esac',
        )
        tools = tmp_path / "bin"
        executable(tools / "apt-get", f'echo "$@" >>{tmp_path}/apt', 'case "$*" in *install*) exit 100;; esac')
        root = executable(tools / "id", "echo 0")
        done = self.make_environment(python, tmp_path / "venv", f"{tools}:{os.defpath}")
        assert done.returncode == 1
        assert "Installing python3.13-venv with apt-get: a virtual environment with" in done.stderr
        assert "install python3.13-venv" in (tmp_path / "apt").read_text("utf-8")
        root.write_text("#!/bin/sh\necho 1000\n", "utf-8")
        done = self.make_environment(python, tmp_path / "venv", f"{tools}:{os.defpath}")
        assert done.returncode == 1
        assert "Run: sudo apt-get install python3.13-venv" in done.stderr


class TestAssets:
    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        """A project whose bundler writes one file, and whose lock file needs no package."""
        frontend = tmp_path / "frontend"
        (frontend / "src").mkdir(parents=True)
        (frontend / "src/app.js").write_text("1\n", "utf-8")
        (frontend / "package.json").write_text('{"name": "x", "version": "1.0.0"}', "utf-8")
        (frontend / "package-lock.json").write_text(
            '{"name": "x", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "x"}}}', "utf-8"
        )
        (frontend / "build.mjs").write_text(
            'import { mkdirSync, copyFileSync } from "node:fs";\n'
            'const out = "../control_plane/dashboard/assets/dist";\n'
            'mkdirSync(out, { recursive: true });\ncopyFileSync("src/app.js", `${out}/app.js`);\n',
            "utf-8",
        )
        return tmp_path

    def test_they_are_built_once_and_again_when_a_source_changes(self, project: Path) -> None:
        told: list[str] = []
        assets.build(project, told.append)
        built = project / "control_plane/dashboard/assets/dist/app.js"
        assert built.read_text("utf-8") == "1\n"
        assert len(told) == 2
        assets.build(project, told.append)
        assert len(told) == 2
        (project / "frontend/src/app.js").write_text("2\n", "utf-8")
        assets.build(project, told.append)
        assert built.read_text("utf-8") == "2\n"
        assert told[2:] == ["Bundling the dashboard's scripts and styles"]

    def test_a_failing_bundler_is_told_and_leaves_them_stale(self, project: Path) -> None:
        (project / "frontend/build.mjs").write_text('throw new Error("no such entry point");\n', "utf-8")
        with pytest.raises(assets.AssetsUnavailableError, match="no such entry point") as raised:
            assets.build(project, silent)
        assert raised.value.code == "assets_unavailable"
        assert not assets.is_fresh(project)

    def test_a_node_that_is_too_old_is_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        executable(tmp_path / "node", "echo v18.20.4")
        executable(tmp_path / "npm", "echo 10")
        monkeypatch.setenv("PATH", str(tmp_path))
        toolchain = assets.find_toolchain()
        assert toolchain is None or toolchain.node.parent != tmp_path
        executable(tmp_path / "node", f"echo v{assets.MINIMUM_NODE}.0.0")
        chosen = assets.find_toolchain()
        assert chosen is not None
        assert chosen.node == tmp_path / "node"

    def test_what_npm_installed_is_no_source(self, project: Path) -> None:
        before = assets.fingerprint(project / "frontend")
        (project / "frontend/node_modules/x").mkdir(parents=True)
        (project / "frontend/node_modules/x/index.js").write_text("1", "utf-8")
        assert assets.fingerprint(project / "frontend") == before
