"""Launches one copy of one bot: image, secrets, a place and a port in the database, then the container."""

from __future__ import annotations

import asyncio
import random
import time
from fnmatch import fnmatchcase
from typing import Final

import asyncpg
from uuid_utils.compat import uuid7

from agents.launcher import handover, queries
from agents.launcher.families import FAMILIES, Family, roomy
from agents.launcher.handover import Opened, SecretUnreadable
from agents.launcher.queries import Work
from agents.launcher.runtimes.base import Limits, PortTaken, Runtime, RuntimeFault, Spec
from control_plane.security.vault import Vault
from control_plane.settings import PortRange, Settings

_PORT_TRIES: Final = 5
_CLAIM_TRIES: Final = 20
_PULLS_AT_ONCE: Final = 2
_FOREIGN_FOR_S: Final = 600.0
_LIVE_COPY = "uq_bot_instances_live"


class LaunchFailed(Exception):  # noqa: N818 - what a person is told
    """A launch that did not succeed: a stable reason, words with a remedy, and whether trying again may help."""

    def __init__(self, reason: str, detail: str, *, retry: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.retry = retry


class Starter:
    """Does the work of one launch. The order is the fence: the row first, then the container, then its start."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault, runtime: Runtime) -> None:
        self._settings = settings
        self._pool = pool
        self._vault = vault
        self._runtime = runtime
        self._pulls = asyncio.Semaphore(_PULLS_AT_ONCE)
        self._ports = Ports(settings.port_range)

    async def launch(self, work: Work) -> None:
        """Launch ``work``'s bot, unless it has a live copy. Raises LaunchFailed, EngineUnreachable."""
        family = _family(work)
        reference = work.image or family.image(self._settings)
        image_id = await self._image(reference)
        try:
            opened = await handover.open_all(self._pool, self._vault, work)
        except SecretUnreadable as error:
            raise LaunchFailed(error.code, str(error)) from error
        taken: PortTaken | None = None
        for _ in range(_PORT_TRIES if self._runtime.capabilities.host_ports else 1):
            try:
                return await self._launch_once(work, family, reference, image_id, opened)
            except PortTaken as error:
                taken = error
            except RuntimeFault as error:
                words = f"The container engine could not start it: {str(error)[:300]}"
                raise LaunchFailed(RuntimeFault.code, words, retry=True) from error
        raise LaunchFailed(
            PortTaken.code,
            f"{_PORT_TRIES} ports in a row were in use by other programs of the host. Give TRADEWISE_PORT_RANGE a "
            f"range of its own, then start the bot again ({taken}).",
        )

    async def _launch_once(self, work: Work, family: Family, reference: str, image_id: str, opened: Opened) -> None:
        bot = work.bot
        spec = await self._claim(work, family, reference)
        if spec is None:
            return
        try:
            ref = await self._runtime.ensure(spec)
        except RuntimeFault:
            await queries.release(self._pool, bot, spec.instance_id)
            raise
        if not await queries.attach(self._pool, spec.instance_id, ref, image_id):
            # Another launcher gave this place away in the meantime: what was made for it must never run.
            await self._runtime.remove(ref)
            return
        flows = await queries.cash_flows(self._pool, bot.tenant_id, bot.id)
        state = family.ready_state(opened)
        if state is not None:
            await queries.expect(self._pool, spec.instance_id, state)
        try:
            await self._runtime.start(ref, family.document(bot.id, opened, flows))
        except PortTaken:
            if spec.host_port is not None:
                self._ports.avoid(spec.host_port)
            await self._give_up(spec, ref)
            raise
        except RuntimeFault:
            await self._give_up(spec, ref)
            raise
        await queries.running(self._pool, spec.instance_id)

    async def _claim(self, work: Work, family: Family, image: str) -> Spec | None:
        """The bot's one place, and a port that no other bot of ours has; None where the bot has a live copy."""
        for _ in range(_CLAIM_TRIES):
            port = None
            if self._runtime.capabilities.host_ports:
                port = self._ports.choose(await queries.used_ports(self._pool))
            if self._runtime.capabilities.host_ports and port is None:
                break
            instance_id = uuid7()
            name = self._settings.runtime
            obstacle = await queries.claim(self._pool, work.bot, instance_id, runtime=name, image=image, host_port=port)
            if obstacle == _LIVE_COPY:
                return None
            if obstacle is None:
                return Spec(
                    tenant_id=work.bot.tenant_id,
                    bot_id=work.bot.id,
                    instance_id=instance_id,
                    generation=work.bot.generation,
                    image=image,
                    publish_address=self._settings.publish_address,
                    host_port=port,
                    limits=roomy(Limits(), family),
                )
        raise LaunchFailed(
            PortTaken.code,
            "Every port of TRADEWISE_PORT_RANGE is in use. Widen it or stop other bots, then start this one again.",
        )

    async def _give_up(self, spec: Spec, ref: str) -> None:
        """Take back a container that could not be started, and its place."""
        await self._runtime.remove(ref)
        if await self._runtime.examine(ref) is None:
            await queries.abandon(self._pool, spec.instance_id)

    async def _image(self, reference: str) -> str:
        """The id of an image that the engine has and the operator allows."""
        allowed = is_allowed(reference, self._settings)
        try:
            image_id = await self._runtime.find_image(reference)
            problem = "the engine does not have it"
            if image_id is None and allowed and self._settings.image_pull == "missing":
                async with self._pulls:
                    image_id = await self._runtime.pull(reference)
        except RuntimeFault as error:
            image_id, problem = None, str(error)[:300]
        if image_id is None:
            unlisted = "" if allowed else " It is not on the operator's list either, so it was not fetched."
            raise LaunchFailed(
                "image_missing",
                f"The image {reference} is not there: {problem}.{unlisted} Ask your operator to provide it, then start "
                "the bot again.",
            )
        if not allowed:
            raise LaunchFailed(
                "image_not_allowed",
                f"The image {reference} is not on the operator's list (TRADEWISE_ALLOWED_IMAGES). Choose one that is, "
                "or ask your operator to allow it, then start the bot again.",
            )
        return image_id


def _family(work: Work) -> Family:
    family = FAMILIES.get(work.engine)
    if family is None:
        raise LaunchFailed("engine_unknown", f"This version of TradeWise does not run bots of engine {work.engine}.")
    return family


class Ports:
    """Which host port to try next: at random, so that two installations on one host seldom meet."""

    def __init__(self, ports: PortRange) -> None:
        self._all = range(ports.first, ports.last + 1)
        self._foreign: dict[int, float] = {}

    def choose(self, used: dict[int, bool]) -> int | None:
        """A port that nothing of ours has, rested ones first; None where all are in use."""
        now = time.monotonic()
        self._foreign = {port: until for port, until in self._foreign.items() if until > now}
        free = [port for port in self._all if not used.get(port, False) and port not in self._foreign]
        rested = [port for port in free if port not in used]
        return random.choice(rested or free) if free else None  # noqa: S311 - spreading, not secrecy

    def avoid(self, port: int) -> None:
        """A program that is not ours has this port: leave it alone for a while."""
        self._foreign[port] = time.monotonic() + _FOREIGN_FOR_S


def is_allowed(reference: str, settings: Settings) -> bool:
    """Whether the operator lets an image run: by TRADEWISE_ALLOWED_IMAGES, or as a family's own."""
    full = with_tag(reference)
    return full in {with_tag(family.image(settings)) for family in FAMILIES.values()} or any(
        fnmatchcase(full, pattern) or fnmatchcase(full, f"{pattern}:latest") for pattern in settings.allowed_images
    )


def with_tag(reference: str) -> str:
    """``reference`` with the tag that an engine reads where none is written."""
    last = reference.rsplit("/", 1)[-1]
    return reference if ":" in last or "@" in last else f"{reference}:latest"
