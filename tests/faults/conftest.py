"""Faults are injected into an installation on the real engine, with its agents as processes of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import docker
import pytest

from tests.conftest import fresh_database
from tests.faults.recovery import in_full, recovery
from tests.faults.stage import Stage, stage_on
from tests.integration.launcher.conftest import rig

__all__ = ["in_full", "recovery", "rig"]


@pytest.fixture(scope="module")
def agents_environ() -> Mapping[str, str]:
    """What a file's agents are told besides, by its own fixture of this name."""
    return {}


@pytest.fixture(scope="module")
async def whole_stage(
    admin_url: str,
    template_database: str,
    engine: docker.DockerClient,
    engine_url: str,
    paper_bot_image: str,
    agents_environ: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stage]:
    """One installation with its agents for all faults of a file: starting it takes longer than most recoveries."""
    folder = tmp_path_factory.mktemp("stage")
    async with (
        fresh_database(admin_url, template_database) as urls,
        stage_on(urls, engine, engine_url, paper_bot_image, folder) as stage,
    ):
        await stage.run(folder, environ=agents_environ)
        yield stage


@pytest.fixture
async def stage(whole_stage: Stage) -> AsyncIterator[Stage]:
    """The stage, with nothing on it but the witness, or what is about to go."""
    yield whole_stage
    await whole_stage.clear()
