"""The one bridge that all bots of an installation are on, and on which none reaches another, whosever they are.

A bridge a tenant would add nothing to that, and an engine's address pools hold about thirty bridges.
"""

from __future__ import annotations

import contextlib
import threading
from uuid import UUID, uuid4

import docker
from docker.errors import NotFound

from agents.launcher.runtimes.docker_profile import LABEL_INSTALLATION, installation_labels


class SharedNetwork:
    """Found by its label, made once, remembered until `forget`."""

    def __init__(self, installation: UUID) -> None:
        self._installation = installation
        self._making = threading.Lock()
        self._id: str | None = None

    def ensure(self, api: docker.APIClient) -> str:
        """The id of the network, made where there is none."""
        with self._making:
            if self._id is None:
                found = self._find(api)
                self._id = min(found) if found else self._make(api)
            return self._id

    def forget(self) -> None:
        """Look again next time: the engine may have lost it, or be another one."""
        with self._making:
            self._id = None

    def drop(self, api: docker.APIClient) -> None:
        """Remove it. The engine refuses while a container is on it."""
        for network in self._find(api):
            with contextlib.suppress(NotFound):
                api.remove_network(network)
        self.forget()

    def _find(self, api: docker.APIClient) -> list[str]:
        label = f"{LABEL_INSTALLATION}={self._installation}"
        return [str(network["Id"]) for network in api.networks(filters={"label": label})]

    def _make(self, api: docker.APIClient) -> str:
        made = api.create_network(
            # A name of its own: an engine accepts two networks of one name and then tells neither from the other.
            f"tradewise-{uuid4().hex}",
            driver="bridge",
            options={"com.docker.network.bridge.enable_icc": "false"},
            labels=installation_labels(self._installation),
        )
        return str(made["Id"])
