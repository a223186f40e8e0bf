"""Clients for loopback servers, under names of the test's choosing."""

import asyncio
import datetime as dt
import ssl
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.egress import Authorization, EgressError, GuardedClient, Limits
from control_plane.security.addresses import Address, BotUrl

LOOPBACK = [ip_network("127.0.0.1/32")]
SECRET = "s3cr3t-token-value"
QUICK = Limits(connect_timeout=2.0, total_timeout=0.4)


class Names:
    """A resolver that the test writes: each look-up takes the next of a name's answers, the last one for good."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(given) for name, given in answers.items()}
        self.looked_up: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[Address]:
        self.looked_up.append(host)
        given = self.answers.get(host)
        if given is None:
            raise OSError(f"no such name: {host}")
        return [ip_address(text) for text in (given.pop(0) if len(given) > 1 else given[0])]


def local_client(limits: Limits | None = None, names: Names | None = None, **more: ssl.SSLContext) -> GuardedClient:
    """A tenants' client that the operator lets reach 127.0.0.1 and nothing else private."""
    return GuardedClient.for_tenants(allow=LOOPBACK, limits=limits, resolver=names, **more)


def at(port: int, host: str = "127.0.0.1", scheme: str = "http") -> BotUrl:
    """The URL of a server on a loopback port."""
    return BotUrl(scheme, host, port)


async def failure(client: GuardedClient, url: BotUrl) -> EgressError:
    """The error that a GET with a secret ends in."""
    with pytest.raises(EgressError) as caught:
        await client.get_json(url, "/x", auth=Authorization.bearer(SECRET))
    return caught.value


async def outcome(client: GuardedClient, url: BotUrl) -> str:
    """How a GET ends: `answer`, or the code of its error."""
    try:
        await client.get_json(url, "/x", auth=Authorization.bearer(SECRET))
    except EgressError as error:
        return error.code
    return "answer"


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Let the loop run until a condition holds; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0)


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own for `names`, and a client's context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test bot")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "bot.pem"
    path.write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=pem.decode())
