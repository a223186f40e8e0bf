"""Launches one copy of one bot: image, secrets, a place and a port in the database, then the container."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.launcher import accounts, handover, places, queries
from agents.launcher.containment import Containment
from agents.launcher.failures import LaunchFailed
from agents.launcher.families import FAMILIES, Family
from agents.launcher.handover import Opened, SecretUnreadable
from agents.launcher.image_choice import Images
from agents.launcher.ports import Ports
from agents.launcher.queries import Work
from agents.launcher.runtimes.base import (
    ContainmentUnavailable,
    EngineUnreachable,
    Limits,
    PortTaken,
    Runtime,
    RuntimeFault,
    Spec,
)
from control_plane.bots.layers import merged
from control_plane.plans import Plan, memory_of, plan_of
from control_plane.security.vault import Vault
from control_plane.settings import Settings

_PORT_TRIES: Final = 3
#: Launches under way at once, and those of bots whose last launch got no answer: they hold up nobody but their like.
_LAUNCHES_AT_ONCE: Final = 8
_HANGING_AT_ONCE: Final = 2


class _Order(msgspec.Struct, frozen=True):
    """What one launch is made of, once it is known. Holds secrets, as long as the launch lasts."""

    work: Work
    family: Family
    image: str
    image_id: str
    opened: Opened
    account: bytes | None
    tried: list[int] = []
    """Ports that strangers were found on."""


class Starter:
    """Does the work of one launch. The order is the fence: the row first, then the container, then its start."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault, runtime: Runtime) -> None:
        self._settings = settings
        self._pool = pool
        self._vault = vault
        self._runtime = runtime
        self.containment = Containment(settings, pool, runtime)
        self._images = Images(settings, runtime)
        self._launches = asyncio.Semaphore(_LAUNCHES_AT_ONCE)
        self._slow_launches = asyncio.Semaphore(_HANGING_AT_ONCE)
        self._hanging: set[UUID] = set()
        self._ports = Ports(settings.runtime, settings.port_range) if runtime.capabilities.host_ports else None

    async def launch(self, work: Work) -> bool:
        """Launch ``work``'s bot; False where it has a live copy, or is not wanted any more as it was.

        Raises LaunchFailed, EngineUnreachable.
        """
        family = _family(work)
        reference = work.image or family.image(self._settings)
        image = await self._images.find(reference)
        try:
            opened = await handover.open_all(self._pool, self._vault, work)
        except SecretUnreadable as error:
            raise LaunchFailed(error.code, str(error)) from error
        account = await self._account(work, opened)
        if self._ports is not None:
            await self._ports.prepare(self._pool)
        order = _Order(work, family, reference, image.id, opened, account)
        for _ in range(_PORT_TRIES):
            try:
                return await self._in_turn(order)
            except PortTaken:
                continue
            except places.NoPort:
                break
            except ContainmentUnavailable as error:
                raise LaunchFailed(
                    "containment_unavailable", f"It was not started: {str(error)[:400]}", retry=True
                ) from error
            except RuntimeFault as error:
                words = f"The container engine could not start it: {str(error)[:300]}"
                raise LaunchFailed(RuntimeFault.code, words, retry=True) from error
        raise LaunchFailed(PortTaken.code, _no_port(order.tried), retry=True)

    async def _in_turn(self, order: _Order) -> bool:
        """Launch when there is a turn. Only then is a place claimed: its lease is for the launch, not for waiting."""
        bot = order.work.bot.id
        async with self._slow_launches if bot in self._hanging else self._launches:
            try:
                launched = await self._launch_once(order)
            except EngineUnreachable:
                self._hanging.add(bot)
                raise
        self._hanging.discard(bot)
        return launched

    async def _launch_once(self, order: _Order) -> bool:
        bot = order.work.bot
        # Before anything of it exists: what is not contained is not made.
        await self.containment.hold()
        document = await self._document(order)
        try:
            spec = await self._claim(order)
        except places.Occupied:
            return False
        try:
            ref = await self._runtime.ensure(spec)
        except RuntimeFault:
            await queries.release(self._pool, bot, spec.instance_id)
            raise
        if not await queries.attach(self._pool, spec.instance_id, ref, order.image_id):
            # Another launcher gave this place away in the meantime: what was made for it must never run.
            await self._runtime.remove(ref)
            return False
        state = order.family.ready_state(order.opened)
        if state is not None:
            await queries.expect(self._pool, spec.instance_id, state)
        if not await queries.hold(self._pool, spec.instance_id):
            await self._give_up(spec, ref, foreign=False)
            return False
        try:
            await self._runtime.start(ref, document)
        except RuntimeFault as error:
            foreign = isinstance(error, PortTaken) and spec.host_port is not None
            if foreign and spec.host_port is not None:
                order.tried.append(spec.host_port)
            await self._give_up(spec, ref, foreign=foreign)
            raise
        if not await queries.running(self._pool, spec.instance_id):
            # Another launcher took this one for dead while it started the copy, and may launch the next at any moment.
            await self._runtime.stop(ref, 0.0)
            return False
        return True

    async def _document(self, order: _Order) -> bytes:
        bot = order.work.bot
        flows = await queries.cash_flows(self._pool, bot.tenant_id, bot.id)
        try:
            return order.family.document(bot.id, order.opened, flows)
        except SecretUnreadable as error:
            raise LaunchFailed(error.code, str(error)) from error

    async def _account(self, work: Work, opened: Opened) -> bytes | None:
        """The fingerprint of the exchange account that this bot alone may trade; None where its template names none."""
        if work.account_field is None:
            return None
        layers = (opened.template, opened.parameters, opened.template_config, opened.own_config)
        try:
            named = accounts.named_at(work.account_field, merged(*layers), msgspec.to_builtins(opened.credential))
        except accounts.Unnamed as error:
            raise LaunchFailed("config_rejected", str(error)) from None
        await accounts.recover(self._pool)
        return await accounts.fingerprint(self._pool, self._vault.provider, named)

    async def _claim(self, order: _Order) -> Spec:
        """The bot's one place, with its port and its account. Raises as :func:`agents.launcher.places.claim`."""
        bot, instance_id = order.work.bot, uuid7()
        port = await places.claim(
            self._pool,
            bot,
            instance_id,
            runtime=self._settings.runtime,
            image=order.image,
            ports_of=self._ports,
            tried=order.tried,
            account=order.account,
        )
        return Spec(
            tenant_id=bot.tenant_id,
            bot_id=bot.id,
            instance_id=instance_id,
            generation=bot.generation,
            # A tag may be moved between now and then; an id names what was looked at.
            image=order.image_id,
            publish_address=self._settings.publish_address,
            host_port=port,
            limits=limits_of(plan_of(self._settings.plans, order.work.plan), order.work.engine),
        )

    async def _give_up(self, spec: Spec, ref: str, *, foreign: bool) -> None:
        """Take back a container that could not be started, and its place."""
        await self._runtime.remove(ref)
        if await self._runtime.examine(ref) is None:
            await places.abandon(self._pool, spec.instance_id, foreign=foreign)


def limits_of(plan: Plan, engine: str) -> Limits:
    """What a plan lets one copy of a bot of ``engine`` take."""
    return Limits(
        cpus=plan.cpus,
        memory_bytes=memory_of(plan, engine),
        processes=plan.processes,
        disk_bytes=plan.disk_bytes,
        log_bytes=plan.log_bytes,
    )


def _family(work: Work) -> Family:
    family = FAMILIES.get(work.engine)
    if family is None:
        raise LaunchFailed("engine_unknown", f"This version of TradeWise does not run bots of engine {work.engine}.")
    return family


def _no_port(tried: list[int]) -> str:
    if tried:
        listed = ", ".join(map(str, tried))
        return (
            f"Other programs of the host listen on the ports that it was given ({listed}). It is tried again. Give"
            " TRADEWISE_PORT_RANGE a range of its own"
        )
    return "Every port of TRADEWISE_PORT_RANGE is in use. It is tried again. Widen it, or stop other bots"
