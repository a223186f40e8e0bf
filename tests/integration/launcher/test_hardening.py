"""What a bot's container may do: every limit asserted by what the engine says and by what the kernel says inside."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from agents.launcher import own_daemon
from agents.launcher.runtimes.docker_profile import LABEL_BOT, LABEL_GENERATION, LABEL_INSTANCE, LABEL_TENANT
from tests.integration.launcher.rig import TOKEN, Rig

pytestmark = pytest.mark.engine

_INSIDE = """
import os, socket, tempfile
def refused(act):
    try:
        act()
    except OSError as error:
        return error.errno is not None
    return False
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print("caps", status["CapEff"], status["CapPrm"], status["CapBnd"])
print("no_new_privs", status["NoNewPrivs"])
print("uid", os.getuid(), os.getgid())
print("root_refused", refused(lambda: open("/opt/x", "w")))
open("/data/inside", "w").close()
program = os.path.join(tempfile.gettempdir(), "program")
open(program, "w").write("#!/bin/sh\\n")
os.chmod(program, 0o700)
print("tmp_exec_refused", refused(lambda: os.execv(program, [program])))
raw = lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print("raw_socket_refused", refused(raw))
children = []
def fork_all():
    while len(children) < 500:
        pid = os.fork()
        if pid == 0:
            os.read(os.pipe()[0], 1)
        children.append(pid)
print("forks_refused", refused(fork_all), len(children) < 128)
for pid in children:
    os.kill(pid, 9)
"""


def _run_inside(rig: Rig, container_id: str, program: str) -> dict[str, str]:
    made = rig.engine.api.exec_create(container_id, ["python3", "-c", program])
    said = rig.engine.api.exec_start(made["Id"]).decode()
    return dict(line.split(" ", 1) for line in said.splitlines())


async def test_the_engine_is_told_every_limit(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.until_launched(bot)
    inspected = rig.engine.api.inspect_container(instance["container_id"])
    host: dict[str, Any] = inspected["HostConfig"]
    config: dict[str, Any] = inspected["Config"]
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] is None
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Privileged"] is False
    assert host["ReadonlyRootfs"] is True
    assert host["Tmpfs"] == {"/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777"}
    assert (host["Memory"], host["MemorySwap"]) == (256 * 2**20, 256 * 2**20)
    assert host["CpuQuota"] / host["CpuPeriod"] == 1
    assert host["PidsLimit"] == 128
    assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {"nofile": 8192, "core": 0}
    assert host["Init"] is True
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["LogConfig"]["Type"] == "local"
    assert host["Devices"] in (None, [])
    assert host["Binds"] is None
    assert [(mount["Type"], mount["Target"]) for mount in host["Mounts"]] == [("volume", "/data")]
    assert host["PidMode"] == host["UTSMode"] == ""
    assert host["IpcMode"] == "private"
    assert host["PortBindings"] == {
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(instance["host_port"])}],
    }
    assert config["User"] == "10001:10001"
    assert (config["OpenStdin"], config["StdinOnce"], config["Tty"]) == (True, True, False)
    ours = {name: value for name, value in config["Labels"].items() if name.startswith("io.tradewise.")}
    assert ours == {
        "io.tradewise.installation": str(rig.installation),
        LABEL_TENANT: str(rig.owner.tenant_id),
        LABEL_BOT: str(bot),
        LABEL_GENERATION: "1",
        LABEL_INSTANCE: str(instance["id"]),
    }
    image = rig.engine.images.get(instance["image"])
    assert config["Env"] == image.attrs["Config"]["Env"]
    assert TOKEN not in str(inspected)


async def test_the_kernel_holds_a_bot_to_them(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.until_launched(bot)
    none = "0000000000000000"
    assert _run_inside(rig, instance["container_id"], _INSIDE) == {
        "caps": f"{none} {none} {none}",
        "no_new_privs": "1",
        "uid": "10001 10001",
        "root_refused": "True",
        "tmp_exec_refused": "True",
        "raw_socket_refused": "True",
        "forks_refused": "True True",
    }


async def test_bots_share_one_network_and_do_not_reach_each_other(rig: Rig, engine_url: str) -> None:
    first, second = await rig.bot(), await rig.bot()
    async with rig.launcher():
        here, there = await rig.until_launched(first), await rig.until_launched(second)
        await rig.ask(there["host_port"], "ping", token=None)
    [(network, joined)] = rig.engine.api.inspect_container(there["container_id"])["NetworkSettings"]["Networks"].items()
    options = rig.engine.api.inspect_network(network)["Options"]
    assert options["com.docker.network.bridge.enable_icc"] == "false"
    program = f"""
import socket
with socket.socket() as s:
    s.settimeout(2)
    print("reached", s.connect_ex(("{joined["IPAddress"]}", 8080)) == 0)
"""
    # A daemon of our own that was started beside another one leaves the machine's packet filter alone, and says so: it
    # cannot keep neighbours apart.
    assert _run_inside(rig, here["container_id"], program) == {"reached": str(not _filters_packets(engine_url))}


def _filters_packets(engine_url: str) -> bool:
    own = own_daemon.places(os.environ)
    return engine_url != own.url or bool(json.loads(own.config.read_text("utf-8"))["iptables"])
