"""Writes one firewall table into the kernel and says what it found there. Runs by itself, in the host's network.

The source of this file is all that the guard's container is given: standard library only, no import of ours. It speaks
netfilter's own protocol (linux/netfilter/nf_tables.h), so the container's image needs Python and nothing else: no
`nft`, no package, no network to fetch one from. What it writes reads with `nft list table inet <name>`.

Standard input: one JSON document, see :func:`main`. Standard output: one JSON document. Exit 0 means that it holds.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NETLINK_NETFILTER = 12
NFPROTO_INET = 1
_TABLE, _GET_TABLE, _DELETE_TABLE, _CHAIN, _GET_CHAIN, _RULE, _GET_RULE = 0, 1, 2, 3, 4, 6, 7
_REQUEST, _ACK, _CREATE, _APPEND, _DUMP = 0x1, 0x4, 0x400, 0x800, 0x300
_BATCH_BEGIN, _BATCH_END, _NFTABLES = 16, 17, 10
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_REGISTER, _VERDICT_REGISTER = 1, 0
_EQUAL, _NOT_EQUAL = 0, 1
_VERDICTS = {"drop": 0, "accept": 1, "return": -5, "jump": -3, "goto": -4}
_HOOKS = {"input": 1, "forward": 2}
_NAME_BYTES = 16
_BUFFER = 16 << 20
_PATIENCE_S = 10.0
_SWITCHES = Path("/proc/sys/net/bridge")
_BRIDGE_FILTERS = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables")


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(parts))


def name(kind: int, text: str) -> bytes:
    """An attribute that holds a name."""
    return attribute(kind, text.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """An attribute that holds a number; the protocol has them in network order."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def expression(kind: str, *parts: bytes) -> bytes:
    """One step of a rule."""
    return nested(1, name(1, kind), nested(2, *parts))


def _compare(value: bytes, how: int = _EQUAL) -> bytes:
    return expression("cmp", number(1, _REGISTER), number(2, how), nested(3, attribute(1, value)))


def _meta(key: int) -> bytes:
    return expression("meta", number(1, _REGISTER), number(2, key))


def _masked(mask: bytes) -> bytes:
    return expression(
        "bitwise",
        number(1, _REGISTER),
        number(2, _REGISTER),
        number(3, len(mask)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, b"\0" * len(mask))),
    )


def _interface(key: int, text: str) -> bytes:
    """An interface by its name; one that ends with a star is the beginning of a name."""
    value = text[:-1].encode() if text.endswith("*") else text.encode().ljust(_NAME_BYTES, b"\0")
    return _meta(key) + _compare(value)


def _bits(key: int, bits: int) -> bytes:
    """Connection tracking: any of some bits. The kernel keeps them in its own byte order."""
    mask = struct.pack("=I", bits)
    return expression("ct", number(1, _REGISTER), number(2, key)) + _masked(mask) + _compare(b"\0" * 4, _NOT_EQUAL)


def _destination(text: str) -> bytes:
    network = ipaddress.IPv4Network(text)
    payload = expression("payload", number(1, _REGISTER), number(2, 1), number(3, 16), number(4, 4))
    mask = _masked(network.netmask.packed) if network.prefixlen < 32 else b""
    return _match("family", "ipv4") + payload + mask + _compare(network.network_address.packed)


def _match(kind: str, value: str | int) -> bytes:
    """One condition of a rule."""
    if kind == "iif":
        return _interface(6, str(value))
    if kind == "oif":
        return _interface(7, str(value))
    if kind == "forwarded":  # on its way to another interface, and not to the host itself
        return _meta(7) + _compare(b"\0" * _NAME_BYTES, _NOT_EQUAL)
    if kind == "family":
        return _meta(15) + _compare(bytes([{"ipv4": 2, "ipv6": 10}[str(value)]]))
    if kind == "to":
        return _destination(str(value))
    if kind == "protocol":
        return _meta(16) + _compare(bytes([{"tcp": 6, "udp": 17}[str(value)]]))
    if kind == "port":
        port = expression("payload", number(1, _REGISTER), number(2, 2), number(3, 2), number(4, 2))
        return port + _compare(struct.pack(">H", int(value)))
    if kind == "known":  # established or related
        return _bits(0, 2 | 4)
    if kind == "published":  # to a port that the engine publishes
        return _bits(2, 1 << 5)
    if kind == "reply":
        return expression("ct", number(1, _REGISTER), number(2, 1)) + _compare(b"\1")
    raise ValueError(f"no such condition: {kind}")


def rule(table: str, chain: str, matches: list[list[str | int]], verdict: str) -> bytes:
    """A rule as the kernel takes it. ``verdict`` is `drop`, `accept`, `return`, or `jump` or `goto` with a chain."""
    what, _, where = verdict.partition(" ")
    parts = [number(1, _VERDICTS[what])] + ([name(2, where)] if where else [])
    end = expression("immediate", number(1, _VERDICT_REGISTER), nested(2, nested(2, *parts)))
    steps = b"".join(_match(str(kind), value) for kind, value in matches) + end
    return name(1, table) + name(2, chain) + nested(4, steps)


def _message(kind: int, flags: int, payload: bytes, *, sequence: int, family: int = NFPROTO_INET) -> bytes:
    body = struct.pack("=BBH", family, 0, 0) + payload
    return struct.pack("=IHHII", 16 + len(body), (_NFTABLES << 8) | kind, flags | _REQUEST, sequence, 0) + body


def _edge(kind: int, sequence: int) -> bytes:
    return struct.pack("=IHHII", 20, kind, _REQUEST, sequence, 0) + struct.pack(">BBH", 0, 0, _NFTABLES)


def chain(table: str, chain_name: str, hook: str | None, priority: int) -> bytes:
    """A chain; one with a hook is called by the kernel and lets through what it does not decide."""
    base = b""
    if hook is not None:
        base = nested(4, number(1, _HOOKS[hook]), number(2, priority)) + number(5, 1) + name(7, "filter")
    return name(1, table) + name(3, chain_name) + base


def batch(document: dict[str, Any]) -> tuple[bytes, int]:
    """Everything in one transaction, and how many rules it holds: the old table out, the new one in, no gap between."""
    table = document["table"]
    steps = [(_TABLE, _CREATE, name(1, table)), (_DELETE_TABLE, 0, name(1, table))]
    rules = 0
    if document["chains"]:
        steps.append((_TABLE, _CREATE, name(1, table)))
    steps += [
        (_CHAIN, _CREATE, chain(table, item["name"], item.get("hook"), item.get("priority", 0)))
        for item in document["chains"]
    ]
    for item in document["chains"]:
        for matches, verdict in item["rules"]:
            rules += 1
            steps.append((_RULE, _CREATE | _APPEND, rule(table, item["name"], matches, verdict)))
    packed = [_edge(_BATCH_BEGIN, 1)]
    for at, (kind, flags, payload) in enumerate(steps, start=2):
        packed.append(_message(kind, flags | (_ACK if at == len(steps) + 1 else 0), payload, sequence=at))
    packed.append(_edge(_BATCH_END, len(steps) + 2))
    return b"".join(packed), rules


class Kernel:
    """A connection to netfilter."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.settimeout(_PATIENCE_S)
        # SO_SNDBUFFORCE: a table of many tenants is larger than what a socket takes by default.
        self._socket.setsockopt(socket.SOL_SOCKET, 32, _BUFFER)

    def write(self, packed: bytes) -> None:
        """Carry a batch out, whole or not at all. Raises OSError."""
        self._socket.send(packed)
        for _ in self._answers():
            pass

    def chains(self, table: str, chain_name: str) -> int:
        """1 where a table has a chain, else 0."""
        question = name(1, table) + name(3, chain_name)
        return self._count(_message(_GET_CHAIN, _ACK, question, sequence=1), _CHAIN)

    def rules(self, table: str) -> int:
        """How many rules a table has."""
        return self._count(_message(_GET_RULE, _DUMP, name(1, table), sequence=1), _RULE)

    def _count(self, question: bytes, kind: int) -> int:
        self._socket.send(question)
        try:
            return [*self._answers()].count((_NFTABLES << 8) | kind)
        except FileNotFoundError:
            return 0

    def _answers(self) -> Iterator[int]:
        """The kinds of messages that come back, until the kernel says that it is done. Raises what it says."""
        while True:
            data = self._socket.recv(1 << 20)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", data, 16)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                if kind == _DONE:
                    return
                yield kind
                data = data[(length + 3) & ~3 :]


def resolvers(text: str) -> list[str]:
    """The name servers of a resolv.conf that containers ask themselves. Those on loopback the engine asks for them."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                address = ipaddress.IPv4Address(words[1])
            except ValueError:
                continue
            if not address.is_loopback:
                found.append(str(address))
    return found


def with_resolvers(document: dict[str, Any], servers: list[str]) -> dict[str, Any]:
    """The document with its chain `resolvers` filled: the one thing that only the engine's host knows."""
    for item in document["chains"]:
        if item["name"] == "resolvers":
            item["rules"] = [
                [[["to", server], ["protocol", protocol], ["port", 53]], "accept"]
                for server in servers
                for protocol in ("udp", "tcp")
            ]
    return document


def filtered_bridges(switches: Path) -> bool:
    """Whether packets between two ports of one bridge pass the firewall at all.

    A kernel without IPv6 lacks the switch for it, and has none to filter.
    """
    found = {}
    for switch in _BRIDGE_FILTERS:
        try:
            found[switch] = Path(switches, switch).read_text("ascii").strip() == "1"
        except FileNotFoundError:
            continue
    return found.get(_BRIDGE_FILTERS[0], False) and all(found.values())


def main() -> int:
    """Take ``{"table", "mark", "chains": [{"name", "hook"?, "priority"?, "rules": [[matches, verdict]]}]}``.

    No chains: the table is taken away. With ``"look": true`` nothing is changed. Says ``{"was": "same" | "changed" |
    "absent", "rules", "servers"}``, or ``{"error": ...}`` with exit code 1.
    """
    document = json.load(sys.stdin)
    try:
        answer = replace(document)
    except OSError as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)
    return 1 if "error" in answer else 0


def replace(document: dict[str, Any]) -> dict[str, Any]:
    """Put the document's table in the place of the old one, and look whether it is there. Raises OSError."""
    servers: list[str] = []
    if document.get("look"):
        found = Kernel().rules(document["table"])
        if found and not filtered_bridges(_SWITCHES):
            return {"error": "bridges"}
        return {"was": "same" if found else "absent", "rules": found}
    if document["chains"]:
        if not filtered_bridges(_SWITCHES):
            return {"error": "bridges"}
        servers = resolvers(Path("/etc/resolv.conf").read_text("utf-8", "replace"))
        document = with_resolvers(document, servers)
    packed, rules = batch(document)
    kernel = Kernel()
    before = kernel.rules(document["table"])
    marked = kernel.chains(document["table"], document["mark"])
    kernel.write(packed)
    if kernel.rules(document["table"]) != rules:
        return {"error": "the kernel has other rules than it was given"}
    was = "absent" if not before else "same" if marked and before == rules else "changed"
    return {"was": was, "rules": rules, "servers": servers}


if __name__ == "__main__":
    sys.exit(main())
