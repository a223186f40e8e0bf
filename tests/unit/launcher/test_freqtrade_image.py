"""The build context of the image of hosted freqtrade bots, without an engine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from agents import freqtrade_bot
from agents.launcher import freqtrade_image
from agents.launcher.images import ImageBuildError, context_files


def test_the_context_holds_our_program_and_every_package(tmp_path: Path) -> None:
    wheel = tmp_path / "pip-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    packed = io.BytesIO()
    freqtrade_image._pack(packed, context_files(Path(freqtrade_bot.__file__).parent), [wheel])
    with tarfile.open(fileobj=packed) as archive:
        names = set(archive.getnames())
        assert {"Dockerfile", "app.py", "requirements.txt", "wheels/README", f"wheels/{wheel.name}"} <= names
        assert {member.mode for member in archive.getmembers()} == {0o644}


def test_packages_that_cannot_be_had_are_told_with_the_other_way(tmp_path: Path) -> None:
    with pytest.raises(ImageBuildError, match="TRADEWISE_FREQTRADE_BASE_IMAGE") as told:
        freqtrade_image._pip("download", "--no-index", "--no-deps", f"--dest={tmp_path}", "freqtrade==2026.9")
    assert "No matching distribution" in str(told.value)
