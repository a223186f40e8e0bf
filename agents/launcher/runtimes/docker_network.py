"""The bridges that bots are on: one a tenant, with a name and addresses that we choose.

A name that begins alike for all of an installation is what the guard's rules go by, so that a new tenant's bridge is
inside them before it exists. Addresses come from a pool of our own: the engine's has room for about thirty bridges.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
from ipaddress import IPv4Network
from typing import Final
from uuid import UUID, uuid4

import docker
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from agents.launcher.runtimes.docker_profile import LABEL_INSTALLATION, LABEL_TENANT, installation_labels

#: Room for 253 bots, and in 10.208.0.0/12 for 4096 tenants.
PREFIX_LENGTH: Final = 24
_TRIES: Final = 64
_TAKEN: Final = ("pool overlaps", "overlaps with")


def bridge_prefix(installation: UUID) -> str:
    """How the names of all bridges of an installation begin."""
    return f"tw{_short(installation, 5)}"


def bridge_name(installation: UUID, tenant: UUID) -> str:
    """The bridge of a tenant: 15 characters, all that an interface's name may have."""
    return bridge_prefix(installation) + _short(tenant, 8)


def subnets(pool: IPv4Network, tenant: UUID, count: int = _TRIES) -> list[IPv4Network]:
    """Where to look for free addresses for a tenant: from a place that follows from its id, so that few meet."""
    places = 1 << max(0, PREFIX_LENGTH - pool.prefixlen)
    first = int.from_bytes(hashlib.sha256(tenant.bytes).digest()[:8], "big") % places
    size = 1 << (32 - max(PREFIX_LENGTH, pool.prefixlen))
    begin = int(pool.network_address)
    return [
        IPv4Network((begin + (first + step) % places * size, max(PREFIX_LENGTH, pool.prefixlen)))
        for step in range(min(count, places))
    ]


class TenantNetworks:
    """Found by their labels, made once, remembered until `forget`."""

    def __init__(self, installation: UUID, pool: IPv4Network) -> None:
        self._installation = installation
        self._pool = pool
        self._guarding = threading.Lock()
        self._making: dict[UUID, threading.Lock] = {}
        self._ids: dict[UUID, str] = {}

    def ensure(self, api: docker.APIClient, tenant: UUID) -> str:
        """The id of a tenant's network, made where there is none. Raises APIError."""
        with self._guarding:
            known, making = self._ids.get(tenant), self._making.setdefault(tenant, threading.Lock())
        if known is not None:
            return known
        with making:
            known = self._ids.get(tenant)
            if known is None:
                found = self._find(api, tenant)
                known = self._ids[tenant] = min(found) if found else self._make(api, tenant)
            return known

    def make_for_nobody(self, api: docker.APIClient) -> None:
        """Make a bridge like all of ours and take it away, for what the engine does to the kernel at its making."""
        api.remove_network(self._make(api, uuid4()))

    def forget(self) -> None:
        """Look again next time: the engine may have lost them, or be another one."""
        with self._guarding:
            self._ids.clear()

    def tidy(self, api: docker.APIClient) -> None:
        """Remove those that no container is on: of tenants whose bots are gone. For a time when nothing is made."""
        ours = {"label": f"{LABEL_INSTALLATION}={self._installation}"}
        listed = api.containers(all=True, filters=ours)
        used = {joined["NetworkID"] for item in listed for joined in item["NetworkSettings"]["Networks"].values()}
        for network in self._find(api, None):
            if network not in used:
                with contextlib.suppress(APIError):
                    api.remove_network(network)
        self.forget()

    def drop(self, api: docker.APIClient) -> None:
        """Remove all of them. The engine refuses while a container is on one."""
        for network in self._find(api, None):
            with contextlib.suppress(NotFound):
                api.remove_network(network)
        self.forget()

    def _find(self, api: docker.APIClient, tenant: UUID | None) -> list[str]:
        labels = [f"{LABEL_INSTALLATION}={self._installation}"]
        if tenant is not None:
            labels.append(f"{LABEL_TENANT}={tenant}")
        return [str(network["Id"]) for network in api.networks(filters={"label": labels})]

    def _make(self, api: docker.APIClient, tenant: UUID) -> str:
        tries = subnets(self._pool, tenant)
        for subnet in tries:
            try:
                return self._make_at(api, tenant, subnet)
            except APIError as error:
                if subnet == tries[-1] or not any(sign in str(error.explanation).lower() for sign in _TAKEN):
                    raise
        raise ValueError("a pool has a place")

    def _make_at(self, api: docker.APIClient, tenant: UUID, subnet: IPv4Network) -> str:
        made = api.create_network(
            # A name of its own: an engine accepts two networks of one name and then tells neither from the other.
            f"tradewise-{uuid4().hex}",
            driver="bridge",
            options={
                "com.docker.network.bridge.name": bridge_name(self._installation, tenant),
                # The guard keeps neighbours apart; this does so too where the engine filters packets, and sees to it
                # that what goes from port to port of a bridge passes the firewall at all.
                "com.docker.network.bridge.enable_icc": "false",
            },
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]),
            labels={**installation_labels(self._installation), LABEL_TENANT: str(tenant)},
        )
        return str(made["Id"])


def _short(identity: UUID, length: int) -> str:
    return base64.b32encode(hashlib.sha256(identity.bytes).digest()).decode().lower()[:length]
