"""The volumes that bots keep their data on: one each, held to its size by the engine where its disk can do that."""

from __future__ import annotations

import contextlib
from uuid import UUID

import docker
import requests
from docker.errors import APIError, NotFound

from agents.launcher.runtimes.base import Spec
from agents.launcher.runtimes.docker_profile import (
    LABEL_BOT,
    LABEL_INSTALLATION,
    label_uuid,
    storage_labels,
    storage_name,
)


class Volumes:
    """Found by their labels. Remembers until `forget` whether the engine's disk has quotas."""

    def __init__(self, installation: UUID) -> None:
        self._installation = installation
        self._bounded: bool | None = None

    def forget(self) -> None:
        """Another engine may answer next."""
        self._bounded = None

    def ensure(self, api: docker.APIClient, spec: Spec) -> str:
        """The name of a bot's volume. One that is there stays as it is, with the size that it was made with."""
        name = storage_name(self._installation, spec.bot_id)
        labels = storage_labels(self._installation, spec.bot_id)
        if spec.limits.disk_bytes is not None and self._bounded is not False:
            try:
                api.create_volume(name, driver_opts={"size": str(spec.limits.disk_bytes)}, labels=labels)
            except APIError as error:
                if "quota" not in str(error.explanation).lower():
                    raise
                self._bounded = False
            else:
                self._bounded = True
                return name
        api.create_volume(name, labels=labels)
        return name

    def usage(self, api: docker.APIClient) -> dict[UUID, int]:
        """What each bot stores, in bytes; of none where the engine holds them to their sizes, or could not tell."""
        if self._bounded:
            return {}
        try:
            volumes = api.df()["Volumes"] or ()
        except (requests.Timeout, APIError):
            return {}
        found: dict[UUID, int] = {}
        for volume in volumes:
            labels, size = volume.get("Labels") or {}, int((volume.get("UsageData") or {}).get("Size", -1))
            bot_id = label_uuid(labels.get(LABEL_BOT))
            if labels.get(LABEL_INSTALLATION) == str(self._installation) and bot_id is not None and size >= 0:
                found[bot_id] = found.get(bot_id, 0) + size
        return found

    def drop(self, api: docker.APIClient, bot_id: UUID) -> None:
        """Remove what a bot has stored."""
        labels = [f"{LABEL_INSTALLATION}={self._installation}", f"{LABEL_BOT}={bot_id}"]
        for volume in api.volumes(filters={"label": labels})["Volumes"] or ():
            with contextlib.suppress(NotFound):
                api.remove_volume(volume["Name"])
