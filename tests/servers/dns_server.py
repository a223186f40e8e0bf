"""A name server on loopback that knows the test's names, and never answers for some."""

from __future__ import annotations

import asyncio
import struct
from ipaddress import ip_address
from types import TracebackType
from typing import Self

_A, _AAAA = 1, 28
_ANSWERED, _NO_SUCH_NAME = 0x8180, 0x8183


class DnsServer(asyncio.DatagramProtocol):
    """Answers questions for addresses (RFC 1035, 4.1) from `names`; a name under ``dead.test`` gets no answer."""

    def __init__(self, **names: str) -> None:
        self.names = {name.replace("_", "."): address for name, address in names.items()}
        self.asked: list[str] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A question."""
        end = data.index(0, 12) + 5
        name = _name(data[12:])
        self.asked.append(name)
        if name.endswith("dead.test") or self._transport is None:
            return
        (wanted,) = struct.unpack("!H", data[end - 4 : end - 2])
        address = self.names.get(name)
        found = b"" if address is None or wanted != _A else _record(_A, ip_address(address).packed)
        flags = _NO_SUCH_NAME if address is None else _ANSWERED
        head = data[:2] + struct.pack("!HHHHH", flags, 1, 1 if found else 0, 0, 0)
        self._transport.sendto(head + data[12:end] + found, addr)


def _name(question: bytes) -> str:
    parts = []
    while question[0]:
        length = question[0]
        parts.append(question[1 : 1 + length].decode().lower())
        question = question[1 + length :]
    return ".".join(parts)


def _record(kind: int, data: bytes) -> bytes:
    # The name is the question's, at byte 12; good for a minute.
    return struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
