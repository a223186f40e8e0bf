"""The manifest of the dashboard's built files."""

from pathlib import Path

import pytest

from control_plane.dashboard.assets import AssetManifest, AssetsMissingError


def test_a_plain_name_leads_to_the_hashed_file(tmp_path: Path) -> None:
    (tmp_path / "app-ABC.js").write_text("")
    (tmp_path / "manifest.json").write_text('{"app.js": "app-ABC.js"}')
    assert AssetManifest.load(tmp_path).url("app.js") == "/assets/app-ABC.js"


def test_an_unbuilt_folder_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissingError, match="make assets") as caught:
        AssetManifest.load(tmp_path)
    assert caught.value.code == "assets_missing"


@pytest.mark.parametrize("text", ["", "[]", '{"app.js": 1}', "{"])
def test_a_damaged_manifest_is_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(AssetsMissingError, match="cannot be read"):
        AssetManifest.load(tmp_path)


def test_a_manifest_that_names_an_absent_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"app.js": "app-GONE.js"}')
    with pytest.raises(AssetsMissingError, match=r"app-GONE\.js"):
        AssetManifest.load(tmp_path)


def test_an_unknown_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(AssetsMissingError, match=r"no 'chart\.js'"):
        AssetManifest.load(tmp_path).url("chart.js")
