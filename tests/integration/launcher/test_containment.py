"""What bots reach: probed from inside real containers, against things that would answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

import docker
import msgspec
import pytest
from docker.utils.socket import frames_iter
from uuid_utils.compat import uuid4

from agents.launcher.agent import Launcher
from agents.launcher.guard import rules
from agents.launcher.runtimes import docker_guard
from agents.launcher.runtimes.base import Contained
from agents.launcher.runtimes.docker import DockerRuntime
from agents.launcher.runtimes.docker_network import TenantNetworks, bridge_prefix
from agents.launcher.runtimes.docker_profile import LABEL_INSTALLATION
from agents.launcher.setup import containment_report
from control_plane.security.egress import parse_destination
from tests.integration.launcher.outside import (
    METADATA,
    NEAR,
    OTHER_PORT,
    PORT,
    PRIVATE,
    PUBLIC,
    PUBLIC_TOO,
    Outside,
    host_addresses,
    probe_from,
    probe_from_host,
)
from tests.integration.launcher.rig import Rig
from tests.waiting import until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    """Addresses of all kinds, and a service of the host itself."""
    with Outside() as made:
        yield made


async def _address(rig: Rig, instance: Any) -> tuple[str, str]:
    """Where a bot is, and the host's own address on its bridge."""
    seen = await asyncio.to_thread(rig.engine.api.inspect_container, instance["container_id"])
    [joined] = seen["NetworkSettings"]["Networks"].values()
    return str(joined["IPAddress"]), str(joined["Gateway"])


async def _probe(rig: Rig, instance: Any, places: list[tuple[str, int]]) -> list[str]:
    return await asyncio.to_thread(probe_from, rig.engine, instance["container_id"], places)


async def _narrow(rig: Rig, tenant: UUID, mode: str, *destinations: str) -> None:
    """What the API does, and then the launcher's word that the firewall has it."""
    revision = await rig.admin.fetchval(
        "insert into tenant_egress (id, tenant_id, mode, destinations) values ($1, $2, $3, $4) on conflict (tenant_id)"
        " do update set mode = excluded.mode, destinations = excluded.destinations,"
        " revision = tenant_egress.revision + 1 returning revision",
        uuid4(),
        tenant,
        mode,
        list(destinations),
    )

    async def applied() -> Any:
        return revision == await rig.admin.fetchval(
            "select applied_revision from tenant_egress where tenant_id = $1", tenant
        )

    await until(applied, what="the rules in force")


def _look(rig: Rig, installation: UUID) -> Contained:
    """What the kernel has of an installation's table."""
    return docker_guard.apply(
        rig.engine.api, installation, rig.settings.effective_guard_image, rules.look(installation)
    )


async def test_a_bot_reaches_the_internet_and_nothing_else(rig: Rig, outside: Outside) -> None:
    other = await rig.factory.owner("Bob")
    here, beside = await rig.bot(), await rig.bot()
    theirs = await rig.factory.bot(
        other, bot_type="platform", credentials={"token": "a-token-of-sixteen-or-more"}, config={}
    )
    async with rig.launcher():
        mine, neighbour, stranger = [await rig.until_launched(bot) for bot in (here, beside, theirs)]
        await rig.ask(mine["host_port"], "ping", token=None)
        own, gateway = await _address(rig, mine)
        (next_door, _), (across, their_gateway) = await _address(rig, neighbour), await _address(rig, stranger)
        addresses = await asyncio.to_thread(host_addresses)
        assert {gateway, their_gateway, NEAR} < set(addresses)
        open_to_host = [(PUBLIC, PORT), *((address, PORT) for address in PRIVATE)]
        services = [(address, outside.host_port) for address in addresses]
        assert await asyncio.to_thread(probe_from_host, [*open_to_host, *services]) == ["open"] * (
            len(open_to_host) + len(services)
        )
        neighbours = [(next_door, 8080), (across, 8080)]
        published = [(address, mine["host_port"]) for address in addresses] + [(gateway, neighbour["host_port"])]
        closed = [*open_to_host[1:], *services, *neighbours, *published, (gateway, 2375), (gateway, 5432)]
        assert await _probe(rig, mine, [("127.0.0.1", 8080), (PUBLIC, PORT)]) == ["open", "open"]
        assert await _probe(rig, mine, closed) == ["dropped"] * len(closed)
        assert await _probe(rig, stranger, [(own, 8080), (PUBLIC, PORT)]) == ["dropped", "open"]


async def test_each_tenant_is_on_a_bridge_of_its_own(rig: Rig) -> None:
    other = await rig.factory.owner("Bob")
    bots = [await rig.bot(), await rig.bot()]
    bots.append(
        await rig.factory.bot(other, bot_type="platform", credentials={"token": "sixteen-or-more-x"}, config={})
    )
    async with rig.launcher():
        instances = [await rig.until_launched(bot) for bot in bots]
    joined: list[str] = []
    for instance in instances:
        seen = rig.engine.api.inspect_container(instance["container_id"])
        assert seen["HostConfig"]["NetworkMode"] not in {"host", "bridge", "default"}
        joined.append(*(network["NetworkID"] for network in seen["NetworkSettings"]["Networks"].values()))
    assert joined[0] == joined[1] != joined[2]
    for network in map(rig.engine.api.inspect_network, joined[1:]):
        assert network["Options"]["com.docker.network.bridge.name"].startswith(bridge_prefix(rig.installation))
        assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"
        assert network["EnableIPv6"] is False
        assert network["IPAM"]["Config"][0]["Subnet"].startswith("10.2")


async def test_names_are_resolved_by_the_engines_resolver(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        instance = await rig.until_launched(bot)
        servers = (await asyncio.to_thread(_servers_asked, rig, instance["container_id"])).splitlines()
    assert servers == ["127.0.0.11 answered"]


def _servers_asked(rig: Rig, container: str) -> str:
    # Any answer will do, "no such name" too: it came from the host's own name server, or from the engine for one on
    # the host's loopback.
    program = """
import socket
for line in open("/etc/resolv.conf"):
    if line.startswith("nameserver"):
        server = line.split()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(10)
            s.sendto(b"\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x07example\\x03com\\x00\\x00\\x01\\x00\\x01",
                     (server, 53))
            print(server, "answered" if s.recv(512)[:2] == b"\\x12\\x34" else "confused")
"""
    made = rig.engine.api.exec_create(container, ["python3", "-c", program])
    return str(rig.engine.api.exec_start(made["Id"]).decode())


async def test_a_tenant_narrows_its_own_bots_at_once(rig: Rig, outside: Outside) -> None:
    other = await rig.factory.owner("Bob")
    bot = await rig.bot()
    theirs = await rig.factory.bot(other, bot_type="platform", credentials={"token": "sixteen-or-more-x"}, config={})
    async with rig.launcher():
        mine, stranger = await rig.until_launched(bot), await rig.until_launched(theirs)
        places = [(PUBLIC, PORT), (PUBLIC_TOO, PORT), (PUBLIC_TOO, OTHER_PORT), (PRIVATE[2], PORT)]
        assert await _probe(rig, mine, places) == ["open", "open", "open", "dropped"]
        # Private space that a tenant lists stays closed all the same.
        await _narrow(rig, rig.owner.tenant_id, "listed", f"{PUBLIC_TOO}/32:{PORT}", "192.168.0.0/16")
        assert await _probe(rig, mine, places) == ["dropped", "open", "dropped", "dropped"]
        assert await _probe(rig, stranger, places) == ["open", "open", "open", "dropped"]
        await _narrow(rig, rig.owner.tenant_id, "none")
        assert await _probe(rig, mine, places) == ["dropped"] * 4
        # Answers to whoever asks it are no connections of its own.
        await rig.ask(mine["host_port"], "ping", token=None)
        await _narrow(rig, rig.owner.tenant_id, "public")
        assert await _probe(rig, mine, places) == ["open", "open", "open", "dropped"]


async def test_a_connection_that_is_open_ends_when_it_is_no_longer_allowed(rig: Rig, outside: Outside) -> None:
    bot = await rig.bot()
    program = f"""
import os, socket, sys
with socket.create_connection(("{PUBLIC}", {PORT}), 5) as s:
    s.sendall(b"one")
    os.write(1, s.recv(3))
    s.settimeout(0.5)
    for _ in range(60):
        s.sendall(b"two")
        try:
            s.recv(3)
        except TimeoutError:
            os.write(1, b"cut")
            sys.exit(0)
        __import__("time").sleep(0.1)
"""
    async with rig.launcher():
        mine = await rig.until_launched(bot)
        made = rig.engine.api.exec_create(mine["container_id"], ["python3", "-c", program])
        # The client's own generator would leave its socket open to the garbage collector.
        stream: Any = rig.engine.api.exec_start(made["Id"], socket=True)
        try:
            said = frames_iter(getattr(stream, "_sock", stream), tty=False)  # type: ignore[no-untyped-call]
            assert await asyncio.to_thread(next, said) == (1, b"one")
            await _narrow(rig, rig.owner.tenant_id, "none")
            assert await asyncio.to_thread(next, said) == (1, b"cut")
        finally:
            getattr(stream, "_response", stream).close()


async def test_the_operator_opens_private_places_one_by_one(rig: Rig, outside: Outside) -> None:
    bot = await rig.bot()
    host, allowed = (
        NEAR,
        (f"{PRIVATE[2]}:{OTHER_PORT}", "169.254.0.0/16", "10.0.0.0/8", "45.67.89.0/24", "172.16.0.0/12"),
    )
    one_service = f"{host}:{outside.host_port}"
    private = PRIVATE[2]
    async with rig.launcher(bot_egress_allow=tuple(map(parse_destination, allowed))):
        mine = await rig.until_launched(bot)
        _, gateway = await _address(rig, mine)
        places = [(private, OTHER_PORT), (private, PORT), (PRIVATE[0], PORT), (METADATA, PORT)]
        assert await _probe(rig, mine, places) == ["open", "dropped", "open", "dropped"]
        # A range opens none of the host's own addresses that lie in it.
        services = [(gateway, outside.host_port), (host, outside.host_port)]
        assert await _probe(rig, mine, services) == ["dropped"] * 2
    async with rig.launcher(bot_egress_allow=(parse_destination(one_service),)):
        mine = await rig.until_launched(bot)

        async def opened() -> Any:
            return await _probe(rig, mine, services) == ["dropped", "open"]

        await until(opened, what="the host's one service", deadline_s=20)


async def test_an_operator_may_close_everything_but_a_list(rig: Rig, outside: Outside) -> None:
    bot = await rig.bot()
    places = [(PUBLIC, PORT), (PUBLIC_TOO, PORT), (PRIVATE[2], PORT)]
    allowed = (parse_destination(PUBLIC), parse_destination(PRIVATE[2]))
    async with rig.launcher(bot_egress="listed", bot_egress_allow=allowed):
        mine = await rig.until_launched(bot)
        assert await _probe(rig, mine, places) == ["open", "dropped", "open"]
        await _narrow(rig, rig.owner.tenant_id, "listed", PUBLIC_TOO, f"{PUBLIC}:{PORT}")
        assert await _probe(rig, mine, places) == ["open", "dropped", "dropped"]


async def test_a_firewall_that_was_emptied_heals(rig: Rig, outside: Outside) -> None:
    bot = await rig.bot()
    async with rig.launcher() as launcher:
        mine = await rig.until_launched(bot)
        launcher._steps.containment._check_s = 0.0
        nothing = rules.nothing(rig.installation)
        image = rig.settings.effective_guard_image
        taken = await asyncio.to_thread(docker_guard.apply, rig.engine.api, rig.installation, image, nothing)
        assert taken.was == "changed"
        launcher.wake()

        async def healed() -> Any:
            return (await asyncio.to_thread(_look, rig, rig.installation)).rules

        await until(healed, what="rules in the kernel", deadline_s=20)
        assert await _probe(rig, mine, [(PRIVATE[0], PORT), (PUBLIC, PORT)]) == ["dropped", "open"]


async def test_nothing_starts_without_the_guard_and_the_operator_may_switch_it_off(rig: Rig, outside: Outside) -> None:
    bot = await rig.bot()
    async with rig.launcher(guard_image="tradewise/no-such-image:1") as launcher:
        row = await rig.until_row(bot, lambda row: row["reason"] == "containment_unavailable", "a refusal")
        assert "TRADEWISE_GUARD_IMAGE" in row["reason_detail"]
        assert not rig.containers(bot)
        await _detail(launcher, "failed")
    await rig.want(bot, "running")
    async with rig.launcher(egress_guard="off") as launcher:
        mine = await rig.until_launched(bot)
        await _detail(launcher, "off")
        # Only now is it shown that the guard, and nothing else, kept private networks away.
        assert await _probe(rig, mine, [(PRIVATE[2], PORT)]) == ["open"]
    assert _look(rig, rig.installation).was == "absent"


async def _detail(launcher: Launcher, guard: str) -> None:
    async def told() -> Any:
        return launcher.detail.get("containment", {}).get("guard") == guard

    await until(told, what=f"the guard told as {guard}")


async def test_an_engine_that_filters_bridges_at_its_first_one_is_given_one(rig: Rig) -> None:
    steps: list[str] = []

    class Noted(TenantNetworks):
        def make_for_nobody(self, api: docker.APIClient) -> None:
            super().make_for_nobody(api)
            steps.append("bridge")

    def as_on_a_fresh_machine(*arguments: Any) -> Contained:
        # The kernel's switch is everybody's on this machine: it is left alone, and only told as off.
        steps.append("guard")
        if "bridge" not in steps:
            raise docker_guard.BridgesUnfiltered("not filtered")
        return docker_guard.apply(*arguments)

    networks = Noted(rig.installation, rig.settings.bot_subnets)
    bot = await rig.bot()
    async with rig.launcher(kind=partial(DockerRuntime, guard=as_on_a_fresh_machine, networks=networks)):
        await rig.until_launched(bot)
    assert steps[:3] == ["guard", "bridge", "guard"]
    ours = {"label": f"{LABEL_INSTALLATION}={rig.installation}"}
    assert len(rig.engine.api.networks(filters=ours)) == 1


async def test_guards_that_run_at_once_do_not_disturb_each_other(rig: Rig) -> None:
    image = rig.settings.effective_guard_image
    document = rules.look(rig.installation)
    runs = (asyncio.to_thread(docker_guard.apply, rig.engine.api, rig.installation, image, document) for _ in range(6))
    assert {found.was for found in await asyncio.gather(*runs)} == {"absent"}
    label = {"label": f"{docker_guard.LABEL_GUARD}={rig.installation}"}
    assert rig.engine.api.containers(all=True, filters=label) == []


async def test_a_guard_that_a_killed_launcher_left_is_taken_away(rig: Rig) -> None:
    image = rig.settings.effective_guard_image
    made = rig.engine.api.create_container(**docker_guard._arguments(rig.installation, image))["Id"]
    document = rules.look(rig.installation)
    label = {"label": f"{docker_guard.LABEL_GUARD}={rig.installation}"}
    docker_guard.apply(rig.engine.api, rig.installation, image, document)
    # It might be another launcher's, about to start.
    assert [found["Id"] for found in rig.engine.api.containers(all=True, filters=label)] == [made]
    docker_guard.apply(rig.engine.api, rig.installation, image, document, left_after_s=-60)
    assert rig.engine.api.containers(all=True, filters=label) == []


async def test_two_installations_leave_each_others_rules_alone(rig: Rig) -> None:
    bot = await rig.bot()
    stranger = UUID(str(uuid4()))
    image = rig.settings.effective_guard_image
    async with rig.launcher():
        await rig.until_launched(bot)
        before = _look(rig, rig.installation)
        theirs = {**rules.nothing(stranger), "chains": [{"name": "egress", "rules": [[[["iif", "none"]], "drop"]]}]}
        docker_guard.apply(rig.engine.api, stranger, image, theirs)
        assert _look(rig, stranger).rules == 1
        docker_guard.apply(rig.engine.api, stranger, image, rules.nothing(stranger))
        assert _look(rig, stranger).was == "absent"
        assert _look(rig, rig.installation) == before
        assert before.rules > 20


async def test_the_guards_own_container_has_one_capability_and_no_way_out(rig: Rig) -> None:
    arguments = docker_guard._arguments(rig.installation, rig.settings.effective_guard_image)
    # The same container, with a program that looks around instead.
    arguments["entrypoint"] = ["python3", "-I", "-c", _AROUND]
    made = rig.engine.api.create_container(**arguments, host_config=docker_guard._host_config(rig.engine.api))["Id"]
    try:
        host = rig.engine.api.inspect_container(made)["HostConfig"]
        assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["NET_ADMIN"])
        assert (host["Privileged"], host["ReadonlyRootfs"]) == (False, True)
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert (host["Binds"], host.get("Mounts"), host["Devices"]) == (None, None, None)
        assert host["RestartPolicy"]["Name"] == "no"
        rig.engine.api.start(made)
        assert rig.engine.api.wait(made, timeout=20)["StatusCode"] == 0
        seen = msgspec.json.decode(rig.engine.api.logs(made))
    finally:
        rig.engine.api.remove_container(made, force=True)
    net_admin = f"{1 << 12:016x}"
    assert seen == {"CapEff": net_admin, "CapBnd": net_admin, "NoNewPrivs": "1", "Seccomp": "2", "write": "OSError"}


_AROUND = """
import json
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
found = {name: status[name] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
try:
    open("/opt/x", "w")
except OSError:
    found["write"] = "OSError"
print(json.dumps(found))
"""


async def test_the_doctor_tells_whether_the_guard_holds(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", str(rig.settings.docker_host))
    bot = await rig.bot()
    image = rig.settings.effective_guard_image
    async with rig.launcher():
        await rig.until_launched(bot)
        assert _look(rig, rig.installation).was == "same"
    docker_guard.apply(rig.engine.api, rig.installation, image, rules.nothing(rig.installation))
    good, words = await asyncio.to_thread(containment_report, rig.settings)
    assert not good
    assert str(rig.installation) in words
    off = msgspec.structs.replace(rig.settings, egress_guard="off")
    assert containment_report(off)[1].startswith("OFF")
    missing = msgspec.structs.replace(rig.settings, guard_image="tradewise/no-such-image:1")
    good, words = await asyncio.to_thread(containment_report, missing)
    assert (good, "TRADEWISE_GUARD_IMAGE" in words) == (False, True)
