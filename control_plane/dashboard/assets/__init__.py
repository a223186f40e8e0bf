"""Scripts, styles and pictures of the dashboard, built from `frontend/` into `dist/` and carried by the wheel.

File names hold a hash of their content, so they may be cached for ever; `manifest.json` says which file is current.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

DIST = Path(__file__).parent / "dist"
URL_PREFIX = "/assets"


class AssetsMissingError(RuntimeError):
    """The dashboard's files have not been built, or the build is older than the templates that use it."""

    code = "assets_missing"
    remedy = "Run `make assets` to build them (an installed wheel carries them already)."

    def __init__(self, detail: str) -> None:
        super().__init__(f"{detail}. {self.remedy}")


@dataclass(frozen=True, slots=True)
class AssetManifest:
    """Which hashed file stands for each plain name, as the build wrote it down. Read once, then immutable."""

    directory: Path
    files: Mapping[str, str]

    @classmethod
    def load(cls, directory: Path = DIST) -> Self:
        """Read `manifest.json` in `directory`.

        Raises `AssetsMissingError` when it is absent or unreadable, or when a file it names is not there: a page
        without its styles should stop start-up, not surprise its first visitor.
        """
        path = directory / "manifest.json"
        try:
            files = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except OSError as error:
            raise AssetsMissingError("The dashboard's scripts and styles are not built") from error
        except msgspec.DecodeError as error:
            raise AssetsMissingError("The manifest of the dashboard's assets cannot be read") from error
        absent = sorted(file for file in files.values() if not (directory / file).is_file())
        if absent:
            raise AssetsMissingError(f"The manifest of the dashboard's assets names files that are absent: {absent}")
        return cls(directory=directory, files=files)

    def url(self, name: str) -> str:
        """Address of an asset by its plain name, such as `app.js`. Raises `AssetsMissingError` for an unknown name."""
        try:
            return f"{URL_PREFIX}/{self.files[name]}"
        except KeyError:
            raise AssetsMissingError(f"The build of the dashboard's assets holds no {name!r}") from None
