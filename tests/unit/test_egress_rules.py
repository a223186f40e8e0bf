"""Where bots may connect to, as it is written, and as the firewall is told."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.launcher.guard import program, rules
from agents.launcher.runtimes.base import Egress, Reach
from agents.launcher.runtimes.docker_network import bridge_name, bridge_prefix, subnets
from control_plane.security import addresses
from control_plane.security.egress import BLOCKED, METADATA, Destination, parse_destination

_HERE = UUID(int=7)
_OURS, _BRIDGE = "tw*", "twtenant"


@pytest.mark.parametrize(
    ("text", "network", "port"),
    [
        ("203.0.113.7", "203.0.113.7/32", None),
        (" 203.0.113.0/24 ", "203.0.113.0/24", None),
        ("203.0.113.7:443", "203.0.113.7/32", 443),
        ("0.0.0.0/0:1", "0.0.0.0/0", 1),
    ],
)
def test_a_destination_is_read_and_written(text: str, network: str, port: int | None) -> None:
    found = parse_destination(text)
    assert found == Destination(network, port)
    assert parse_destination(str(found)) == found


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("exchange.example", "IPv4 address or network"),
        ("2001:db8::1", "IPv6"),
        ("[2001:db8::1]:443", "IPv6"),
        ("203.0.113.7/24", "write 203.0.113.0/24"),
        ("203.0.113.7:0", "port from 1 to 65535"),
        ("203.0.113.7:65536", "port from 1 to 65535"),
        ("203.0.113.7:", "port from 1 to 65535"),
        ("203.0.113.7:４４３", "port from 1 to 65535"),
        ("203.0.113.0/33", "IPv4 address or network"),
        ("", "IPv4 address or network"),
    ],
)
def test_what_is_no_destination_is_told_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        parse_destination(text)


def test_what_tenants_urls_may_not_name_bots_may_not_reach() -> None:
    closed = [IPv4Network(item.network) for item in BLOCKED]
    for refused in addresses._REFUSED_V4:
        assert any(refused.subnet_of(network) for network in closed), refused
    for address in addresses._METADATA:
        if isinstance(address, IPv4Address):
            assert any(address in IPv4Network(item.network) for item in METADATA), address


class _Packet:
    """A packet that a bot sends, in the few words that rules look at."""

    def __init__(
        self, to: str, port: int = 443, *, reply: bool = False, oif: str = "eth0", family: str = "ipv4"
    ) -> None:
        self.to, self.port, self.reply, self.oif, self.family = IPv4Address(to), port, reply, oif, family

    def matches(self, kind: str, value: Any) -> bool:
        if kind == "to":
            return self.family == "ipv4" and self.to in IPv4Network(value)
        if kind in {"iif", "oif"}:
            name = _BRIDGE if kind == "iif" else self.oif
            return name.startswith(value[:-1]) if value.endswith("*") else name == str(value)
        seen: dict[str, bool] = {
            "port": self.port == value,
            "protocol": value == "tcp",
            "family": self.family == value,
            "forwarded": bool(self.oif),
            "reply": self.reply,
            "known": self.reply,
            "published": False,
        }
        return seen[kind]


def _verdict(egress: Egress, packet: _Packet, start: str = "forward") -> str:
    """What the rules say of a packet, walked as the kernel walks them."""
    document = rules.document(_HERE, egress, _OURS, lambda _: _BRIDGE)
    document = program.with_resolvers(document, ["10.0.0.53"])
    chains = {chain["name"]: chain["rules"] for chain in document["chains"]}

    def walk(name: str) -> str | None:
        for matches, verdict in chains[name]:
            if all(packet.matches(kind, value) for kind, value in matches):
                what, _, where = verdict.partition(" ")
                if what in {"accept", "drop"}:
                    return str(what)
                found = walk(where)
                if found is not None or what == "goto":
                    return found
        return None

    return walk(start) or "accept"


_TENANT = UUID(int=1)


@pytest.mark.parametrize(
    ("egress", "packet", "verdict"),
    [
        (Egress(), _Packet("8.8.8.8"), "accept"),
        (Egress(), _Packet("10.1.2.3"), "drop"),
        (Egress(), _Packet("169.254.169.254", 80), "drop"),
        (Egress(), _Packet("10.0.0.53", 53), "accept"),
        (Egress(), _Packet("10.0.0.53", 80), "drop"),
        (Egress(), _Packet("8.8.8.8", family="ipv6"), "drop"),
        (Egress(), _Packet("8.8.8.8", oif="twother"), "drop"),
        (Egress(), _Packet("8.8.8.8", reply=True), "accept"),
        (Egress(mode="none"), _Packet("8.8.8.8"), "drop"),
        (Egress(mode="none"), _Packet("10.0.0.53", 53), "drop"),
        (Egress(mode="none"), _Packet("8.8.8.8", reply=True), "accept"),
        (Egress(mode="listed", allowed=(Destination("8.8.8.8/32"),)), _Packet("8.8.8.8"), "accept"),
        (Egress(mode="listed", allowed=(Destination("8.8.8.8/32"),)), _Packet("8.8.4.4"), "drop"),
        (Egress(allowed=(Destination("10.0.0.0/8"),)), _Packet("10.1.2.3"), "accept"),
        (Egress(allowed=(Destination("10.0.0.0/8"),)), _Packet("10.1.2.3", oif="twother"), "drop"),
        (Egress(allowed=(Destination("0.0.0.0/0"),)), _Packet("169.254.169.254"), "drop"),
        (Egress(allowed=(Destination("10.0.0.0/8", 9000),)), _Packet("10.1.2.3", 9001), "drop"),
        (Egress(tenants={_TENANT: Reach("none")}), _Packet("8.8.8.8"), "drop"),
        (Egress(tenants={_TENANT: Reach("none")}), _Packet("10.0.0.53", 53), "drop"),
        (Egress(tenants={_TENANT: Reach("listed", (Destination("8.8.8.8/32", 443),))}), _Packet("8.8.8.8"), "accept"),
        (Egress(tenants={_TENANT: Reach("listed", (Destination("8.8.8.8/32", 443),))}), _Packet("8.8.8.8", 80), "drop"),
        (Egress(tenants={_TENANT: Reach("listed", (Destination("0.0.0.0/0"),))}), _Packet("10.1.2.3"), "drop"),
        (
            Egress(mode="none", tenants={_TENANT: Reach("listed", (Destination("8.8.8.8/32"),))}),
            _Packet("8.8.8.8"),
            "drop",
        ),
    ],
)
def test_what_a_bot_sends_through_the_host(egress: Egress, packet: _Packet, verdict: str) -> None:
    assert _verdict(egress, packet) == verdict


@pytest.mark.parametrize(
    ("allowed", "verdict"),
    [
        ((), "drop"),
        (("192.0.2.2/32", None), "drop"),
        (("192.0.2.0/24", 443), "drop"),
        (("192.0.2.2/32", 443), "accept"),
    ],
)
def test_a_service_of_the_host_is_opened_one_by_one(allowed: tuple[Any, ...], verdict: str) -> None:
    egress = Egress(allowed=(Destination(*allowed),) if allowed else ())
    assert _verdict(egress, _Packet("192.0.2.2", oif=""), "input") == verdict
    assert _verdict(egress, _Packet("192.0.2.2", oif="", reply=True), "input") == "accept"
    assert _verdict(egress, _Packet("8.8.8.8", oif=""), "input") == "drop"


_DESTINATIONS = st.lists(
    st.builds(
        lambda number, length, port: Destination(
            str(IPv4Network((number >> (32 - length) << (32 - length), length))), port
        ),
        st.integers(0, 2**32 - 1),
        st.integers(1, 32),
        st.none() | st.sampled_from([80, 443]),
    ),
    max_size=5,
).map(tuple)
_REACHES = st.builds(Reach, st.sampled_from(["public", "listed", "none"]), _DESTINATIONS)
_PACKETS = st.builds(
    lambda number, port: _Packet(str(IPv4Address(number)), port), st.integers(0, 2**32 - 1), st.sampled_from([80, 443])
)


@given(st.sampled_from(["public", "listed", "none"]), _DESTINATIONS, _REACHES, _PACKETS)
def test_a_tenant_only_ever_narrows(mode: Any, allowed: Any, reach: Reach, packet: _Packet) -> None:
    alone = _verdict(Egress(mode=mode, allowed=allowed), packet)
    together = _verdict(Egress(mode=mode, allowed=allowed, tenants={_TENANT: reach}), packet)
    assert together in {alone, "drop"}


def test_the_mark_follows_the_rules() -> None:
    def mark(egress: Egress) -> str:
        return str(rules.document(_HERE, egress, _OURS, lambda tenant: f"tw{tenant.int}")["mark"])

    one, other = Reach("none"), Reach("listed", (Destination("8.8.8.8/32"),))
    first = Egress(tenants={UUID(int=1): one, UUID(int=2): other})
    assert mark(first) == mark(Egress(tenants={UUID(int=2): other, UUID(int=1): one}))
    assert mark(first) != mark(Egress(tenants={UUID(int=1): other, UUID(int=2): other}))


def test_a_batch_is_packed_whole() -> None:
    document = rules.document(_HERE, Egress(tenants={_TENANT: Reach("none")}), "twabcde*", lambda _: "twabcdefghijklm")
    packed, count = program.batch(json.loads(json.dumps(document)))
    assert count == sum(len(chain["rules"]) for chain in document["chains"])
    assert len(packed) % 4 == 0
    assert b"twabcdefghijklm\0" in packed


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 10.0.0.53\nsearch example\n", ["10.0.0.53"]),
        ("# nameserver 1.1.1.1\nnameserver 127.0.0.53\nnameserver 9.9.9.9", ["9.9.9.9"]),
        ("nameserver fd00::1\nnameserver", []),
        ("", []),
    ],
)
def test_name_servers_are_read_as_the_host_has_them(text: str, servers: list[str]) -> None:
    assert program.resolvers(text) == servers


@pytest.mark.parametrize(
    ("switches", "filtered"),
    [
        ({"iptables": "1", "ip6tables": "1"}, True),
        ({"iptables": "1"}, True),
        ({"iptables": "0", "ip6tables": "1"}, False),
        ({"iptables": "1", "ip6tables": "0"}, False),
        ({}, False),
    ],
)
def test_neighbours_are_only_apart_where_bridges_are_filtered(
    tmp_path: Path, switches: dict[str, str], *, filtered: bool
) -> None:
    for name, value in switches.items():
        (tmp_path / f"bridge-nf-call-{name}").write_text(f"{value}\n")
    assert program.filtered_bridges(tmp_path) is filtered


def test_a_bridge_has_a_name_that_the_kernel_takes_and_that_tells_whose_it_is() -> None:
    installation = uuid4()
    names = {bridge_name(installation, uuid4()) for _ in range(500)}
    assert len(names) == 500
    assert {len(name) for name in names} == {15}
    assert all(name.startswith(bridge_prefix(installation)) for name in names)
    assert bridge_prefix(installation) != bridge_prefix(uuid4())


@given(st.uuids(), st.integers(8, 24))
def test_places_for_a_tenant_lie_in_the_pool_and_apart(tenant: UUID, length: int) -> None:
    pool = IPv4Network((10 << 24, length))
    found = subnets(pool, tenant)
    assert len(set(found)) == len(found) == min(64, 1 << (24 - length))
    assert all(place.subnet_of(pool) and place.prefixlen == 24 for place in found)
