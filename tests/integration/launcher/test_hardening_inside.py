"""What the kernel makes of the profile: asked from inside a bot that runs, with nothing but its own rights."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from control_plane.plans import Plan
from tests.integration.launcher.rig import Rig

pytestmark = pytest.mark.engine

_COMMON = """
import ctypes, os, resource, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def refused(act):
    try:
        act()
    except OSError as error:
        return error.errno is not None
    return False
def call_refused(*arguments):
    return libc.syscall(*arguments) == -1
"""
_RIGHTS = """
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print("caps", status["CapEff"], status["CapPrm"], status["CapBnd"], status["CapInh"], status["CapAmb"])
print("no_new_privs", status["NoNewPrivs"])
print("seccomp", status["Seccomp"])
print("uid", os.getuid(), os.getgid(), os.getgroups())
print("oom_score", open("/proc/self/oom_score_adj").read().strip())
print("init", open("/proc/1/comm").read().strip() in {"docker-init", "tini"})
raw = lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
print("raw_socket_refused", refused(raw))
print("packet_socket_refused", refused(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)))

def rules_of_the_firewall():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
        netfilter.settimeout(2)
        netfilter.bind((0, 0))
        netfilter.send(struct.pack("=IHHIIBBH", 20, 10 << 8 | 1, 0x301, 1, 0, 1, 0, 0))
        code = -struct.unpack_from("=i", netfilter.recv(4096), 16)[0]
        if code:
            raise OSError(code, "refused")
print("netfilter_refused", refused(rules_of_the_firewall))
# Of the calls that let others break out: unshare(CLONE_NEWUSER), mount, keyctl.
print("new_user_namespace_refused", call_refused(272, 0x10000000))
print("mount_refused", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == -1)
print("keyctl_refused", call_refused(250, 0, -3, 1))
print("chroot_refused", refused(lambda: os.chroot("/tmp")))
print("setuid_refused", refused(lambda: os.setuid(0)))
print("sysctl_refused", refused(lambda: open("/proc/sys/kernel/hostname", "w")))
print("sysrq_refused", refused(lambda: open("/proc/sysrq-trigger", "w")))
print("socket_of_engine", any(os.path.exists(p) for p in ("/var/run/docker.sock", "/run/docker.sock")))
devices = {"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
    "stdout", "tty", "urandom", "zero"}
print("further_devices", sorted(set(os.listdir("/dev")) - devices))
"""
_FILES = """
mounts = {}
for line in open("/proc/self/mountinfo"):
    fields = line.split()
    mounts[fields[4]] = (set(fields[5].split(",")), fields[fields.index("-") + 1])
def flags(place):
    return " ".join(sorted(mounts[place][0] & {"ro", "rw", "noexec", "nosuid", "nodev"})), mounts[place][1]
print("root", *flags("/"))
for place in ("/tmp", "/run"):
    size = os.statvfs(place)
    print(place, *flags(place), size.f_blocks * size.f_frsize // 2**20)
print("/dev/shm", *flags("/dev/shm"), os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize // 2**20)
print("root_refused", *(refused(lambda: open(place + "/x", "w")) for place in ("/opt", "/etc", "/usr/bin", "/var")))
open("/data/inside", "w").close()
for place in ("/tmp", "/run", "/dev/shm"):
    program = os.path.join(place, "program")
    open(program, "w").write("#!/bin/sh\\n")
    os.chmod(program, 0o700)
    print(place + "_exec_refused", refused(lambda: os.execv(program, [program])))
# What `nodev` and `nosuid` are for, asked of the volume, whose mount the engine gives no flags.
print("device_on_volume_refused", refused(lambda: os.mknod("/data/disk", 0o60600, os.makedev(8, 0))))
print("chown_to_root_refused", refused(lambda: os.chown("/data/inside", 0, 0)))
print("volume_is_writable", os.access("/data", os.W_OK), os.stat("/data").st_uid)
"""
_BOUNDS = """
print("nofile", *resource.getrlimit(resource.RLIMIT_NOFILE))
print("core", *resource.getrlimit(resource.RLIMIT_CORE))
def first(*paths):
    return next(open(path).read().split()[0] for path in paths if os.path.exists(path))
print("memory", first("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"))
print("processes", first("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"))
print("cpu", first("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
swap = first("/sys/fs/cgroup/memory.swap.max", "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
print("swap", swap in {"0", str(256 * 2**20)})
big = open("/data/big", "wb")
print("file_bounded", *(refused(lambda: os.ftruncate(big.fileno(), size)) for size in (2**21, 2**19)))
full = open("/run/full", "wb", buffering=0)
print("run_bounded", refused(lambda: [full.write(bytes(2**20)) for _ in range(9)]))
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
_NAMESPACES = """
for name in ("pid", "net", "ipc", "uts", "mnt", "cgroup"):
    print(name, os.readlink("/proc/self/ns/" + name))
"""


async def _inside(rig: Rig, instance: Any, program: str) -> dict[str, str]:
    made = rig.engine.api.exec_create(instance["container_id"], ["python3", "-c", _COMMON + program])
    said = (await asyncio.to_thread(rig.engine.api.exec_start, made["Id"])).decode()
    return dict(line.split(" ", 1) for line in said.splitlines())


async def test_it_has_no_rights_to_take(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.until_launched(bot)
    none = "0000000000000000"
    assert await _inside(rig, instance, _RIGHTS) == {
        "caps": " ".join([none] * 5),
        "no_new_privs": "1",
        "seccomp": "2",
        "uid": "10001 10001 [10001]",
        "oom_score": "500",
        "init": "True",
        "raw_socket_refused": "True",
        "packet_socket_refused": "True",
        "netfilter_refused": "True",
        "new_user_namespace_refused": "True",
        "mount_refused": "True",
        "keyctl_refused": "True",
        "chroot_refused": "True",
        "setuid_refused": "True",
        "sysctl_refused": "True",
        "sysrq_refused": "True",
        "socket_of_engine": "False",
        "further_devices": "[]",
    }


async def test_it_writes_nowhere_but_where_it_may_and_runs_nothing_from_there(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.until_launched(bot)
    assert await _inside(rig, instance, _FILES) == {
        "root": "ro overlay",
        "/tmp": "nodev noexec nosuid rw tmpfs 64",
        "/run": "nodev noexec nosuid rw tmpfs 8",
        "/dev/shm": "nodev noexec nosuid rw tmpfs 16",
        "root_refused": "True True True True",
        "/tmp_exec_refused": "True",
        "/run_exec_refused": "True",
        "/dev/shm_exec_refused": "True",
        "device_on_volume_refused": "True",
        "chown_to_root_refused": "True",
        "volume_is_writable": "True 10001",
    }


async def test_it_takes_no_more_than_its_plan_gives(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher(plans={"free": Plan(disk_mib=1)}):
        instance = await rig.until_launched(bot)
    found = await _inside(rig, instance, _BOUNDS)
    # What runc is written in raises its own soft limit to the hard one, and what it starts now and then inherits that.
    assert found.pop("nofile") in {"4096 8192", "8192 8192"}
    assert found == {
        "core": "0 0",
        "memory": str(256 * 2**20),
        "processes": "128",
        "cpu": "100000",
        "swap": "True",
        "file_bounded": "True False",
        "run_bounded": "True",
        "forks_refused": "True True",
    }


async def test_it_shares_no_view_with_the_host_or_a_neighbour(rig: Rig) -> None:
    first, second = await rig.bot(), await rig.bot()
    async with rig.launcher():
        here, there = await rig.until_launched(first), await rig.until_launched(second)
    mine, other = await _inside(rig, here, _NAMESPACES), await _inside(rig, there, _NAMESPACES)
    for name, seen in mine.items():
        # The engine's daemon is on this machine, so its namespaces and ours are the same.
        hosts = os.readlink(f"/proc/self/ns/{name}")  # noqa: PTH115 - a name and no path
        assert len({seen, other[name], hosts}) == 3, name


async def test_a_bot_that_stores_more_than_its_plan_gives_is_ended_and_told_so(rig: Rig) -> None:
    bot = await rig.bot()
    # Each file is within the limit, all together are not: only the look at the whole finds that.
    program = "for n in range(3): open(f'/data/{n}', 'wb').write(bytes(700 * 1024))"
    async with rig.launcher(plans={"free": Plan(disk_mib=1)}) as launcher:
        instance = await rig.until_launched(bot)
        made = rig.engine.api.exec_create(instance["container_id"], ["python3", "-c", program])
        await asyncio.to_thread(rig.engine.api.exec_start, made["Id"])
        bounded = rig.engine.api.exec_inspect(made["Id"])["ExitCode"] != 0
        launcher._disk.check_s = 0.0
        if not bounded:  # this engine's disk knows no quota, as most do not
            row = await rig.until_status(bot, "error", "disk_full", deadline_s=40.0)
            assert "the plan free gives it 1" in row["reason_detail"]
            await rig.until_gone(bot)
        assert rig.volumes(bot)
