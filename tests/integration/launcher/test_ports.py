"""Ports on the real engine: strangers on them, ports that get lost, and an address that stays."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import msgspec
import pytest

from control_plane.settings import PortRange
from tests.integration.launcher.rig import Rig
from tests.waiting import until

pytestmark = pytest.mark.engine


@contextlib.contextmanager
def strangers(count: int) -> Iterator[tuple[PortRange, list[socket.socket]]]:
    """Programs of the host that listen on a whole range of so many ports."""
    for first in range(31000, 32000, count):
        with contextlib.ExitStack() as stack:
            try:
                taken = [
                    stack.enter_context(socket.create_server(("127.0.0.1", first + number))) for number in range(count)
                ]
            except OSError:
                continue
            yield PortRange(first, first + count - 1), taken
            return
    raise AssertionError("no range of the host is free")


async def test_a_bot_starts_by_itself_when_the_stranger_leaves(rig: Rig) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, first_delay=0.5)
    bot = await rig.bot()
    with strangers(1) as (ports, [stranger]):
        async with rig.launcher(port_range=ports):
            row = await rig.until_status(bot, "starting", "port_conflict")
            assert row["attempt"] >= 1
            assert str(ports.first) in row["reason_detail"]
            assert row["exposed_host_port"] is None

            async def given_up() -> bool:
                # Between two attempts: each leases it anew.
                leased = await rig.admin.fetchrow("select * from port_leases where port = $1", ports.first)
                return (leased["state"], leased["instance_id"]) == ("foreign", None)

            await until(given_up, what="the port to be known as a stranger's")
            stranger.close()
            instance = await rig.up(bot)
            assert instance["host_port"] == ports.first
            assert (await rig.row(bot))["exposed_host_port"] == ports.first


async def test_three_ports_are_tried_before_a_conflict_is_told(rig: Rig) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, first_delay=60.0, longest_delay=60.0)
    bot = await rig.bot()
    with strangers(5) as (ports, _):
        async with rig.launcher(port_range=ports):
            row = await rig.until_status(bot, "starting", "port_conflict")
    foreign = await rig.admin.fetch("select port from port_leases where state = 'foreign'")
    assert len(foreign) == 3
    assert all(str(item["port"]) in row["reason_detail"] for item in foreign)
    assert rig.containers(bot) == []
    assert await rig.live(bot) is None


async def test_a_strangers_port_is_remembered_by_the_next_launcher(rig: Rig) -> None:
    bot, other = await rig.bot(), await rig.bot(desired="stopped")
    with strangers(1) as (ports, _):
        wider = PortRange(ports.first, ports.first + 3)
        async with rig.launcher(port_range=ports):
            await rig.until_status(bot, "starting", "port_conflict")
        async with rig.launcher(port_range=wider):
            assert (await rig.up(bot))["host_port"] != ports.first
            await rig.want(other, "running")
            assert (await rig.up(other))["host_port"] != ports.first
    # It has tried once, when it knew no better, and never again.
    assert await rig.admin.fetchval("select generation from port_leases where port = $1", ports.first) >= 1
    copies = await rig.admin.fetch("select * from bot_instances where host_port = $1", ports.first)
    assert {copy["bot_id"] for copy in copies} == {bot}


async def test_an_address_stays_through_restarts(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        first = await rig.up(bot)
        for _ in range(2):
            await rig.want(bot, "running")
            second = await rig.until_launched(bot, after=first["id"])
            assert second["host_port"] == first["host_port"]
            first = await rig.up(bot)
        await rig.want(bot, "stopped")
        await rig.until_status(bot, "inactive")
        row = await rig.admin.fetchrow("select * from port_leases where port = $1", first["host_port"])
        assert (row["state"], row["bot_id"], row["generation"]) == ("free", bot, 3)
        assert row["released_at"] is not None
        assert (await rig.row(bot))["exposed_host_port"] is None


async def test_a_bot_whose_port_the_engine_lost_is_started_anew(rig: Rig) -> None:
    rig.policy = msgspec.structs.replace(rig.policy, publish_address="127.0.0.1")
    bot, other = await rig.bot(), await rig.bot()
    async with rig.launcher():
        first, untouched = await rig.up(bot), await rig.up(other)
        container = rig.engine.containers.get(first["container_id"])
        [network] = container.attrs["NetworkSettings"]["Networks"]
        rig.engine.networks.get(network).disconnect(container)
        await rig.until_row(bot, lambda row: row["reason"] == "port_conflict", "the loss is noticed")
        second = await rig.until_launched(bot, after=first["id"])
        assert second["host_port"] == first["host_port"]
        assert (await rig.ask(second["host_port"], "state"))["bot_id"] == str(bot)
        await rig.up(bot)
        assert (await rig.row(bot))["attempt"] == 1
        assert (await rig.live(other) or {})["id"] == untouched["id"]


async def test_bots_move_when_the_address_that_they_are_published_at_changes(rig: Rig) -> None:
    bot = await rig.bot()
    async with rig.launcher():
        first = await rig.up(bot)
    rig.policy = msgspec.structs.replace(rig.policy, publish_address="127.0.0.2")
    async with rig.launcher(publish_address="127.0.0.2"):
        second = await rig.until_launched(bot, after=first["id"])
        await rig.up(bot)

        async def moved() -> bool:
            [container] = rig.containers(bot)
            return [port["IP"] for port in container["Ports"]] == ["127.0.0.2"]

        await until(moved, what="a copy at the new address")
        assert second["host_port"] == first["host_port"]
