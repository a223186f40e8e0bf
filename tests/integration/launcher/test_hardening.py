"""What the engine is told of a bot's container: every row of the profile, as `inspect` shows it.

What the kernel makes of it is in test_hardening_inside.py, what a bot reaches in test_containment.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from agents.launcher.runtimes.base import ContainmentUnavailable
from agents.launcher.runtimes.docker_profile import (
    LABEL_BOT,
    LABEL_GENERATION,
    LABEL_INSTANCE,
    LABEL_TENANT,
    confinement,
)
from control_plane.plans import Plan
from tests.integration.launcher.rig import Rig

pytestmark = pytest.mark.engine

_MIB = 2**20


async def _inspected(rig: Rig, **settings: Any) -> tuple[dict[str, Any], Any]:
    bot = await rig.bot()
    async with rig.launcher(**settings):
        instance = await rig.until_launched(bot)
    return dict(rig.engine.api.inspect_container(instance["container_id"])), instance


async def test_no_privilege_is_left(rig: Rig) -> None:
    inspected, _ = await _inspected(rig)
    host: dict[str, Any] = inspected["HostConfig"]
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
    apparmor = any("apparmor" in words for words in rig.engine.info()["SecurityOptions"])
    assert host["SecurityOpt"] == ["no-new-privileges", *(["apparmor=docker-default"] if apparmor else [])]
    assert not any("unconfined" in words for words in host["SecurityOpt"])
    assert host["ReadonlyRootfs"] is True
    assert inspected["Config"]["User"] == "10001:10001"
    for nothing in ("Devices", "DeviceRequests", "DeviceCgroupRules", "Sysctls", "GroupAdd", "ExtraHosts", "Links"):
        assert not host.get(nothing), nothing
    for nothing in ("Binds", "VolumesFrom", "CgroupParent", "PidMode", "UTSMode", "UsernsMode"):
        assert not host[nothing], nothing
    assert (host["IpcMode"], host["CgroupnsMode"]) == ("private", "private")
    assert host["Runtime"] == rig.engine.info()["DefaultRuntime"]


async def test_what_it_writes_goes_to_three_places(rig: Rig) -> None:
    inspected, _ = await _inspected(rig)
    host = inspected["HostConfig"]
    assert host["Tmpfs"] == {
        "/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777",
        "/run": "rw,noexec,nosuid,nodev,size=8m,mode=0700,uid=10001,gid=10001",
    }
    assert host["ShmSize"] == 16 * _MIB
    [mount] = host["Mounts"]
    assert (mount["Type"], mount["Target"]) == ("volume", "/data")
    [mounted] = inspected["Mounts"]
    assert (mounted["Type"], mounted["Driver"], mounted["RW"]) == ("volume", "local", True)
    volume = rig.engine.api.inspect_volume(mounted["Name"])
    assert set(volume["Options"] or {}) <= {"size"}


async def test_what_it_uses_is_bounded_by_its_tenants_plan(rig: Rig) -> None:
    plans = {
        "free": Plan(),
        "small": Plan(cpus=0.5, memory_mib=96, processes=40, disk_mib=8, log_mib=3, running_bots=1),
    }
    await rig.admin.execute("update tenants set plan = 'small' where id = $1", rig.owner.tenant_id)
    inspected, instance = await _inspected(rig, plans=plans)
    host = inspected["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (96 * _MIB, 96 * _MIB)
    assert host["MemoryReservation"] == int(96 * _MIB * 0.8)
    assert (host["CpuQuota"], host["CpuPeriod"], host["CpuShares"]) == (50_000, 100_000, 512)
    assert host["PidsLimit"] == 40
    assert host["LogConfig"] == {
        "Type": "local",
        "Config": {"max-size": str(_MIB), "max-file": "3", "mode": "non-blocking", "max-buffer-size": "1m"},
    }
    assert {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in host["Ulimits"]} == {
        "nofile": (4096, 8192),
        "core": (0, 0),
        "memlock": (65536, 65536),
        "msgqueue": (0, 0),
        "fsize": (8 * _MIB, 8 * _MIB),
    }
    # Another plan holds from the next start.
    await rig.admin.execute("update tenants set plan = 'gone from the table' where id = $1", rig.owner.tenant_id)
    async with rig.launcher(plans=plans):
        await rig.want(instance["bot_id"], "running")
        again = await rig.until_launched(instance["bot_id"], after=instance["id"])
    host = rig.engine.api.inspect_container(again["container_id"])["HostConfig"]
    assert (host["Memory"], host["PidsLimit"], host["CpuQuota"]) == (256 * _MIB, 128, 100_000)


async def test_how_it_begins_and_ends_is_ours_to_say(rig: Rig) -> None:
    inspected, instance = await _inspected(rig)
    host, config = inspected["HostConfig"], inspected["Config"]
    assert (host["OomKillDisable"] or False, host["OomScoreAdj"]) == (False, 500)
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert (host["Init"], host["AutoRemove"]) == (True, False)
    assert (config["StopSignal"], config["StopTimeout"]) == ("SIGTERM", 60)
    assert (config["OpenStdin"], config["StdinOnce"], config["Tty"]) == (True, True, False)
    assert host["PublishAllPorts"] is False
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(instance["host_port"])}]}


async def test_it_is_found_by_its_labels_and_runs_an_image_by_id(rig: Rig) -> None:
    inspected, instance = await _inspected(rig)
    ours = {name: value for name, value in inspected["Config"]["Labels"].items() if name.startswith("io.tradewise.")}
    assert ours == {
        "io.tradewise.installation": str(rig.installation),
        LABEL_TENANT: str(rig.owner.tenant_id),
        LABEL_BOT: str(instance["bot_id"]),
        LABEL_GENERATION: "1",
        LABEL_INSTANCE: str(instance["id"]),
    }
    image = rig.engine.images.get(rig.settings.paper_bot_image)
    assert inspected["Image"] == inspected["Config"]["Image"] == instance["image_id"] == image.id
    assert instance["image"] == rig.settings.paper_bot_image


@pytest.mark.parametrize(
    ("offered", "options"),
    [
        (["name=seccomp,profile=default"], ["no-new-privileges"]),
        (["name=seccomp,profile=builtin", "name=cgroupns"], ["no-new-privileges"]),
        (["name=apparmor", "name=seccomp,profile=default"], ["no-new-privileges", "apparmor=docker-default"]),
    ],
)
def test_what_the_kernel_has_is_asked_for_by_name(offered: list[str], options: list[str]) -> None:
    assert confinement(offered) == options


@pytest.mark.parametrize("offered", [[], ["name=apparmor"], ["name=seccomp,profile=unconfined"]])
def test_an_engine_that_filters_no_calls_is_refused(offered: list[str]) -> None:
    with pytest.raises(ContainmentUnavailable, match="seccomp"):
        confinement(offered)
