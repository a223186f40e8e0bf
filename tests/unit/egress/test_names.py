"""Looking names up, and what this machine lacks itself: neither may be told as another bot's fault."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from agents.egress import GuardedClient, MeansExhausted, SystemResolver
from tests.servers.dns_server import DnsServer
from tests.servers.hostile_server import always, hostile_server, http
from tests.unit.egress.support import LOOPBACK, at, failure, local_client

OK = http(b'{"ok": true}')


def resolver_at(server: DnsServer, **options: object) -> SystemResolver:
    """The resolver, of a machine whose name server is this one."""
    return SystemResolver(servers=["127.0.0.1"], udp_port=server.port, **options)


async def test_names_that_never_answer_hold_up_no_other_name() -> None:
    async with DnsServer(bot_test="127.0.0.1") as names, hostile_server(always(OK)) as server:
        resolver = resolver_at(names, timeout=600.0)
        async with GuardedClient.for_tenants(allow=LOOPBACK, resolver=resolver) as client:
            dead = [asyncio.create_task(resolver(f"{number}.dead.test", 80)) for number in range(500)]
            assert (await client.get_json(at(server.port, "bot.test"), "/x")).status == 200
            assert not any(task.done() for task in dead)
        resolver.close()
        gone = await asyncio.gather(*dead, return_exceptions=True)
        assert {type(error) for error in gone} == {OSError}


async def test_a_name_that_never_answers_is_a_timeout_and_an_unknown_one_has_no_address() -> None:
    async with DnsServer() as names:
        resolver = resolver_at(names, timeout=0.05)
        async with local_client() as plain, GuardedClient.for_tenants(resolver=resolver) as client:
            assert (await failure(client, at(80, "x.dead.test"))).code == "timeout"
            unknown = await failure(client, at(80, "unknown.test"))
            assert (unknown.code, unknown.message) == ("unreachable", "The host name has no address.")
            assert (await failure(plain, at(80, "a..b"))).code == "unreachable"
        resolver.close()


async def test_every_address_of_a_name_is_told_once() -> None:
    async with DnsServer(bot_test="192.0.2.7") as names:
        resolver = resolver_at(names)
        assert list(await resolver("bot.test", 80)) == [ip_address("192.0.2.7")]
        resolver.close()


@contextmanager
def no_file_left() -> Iterator[None]:
    """This process may open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(file.name) for file in Path("/proc/self/fd").iterdir())
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_lack_of_files_is_ours_and_no_word_about_the_bot() -> None:
    async with hostile_server(always(OK)) as server, local_client() as client:
        with no_file_left(), pytest.raises(MeansExhausted):
            await client.get_json(at(server.port), "/x")
        assert (await client.get_json(at(server.port), "/x")).status == 200
