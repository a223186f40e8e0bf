"""Where faults are injected: an installation with real agents, and one bot that must come through all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import docker
from uuid_utils.compat import uuid4

from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.vault import Vault
from control_plane.settings import PortRange, load_settings
from tests.factories import Factory, Urls
from tests.faults.invariants import Copy, copies, hold
from tests.faults.launcher_process import AgentProcess
from tests.integration.launcher.rig import Rig


class Stage(Rig):
    """A rig whose bots are launched and checked by processes."""

    launcher_process: AgentProcess
    poller_process: AgentProcess
    #: Fault after fault passes it by: it never restarts.
    witness: UUID

    async def run(self, folder: Path, **more: object) -> None:
        """Start the agents and the witness."""
        self.launcher_process = AgentProcess("launcher", self, folder, **more)  # type: ignore[arg-type]
        self.poller_process = AgentProcess("poller", self, folder, **more)  # type: ignore[arg-type]
        self.launcher_process.start()
        self.poller_process.start()
        self.witness = (await self.running(1))[0]

    async def running(self, count: int) -> list[UUID]:
        """So many further bots, once all is well."""
        made = [await self.bot() for _ in range(count)]
        await hold(self)
        return made

    async def others(self, faulty: Collection[UUID] = ()) -> dict[UUID, Copy]:
        """The copies of bots that shall run, without those of ``faulty``."""
        found = await asyncio.to_thread(copies, self)
        query = "select id from bots where deleted_at is null and desired = 'running'"
        wanted = {row["id"] for row in await self.admin.fetch(query)}
        return {bot: copy for bot, copy in found.items() if bot in wanted and bot not in faulty}

    async def well(
        self, untouched: Mapping[UUID, Copy], *, errors: Mapping[UUID, str] | None = None, deadline_s: float = 60.0
    ) -> None:
        """Wait until all that must hold holds."""
        assert self.poller_process.runs, f"the poller has ended by itself:\n{self.poller_process.log.read_text()}"
        await hold(self, untouched=untouched, errors=errors, deadline_s=deadline_s)

    async def delete(self, bots: Collection[UUID]) -> None:
        """What the API does for a deletion; the next wait for all to be well waits for its end, too."""
        await self.admin.execute(
            "update bots set deleted_at = now(), desired = 'stopped', generation = generation + 1 where id = any($1)",
            list(bots),
        )

    async def clear(self) -> None:
        """Delete every bot but the witness, with the agents at work whatever became of them."""
        for process in (self.launcher_process, self.poller_process):
            if not process.runs:
                process.start()
        query = "select id from bots where deleted_at is null and id <> $1"
        await self.delete([row["id"] for row in await self.admin.fetch(query, self.witness)])

    def kill_copy(self, bot: UUID) -> None:
        """End a bot's running container as the kernel would."""
        for container in self.containers(bot):
            if container["State"] == "running":
                self.engine.api.kill(container["Id"], "SIGKILL")


@asynccontextmanager
async def stage_on(
    urls: Urls, engine: docker.DockerClient, engine_url: str, image: str, folder: Path
) -> AsyncIterator[Stage]:
    """An installation of its own on an engine; the agents are not started yet. Nothing is left of it."""
    settings = load_settings(
        {},
        data_dir=folder,
        docker_host=engine_url,
        paper_bot_image=image,
        image_pull="never",
        port_range=PortRange(21000, 29999),
    )
    create_kek_file(settings.effective_kek_file)
    vault = Vault(key_provider(settings))
    admin = await asyncpg.connect(urls.admin)
    # Every database is cloned from one: without an identity of its own, its containers would be everybody's.
    installation = UUID(str(uuid4()))
    await admin.execute("update installation set id = $1", installation)
    stage = Stage(settings, urls, admin, vault, engine, await Factory(admin, vault).owner())
    stage.installation = installation
    try:
        yield stage
    finally:
        for name in ("launcher_process", "poller_process"):
            process: AgentProcess | None = getattr(stage, name, None)
            if process is not None:
                # In a thread: its way to the database or to the engine may go through this loop.
                await asyncio.to_thread(process.end)
                print(process.log.read_text())
        stage.clean()
        await stage.admin.close()
