"""A hosted bot's secrets are in its memory and nowhere else that the engine or the host would show."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.launcher.rig import TOKEN, Rig

pytestmark = pytest.mark.engine

_CONFIG_SECRET = "planted-config-secret"
_SECRETS = (TOKEN, _CONFIG_SECRET, "planted-bot-secret")


def _hides(said: Any) -> bool:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return not any(secret in text for secret in _SECRETS)


async def test_the_engine_shows_none_of_them(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.until_launched(bot)
        await rig.ask(instance["host_port"], "state")  # it has got them: it knows its token
    api, ref = rig.engine.api, instance["container_id"]
    inspected = api.inspect_container(ref)
    assert _hides(inspected)
    image = rig.engine.images.get(instance["image_id"])
    assert inspected["Config"]["Env"] == image.attrs["Config"]["Env"]
    assert (inspected["Args"], inspected["Path"]) == (image.attrs["Config"]["Entrypoint"][1:], "python3")
    assert _hides(image.history())
    assert _hides(inspected["HostConfig"]["LogConfig"])
    assert _hides(api.top(ref, "-eo pid,args"))
    [network] = inspected["NetworkSettings"]["Networks"].values()
    assert _hides(api.inspect_network(network["NetworkID"]))
    for name in rig.volumes(bot):
        assert _hides(api.inspect_volume(name))
    # What a commit would make a layer of: the places that mounts hide, and no file.
    changed = {item["Path"] for item in api.diff(ref) or ()}
    mounted = {"/data", "/tmp", "/run", "/dev", "/dev/console", "/etc", "/sys", "/usr", "/usr/sbin", "/sbin"}
    assert changed <= mounted | {"/usr/sbin/docker-init", "/sbin/docker-init"}, changed
    # Nor does a copy of its files: the whole of its root, as an export has it.
    exported = await asyncio.to_thread(lambda: b"".join(api.export(ref)))
    assert len(exported) > 2**20
    assert not any(secret.encode() in exported for secret in _SECRETS)


async def test_the_host_shows_none_of_them(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.until_launched(bot)
        await rig.ask(instance["host_port"], "state")
    api, ref = rig.engine.api, instance["container_id"]
    pids = [int(row[0]) for row in api.top(ref, "-eo pid,args")["Processes"]]
    assert len(pids) >= 2
    for pid in pids:
        for file in ("environ", "cmdline"):
            said = await asyncio.to_thread(_read, Path("/proc", str(pid), file))
            assert said or file == "environ"
            assert _hides(said), file
    # Nor has it stored any of them where it may write.
    for place in ("/data", "/run", "/tmp"):
        stored, _ = await asyncio.to_thread(api.get_archive, ref, place)
        assert _hides(b"".join(stored)), place
    log = await asyncio.to_thread(api.logs, ref)
    assert _hides(log)


def _read(path: Path) -> bytes:
    return path.read_bytes()


async def test_what_a_bot_says_of_them_is_not_kept_as_it_says_it(rig: Rig, rogue_image: str) -> None:
    bot = await rig.rogue("exit 3", rogue_image)
    async with rig.launcher():
        await rig.until_row(bot, lambda row: row["attempt"] > 0, "a crash")
    kept = await rig.admin.fetchval(
        "select last_lines from bot_instances where bot_id = $1 and last_lines is not null limit 1", bot
    )
    assert "last words" in json.loads(kept)
    assert _hides(kept)
    for table in ("bots", "bot_events", "bot_instances", "agent_beats"):
        rows = await rig.admin.fetch(f"select row_to_json(t)::text as row from {table} t")
        assert rows or table == "agent_beats"
        assert all(_hides(row["row"]) for row in rows), table
