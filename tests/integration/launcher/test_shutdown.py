"""The platform stops its bots with itself and brings them back when it starts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agents.launcher.shutdown import LauncherStillRunsError, stop_all_bots
from control_plane.security.keyproviders import create_kek_file
from control_plane.settings import Settings
from tests.integration.launcher.rig import Rig

pytestmark = pytest.mark.engine


@pytest.fixture
def platform(rig: Rig) -> Settings:
    """Settings as the command that stops everything has them."""
    create_kek_file(rig.settings.effective_kek_file)
    return msgspec.structs.replace(rig.settings, stop_grace=5.0)


async def test_bots_end_with_the_platform_and_start_with_it_without_a_crash(rig: Rig, platform: Settings) -> None:
    bots = [await rig.bot() for _ in range(2)]
    stopped, failed = await rig.bot(desired="stopped"), await rig.bot(image="tradewise/nowhere:1")
    async with rig.launcher():
        for bot in bots:
            first = await rig.up(bot)
            await rig.ask(first["host_port"], "state")
        await rig.until_status(failed, "error", "image_missing")
    said: list[str] = []
    assert await stop_all_bots(platform, say=said.append) == 2
    assert said == ["Stopping 2 bots (at most 35 s)"]
    assert rig.containers() == []
    assert len(rig.volumes(bots[0])) == 1
    for bot in bots:
        row = await rig.row(bot)
        assert (row["status"], row["reason"]) == ("inactive", "platform_stopped")
        assert (row["desired"], row["exposed_host_port"], row["attempt"]) == ("running", None, 0)
        assert await rig.live(bot) is None
        assert (await rig.last(bot))["exit_code"] == 0
    assert (await rig.row(stopped))["reason"] is None
    assert (await rig.row(failed))["status"] == "error"

    async with rig.launcher():
        for bot in bots:
            again = await rig.until_launched(bot)
            assert again["id"] != first["id"]
            ledger = await rig.ask(again["host_port"], "ledger")
            assert [entry["kind"] for entry in ledger["items"]].count("deposit") == 1
            await rig.healthy(bot)
            await rig.until_status(bot, "running")
            assert (await rig.row(bot))["attempt"] == 0
        assert (await rig.row(failed))["status"] == "error"


async def test_nothing_to_stop_is_no_news(rig: Rig, platform: Settings) -> None:
    said: list[str] = []
    assert await stop_all_bots(platform, say=said.append) == 0
    assert said == []


async def test_an_engine_that_is_away_is_told_and_changes_nothing(rig: Rig, platform: Settings, tmp_path: Path) -> None:
    bot = await rig.bot(status="running", observed_generation=1)
    said: list[str] = []
    nowhere = msgspec.structs.replace(platform, docker_host=f"unix://{tmp_path}/nowhere.sock")
    assert await stop_all_bots(nowhere, say=said.append) == 0
    assert "does not answer" in said[0]
    assert (await rig.row(bot))["status"] == "running"


async def test_bots_are_not_stopped_under_a_launcher_that_acts(rig: Rig, platform: Settings) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        await rig.up(bot)
        with pytest.raises(LauncherStillRunsError):
            await stop_all_bots(platform, say=lambda _text: None, launcher_ends_s=0.5)
        assert (await rig.row(bot))["status"] == "running"
